"""Hand-worked numbers of ``lisa``, ``segearth``, ``rmsin`` and ``muse``; one character is one pixel."""

from dataclasses import replace

import numpy as np
import pytest
from oracles.drawn_masks import expected, measured

from mvplm.evaluation import ReferringIoU, protocols

TENTHS = (0.5, 0.6, 0.7, 0.8, 0.9)
THREE = (0.5, 0.7, 0.9)
TEN = "##########"
E = 1e-5  # added to the union of a single IoU

LISA = {
    "right": ([("#####.....", "#####.....")], dict(c=1, g=5 / (5 + E), pr=(1, 1, 1), t=1)),
    "empty prediction": ([(None, "#####.....")], dict(c=0, g=0, pr=(0, 0, 0), t=0)),
    "empty target": ([("###.......", None)], dict(c=0, g=0, pr=(0, 0, 0), n=0)),
    "both empty": ([(None, None)], dict(c=0, g=1, pr=(1, 1, 1), n=1)),
    "several targets": (
        [("##..##....", ["##........", "....####.."])],
        dict(c=4 / 6, g=4 / (6 + E), pr=(1, 0, 0), t=1),
    ),
    "one pixel": ([("#.........", "#.........")], dict(c=1, g=1 / (1 + E), pr=(1, 1, 1), t=1)),
    "one pixel beside": ([(".#........", "#.........")], dict(c=0, g=0, pr=(0, 0, 0), t=1)),
    "exactly .5": ([("#####.....", TEN)], dict(c=0.5, g=5 / (10 + E), pr=(0, 0, 0), t=1)),
    "above .5": ([("######....", TEN)], dict(c=0.6, g=6 / (10 + E), pr=(1, 0, 0), t=1)),
    "exactly .9": ([("#########.", TEN)], dict(c=0.9, g=9 / (10 + E), pr=(1, 1, 0), t=1)),
    "predicted pixels are ignored": ([("####......", "##??......")], dict(c=1, g=2 / (2 + E), pr=(1, 1, 1), t=1)),
    "all predicted pixels are ignored": ([("##........", "??........")], dict(c=0, g=1, pr=(1, 1, 1), n=1)),
    "everything is ignored": ([(TEN, "??????????")], dict(c=0, g=1, pr=(1, 1, 1), n=1)),
    # Pixels 4 and 5 are ignored by the second mask, so for both: 4 / 6, pixels 0, 1, 6 and 7 of 0 to 3, 6 and 7.
    "ignored in one of several targets": (
        [("##..####..", ["####......", "....??##.."])],
        dict(c=4 / 6, g=4 / (6 + E), pr=(1, 0, 0), t=1),
    ),
    "ignored outside of the answer": ([("###.......", "####....??")], dict(c=3 / 4, g=3 / (4 + E), pr=(1, 1, 0), t=1)),
    # 0 / 4 and 5 / 5.
    "no target said": (
        [("##........", ".####.....", "no_target"), ("#####.....", "#####.....")],
        dict(c=5 / 9, g=5 / (5 + E) / 2, pr=(0.5,) * 3, t=1 / 2),
    ),
    "unparsed, no target": (
        [(None, None, "unparsed"), (TEN, TEN)],
        dict(c=1, g=10 / (10 + E) / 2, pr=(0.5,) * 3, n=0, t=1),
    ),
    # 6 / 9 over the targeted one, none, 0 / 3.
    "mixture": (
        [("..#######.", "########.."), (None, None), ("###.......", None)],
        dict(c=6 / 12, g=(6 / (9 + E) + 1) / 3, pr=(2 / 3, 1 / 3, 1 / 3), n=1 / 2, t=1),
    ),
}


@pytest.mark.parametrize("case", LISA)
def test_lisa(case: str):
    samples, shares = LISA[case]
    assert measured("lisa", *samples) == expected(THREE, **shares)


