"""Hand-worked numbers of ``per_sentence``, ``merged``, ``release`` and ``gres``; one character is one pixel."""

import pytest
from oracles.drawn_masks import expected, measured

TENTHS = (0.5, 0.6, 0.7, 0.8, 0.9)
GRES = (0.5, 0.7, 0.8, 0.9)
TEN = "##########"
NO, ALL = (0, 0, 0, 0, 0), (1, 1, 1, 1, 1)

# I / U of each sample in the comments; Pr@t takes IoU > t over all expressions.
SENTENCES = {
    "right": ([("#####.....", "#####.....")], dict(c=1, g=1, pr=ALL, t=1)),
    "empty prediction": ([(None, "#####.....")], dict(c=0, g=0, pr=NO, t=0)),
    "prediction without pixels": ([("..........", "#####.....")], dict(c=0, g=0, pr=NO, t=0)),
    "empty target": ([("###.......", None)], dict(c=0, g=0, pr=NO, n=0)),
    "both empty": ([(None, None)], dict(c=0, g=1, pr=ALL, n=1)),
    "target without pixels is none": ([(None, "..........")], dict(c=0, g=1, pr=ALL, n=1)),
    # 4 / 6: pixels 0, 1, 4 and 5 of 0, 1 and 4 to 7.
    "several targets": (
        [("##..##....", ["##........", "....####.."])],
        dict(c=2 / 3, g=2 / 3, pr=(1, 1, 0, 0, 0), t=1),
    ),
    "several masks answer": ([(["##........", ".###......"], "####......")], dict(c=1, g=1, pr=ALL, t=1)),
    "one pixel": ([("#.........", "#.........")], dict(c=1, g=1, pr=ALL, t=1)),
    "one pixel beside": ([(".#........", "#.........")], dict(c=0, g=0, pr=NO, t=1)),
    "exactly .5": ([("#####.....", TEN)], dict(c=0.5, g=0.5, pr=NO, t=1)),
    "exactly .7": ([("#######...", TEN)], dict(c=0.7, g=0.7, pr=(1, 1, 0, 0, 0), t=1)),
    "exactly .9": ([("#########.", TEN)], dict(c=0.9, g=0.9, pr=(1, 1, 1, 1, 0), t=1)),
    # 0 / 4, the drawn pixels of an answer that says no count for nothing; 5 / 5.
    "no target said": (
        [("##........", ".####.....", "no_target"), ("#####.....", "#####.....")],
        dict(c=5 / 9, g=1 / 2, pr=(0.5,) * 5, t=1 / 2),
    ),
    "unparsed, no target": ([(None, None, "unparsed"), (TEN, TEN)], dict(c=1, g=1 / 2, pr=(0.5,) * 5, n=0, t=1)),
    # 0 / 5 and 10 / 10.
    "unparsed, target": (
        [(TEN, "#####.....", "unparsed"), (TEN, TEN)],
        dict(c=10 / 15, g=1 / 2, pr=(0.5,) * 5, t=1 / 2),
    ),
    "255 is target like any other": ([("##........", "##???.....")], dict(c=2 / 5, g=2 / 5, pr=NO, t=1)),
    # 6 / 12, none, 0 / 5, 0 / 4: the numbers of the specification, a tenth of their pixels.
    "mixture": (
        [
            ("....########....", "##########......"),
            (None, None),
            ("#####...........", None),
            (None, "####............"),
        ],
        dict(c=6 / 21, g=(1 / 2 + 1) / 4, pr=(1 / 4,) * 5, n=1 / 2, t=1 / 2),
    ),
}


@pytest.mark.parametrize("protocol", ["per_sentence", "merged"])
@pytest.mark.parametrize("case", SENTENCES)
def test_every_sentence(protocol: str, case: str):
    samples, shares = SENTENCES[case]
    assert measured(protocol, *samples) == expected(TENTHS, **shares)


@pytest.mark.parametrize("case", SENTENCES)
def test_release_gives_no_accuracies_of_targets(case: str):
    samples, shares = SENTENCES[case]
    assert measured("release", *samples) == expected(TENTHS, **{**shares, "n": None, "t": None})


# Pr@t takes IoU >= t over the expressions with a target.
GENERALIZED = {
    "right": ([("#####.....", "#####.....")], dict(c=1, g=1, pr=(1, 1, 1, 1), t=1)),
    "empty prediction": ([(None, "#####.....")], dict(c=0, g=0, pr=(0, 0, 0, 0), t=0)),
    "empty target": ([("###.......", None)], dict(c=0, g=0, n=0)),
    "both empty": ([(None, None)], dict(c=0, g=1, n=1)),
    "target without pixels is none": ([(None, "..........")], dict(c=0, g=1, n=1)),
    "several targets": ([("##..##....", ["##........", "....####.."])], dict(c=2 / 3, g=2 / 3, pr=(1, 0, 0, 0), t=1)),
    "one pixel": ([("#.........", "#.........")], dict(c=1, g=1, pr=(1, 1, 1, 1), t=1)),
    "one pixel beside": ([(".#........", "#.........")], dict(c=0, g=0, pr=(0, 0, 0, 0), t=1)),
    "exactly .5": ([("#####.....", TEN)], dict(c=0.5, g=0.5, pr=(1, 0, 0, 0), t=1)),
    "exactly .7": ([("#######...", TEN)], dict(c=0.7, g=0.7, pr=(1, 1, 0, 0), t=1)),
    "exactly .8": ([("########..", TEN)], dict(c=0.8, g=0.8, pr=(1, 1, 1, 0), t=1)),
    "exactly .9": ([("#########.", TEN)], dict(c=0.9, g=0.9, pr=(1, 1, 1, 1), t=1)),
    # 0 / 5: the drawn pixels 0 and 1 enter the union with 1 to 4 although they are denied; 5 / 5.
    "no target said over drawn pixels": (
        [("##........", ".####.....", "no_target"), ("#####.....", "#####.....")],
        dict(c=5 / 10, g=1 / 2, pr=(0.5,) * 4, t=1 / 2),
    ),
    "no target said rightly over drawn pixels": ([("##........", None, "no_target")], dict(c=0, g=1, n=1)),
    "unparsed, no target": ([(None, None, "unparsed"), (TEN, TEN)], dict(c=1, g=1 / 2, pr=(1, 1, 1, 1), n=0, t=1)),
    "unparsed, target": (
        [("......####", "#####.....", "unparsed"), (TEN, TEN)],
        dict(c=10 / 15, g=1 / 2, pr=(0.5,) * 4, t=1 / 2),
    ),
    # 5 / 10, none, 0 / 3: cIoU 5 / 13; the precision is that of the one expression with a target.
    "mixture": (
        [("#####.....", TEN), (None, None), ("###.......", None)],
        dict(c=5 / 13, g=1 / 2, pr=(1, 0, 0, 0), n=1 / 2, t=1),
    ),
}


@pytest.mark.parametrize("case", GENERALIZED)
def test_gres(case: str):
    samples, shares = GENERALIZED[case]
    assert measured("gres", *samples) == expected(GRES, **shares)