NO, ALL = (0, 0, 0, 0, 0), (1, 1, 1, 1, 1)
SEGEARTH = {
    "right": ([("#####.....", "#####.....")], dict(c=1, g=5 / (5 + E), pr=ALL, t=1)),
    "empty prediction": ([(None, "#####.....")], dict(c=0, g=0, pr=NO, t=0)),
    "empty target": ([("###.......", None)], dict(c=0, g=0, pr=NO, n=0)),
    "both empty": ([(None, None)], dict(c=0, g=1, pr=ALL, n=1)),
    "several targets": (
        [("##..##....", ["##........", "....####.."])],
        dict(c=4 / 6, g=4 / (6 + E), pr=(1, 1, 0, 0, 0), t=1),
    ),
    "one pixel": ([("#.........", "#.........")], dict(c=1, g=1 / (1 + E), pr=ALL, t=1)),
    "one pixel beside": ([(".#........", "#.........")], dict(c=0, g=0, pr=NO, t=1)),
    "exactly .5": ([("#####.....", TEN)], dict(c=0.5, g=5 / (10 + E), pr=NO, t=1)),
    "exactly .6": ([("######....", TEN)], dict(c=0.6, g=6 / (10 + E), pr=(1, 0, 0, 0, 0), t=1)),
    "exactly .8": ([("########..", TEN)], dict(c=0.8, g=8 / (10 + E), pr=(1, 1, 1, 0, 0), t=1)),
    "255 is target like any other": ([("##........", "##???.....")], dict(c=2 / 5, g=2 / (5 + E), pr=NO, t=1)),
    "no target said rightly": ([("##........", None, "no_target")], dict(c=0, g=1, pr=ALL, n=1)),
    # 0 / 5 and 10 / 10.
    "unparsed, target": (
        [("......####", "#####.....", "unparsed"), (TEN, TEN)],
        dict(c=10 / 15, g=10 / (10 + E) / 2, pr=(0.5,) * 5, t=1 / 2),
    ),
    # 6 / 9, none, 0 / 3.
    "mixture": (
        [("..#######.", "########.."), (None, None), ("###.......", None)],
        dict(c=6 / 12, g=(6 / (9 + E) + 1) / 3, pr=(2 / 3, 2 / 3, 1 / 3, 1 / 3, 1 / 3), n=1 / 2, t=1),
    ),
}


@pytest.mark.parametrize("case", SEGEARTH)
def test_segearth(case: str):
    samples, shares = SEGEARTH[case]
    assert measured("segearth", *samples) == expected(TENTHS, **shares)


def test_segearth_in_the_frame_of_the_official_code():
    """Two rows of four pixels in a frame of side 8: every pixel becomes four, so sums are four times as large."""
    framed = ReferringIoU(replace(protocols.get("segearth"), frame=8))
    predicted, true = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    predicted[0], true[:, :3] = True, True  # 3 / 7
    framed.update(predicted, true)
    assert framed.image_sums().sums["cIoU"].tolist() == [[12, 28]]
    assert framed.compute()["gIoU"] == pytest.approx(100 * 12 / (28 + E), rel=1e-12)
    assert measured(framed.protocol, ("#...", "#...")) == expected(TENTHS, c=1, g=4 / (4 + E), pr=ALL, t=1)
    small = ReferringIoU(replace(protocols.get("segearth"), frame=2))  # the middle of two pixels is the second of them
    small.update(np.array([[1, 0, 0, 1]] * 4), np.array([[1, 0, 0, 1]] * 4))
    assert small.image_sums().sums["cIoU"].tolist() == [[2, 2]]


RMSIN = {
    "right": ([("#####.....", "#####.....")], dict(c=1, g=1, pr=ALL, t=1)),
    "empty prediction": ([(None, "#####.....")], dict(c=0, g=0, pr=NO, t=0)),
    "empty target": ([("###.......", None)], dict(c=0, g=0, pr=NO, n=0)),
    "both empty": ([(None, None)], dict(c=0, g=0, pr=NO, n=1)),
    "both without pixels": ([("..........", "..........")], dict(c=0, g=0, pr=NO, n=1)),
    "several targets": (
        [("##..##....", ["##........", "....####.."])],
        dict(c=2 / 3, g=2 / 3, pr=(1, 1, 0, 0, 0), t=1),
    ),
    "one pixel": ([("#.........", "#.........")], dict(c=1, g=1, pr=ALL, t=1)),
    "one pixel beside": ([(".#........", "#.........")], dict(c=0, g=0, pr=NO, t=1)),
    "exactly .5": ([("#####.....", TEN)], dict(c=0.5, g=0.5, pr=(1, 0, 0, 0, 0), t=1)),
    "exactly .6": ([("######....", TEN)], dict(c=0.6, g=0.6, pr=(1, 1, 0, 0, 0), t=1)),
    "exactly .7": ([("#######...", TEN)], dict(c=0.7, g=0.7, pr=(1, 1, 1, 0, 0), t=1)),
    "exactly .8": ([("########..", TEN)], dict(c=0.8, g=0.8, pr=(1, 1, 1, 1, 0), t=1)),
    "exactly .9": ([("#########.", TEN)], dict(c=0.9, g=0.9, pr=ALL, t=1)),
    "below .5": ([("####......", TEN)], dict(c=0.4, g=0.4, pr=NO, t=1)),
    "255 is target like any other": ([("##........", "##???.....")], dict(c=2 / 5, g=2 / 5, pr=NO, t=1)),
    "unparsed": ([(TEN, "#####.....", "unparsed"), (TEN, TEN)], dict(c=10 / 15, g=1 / 2, pr=(0.5,) * 5, t=1 / 2)),
    # 5 / 10 and 0 / 2.
    "mixture": (
        [("#####.....", TEN), (".#........", "#.........")],
        dict(c=5 / 12, g=1 / 4, pr=(0.5, 0, 0, 0, 0), t=1),
    ),
}


@pytest.mark.parametrize("case", RMSIN)
def test_rmsin(case: str):
    samples, shares = RMSIN[case]
    assert measured("rmsin", *samples) == expected(TENTHS, **shares)


LEFT, RIGHT = "####......", "......####"
MUSE = {
    "right": ([([LEFT, RIGHT], [LEFT, RIGHT])], dict(c=1, g=4 / (4 + E), pr=(1, 1, 1), t=1)),
    "right in another order": ([([RIGHT, LEFT], [LEFT, RIGHT])], dict(c=1, g=4 / (4 + E), pr=(1, 1, 1), t=1)),
    # 4 / 5, 3 / 5 and one prediction over.
    "three answers for two targets": (
        [
            (
                ["####...........", ".....###.......", "..........##..."],
                ["#####..........", ".....#####....."],
            )
        ],
        dict(c=7 / 12, g=7 / (5 + E) / 3, pr=(2 / 3, 1 / 3, 0), t=1),
    ),
    # 4 / 4 and 0 / 4.
    "a target is missed": ([([LEFT], [LEFT, RIGHT])], dict(c=4 / 8, g=4 / (4 + E) / 2, pr=(0.5,) * 3, t=1)),
    "empty prediction": ([(None, [LEFT, RIGHT])], dict(c=0, g=0, pr=(0, 0, 0), t=0)),
    "empty target": ([([LEFT, RIGHT], None)], dict(c=0, g=0, pr=(0, 0, 0), n=0)),
    "both empty: no pair, nothing to divide by": ([(None, None)], dict(c=0, g=0, n=1)),
    "both empty beside a right one": (
        [(None, None), ([LEFT], [LEFT])],
        dict(c=1, g=4 / (4 + E), pr=(1, 1, 1), n=1, t=1),
    ),
    "one pixel": (
        [(["#.........", ".........#"], ["#........."])],
        dict(c=1 / 2, g=1 / (1 + E) / 2, pr=(0.5,) * 3, t=1),
    ),
    "one pixel beside": ([([".#........"], ["#........."])], dict(c=0, g=0, pr=(0, 0, 0), t=1)),
    # The first answer fits both targets by 4 / 6, the second one the first target by 4 / 4.
    "the best assignment of all": (
        [(["######....", "####......"], ["####......", "..####...."])],
        dict(c=8 / 10, g=(4 / (6 + E) + 4 / (4 + E)) / 2, pr=(1, 0.5, 0.5), t=1),
    ),
    # 3 / 4 with the smaller target, although the answer shares 4 pixels with the larger one; then 0 / 10.
    "assigned by IoU, not by shared pixels": (
        [(["####......"], [TEN, "###......."])],
        dict(c=3 / 14, g=3 / (4 + E) / 2, pr=(0.5, 0.5, 0), t=1),
    ),
    "exactly .5": ([(["#####....."], [TEN])], dict(c=0.5, g=5 / (10 + E), pr=(0, 0, 0), t=1)),
    "an answer without pixels is a pair of two empty masks": (
        [([LEFT, ".........."], [LEFT])],
        dict(c=1, g=(4 / (4 + E) + 1) / 2, pr=(1, 1, 1), t=1),
    ),
    "no target said rightly": (
        [([LEFT], None, "no_target"), ([LEFT], [LEFT])],
        dict(c=1, g=4 / (4 + E), pr=(1, 1, 1), n=1, t=1),
    ),
    "unparsed": ([([LEFT], [LEFT], "unparsed"), (None, None, "unparsed")], dict(c=0, g=0, pr=(0, 0, 0), n=0, t=0)),
}


@pytest.mark.parametrize("protocol", ["muse", "muse_per_question"])
@pytest.mark.parametrize("case", MUSE)
def test_muse_of_one_question_an_image(protocol: str, case: str):
    samples, shares = MUSE[case]
    assert measured(protocol, *samples) == expected(THREE, **shares)


def test_muse_divides_by_the_larger_number_of_the_whole_image():
    """Two and one answers for one and two targets: three of each in one image, two and two pairs of its questions."""
    first, second = ([LEFT, RIGHT], [LEFT]), ([LEFT], [LEFT, RIGHT])
    right = 2 * 4 / (4 + E)
    together = [(*question, "answered", "image") for question in (first, second)]
    shares = dict(c=8 / 16, pr=(0.5,) * 3, t=1)
    assert measured("muse", *together) == expected(THREE, g=right / 3, **shares)
    assert measured("muse", first, second) == expected(THREE, g=right / 4, **shares)
    assert measured("muse_per_question", *together) == expected(THREE, g=right / 4, **shares)
