"""Answers as they come: well-formed, repaired, cut, and hopeless; and the way from pixels to text and back."""

import random
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvplm.models.qwen3vl_seg import parse_boxes
from mvplm.models.qwen3vl_seg.parse import STATUSES
from mvplm.prompts.box_masks import MASK_TEXT, format_boxes
from mvplm.structures import BoxFormat, convert_boxes

M = f'"mask": "{MASK_TEXT}"'
DOG = '{"bbox_2d": [210, 45, 890, 520], "label": "dog", ' + M + "}"
CAT = '{"bbox_2d": [1, 2, 30, 40], "label": "cat", ' + M + "}"
DOG_BOX, CAT_BOX = [210, 45, 890, 520], [1, 2, 30, 40]


def box(numbers: str, key: str = "bbox_2d") -> str:
    return f'[{{"{key}": {numbers}, "label": "x", {M}}}]'


# answer, status, boxes in thousandths, repairs
CASES = {
    "one": (f"[{DOG}]", "ok", [DOG_BOX], {}),
    "two": (f"[{DOG}, {CAT}]", "ok", [DOG_BOX, CAT_BOX], {}),
    "spread over lines": (f"[\n  {DOG},\n\t{CAT}\n]\n", "ok", [DOG_BOX, CAT_BOX], {}),
    "fenced": (f"```json\n[{DOG}]\n```", "ok", [DOG_BOX], {}),
    "fence in one line": (f"```json[{DOG}]```", "ok", [DOG_BOX], {}),
    "fence without language": (f"```\n[{DOG}]\n```", "ok", [DOG_BOX], {}),
    "fence left open": (f"```json\n[{DOG}]", "ok", [DOG_BOX], {}),
    "prose around a fence": (f"Here:\n```json\n[{DOG}]\n```\nDone.", "ok", [DOG_BOX], {}),
    "two fences": (f"```\n[{DOG}]\n```\n```\n[{CAT}]\n```", "recovered", [DOG_BOX, CAT_BOX], {"list_bad": 1}),
    "object beside a fence": (f"{CAT}\n```\n[{DOG}]\n```", "recovered", [CAT_BOX, DOG_BOX], {"list_bad": 1}),
    "thoughts before": (f'<think>maybe {{"bbox_2d":[0,0,1,1]}}</think>[{DOG}]', "ok", [DOG_BOX], {}),
    "two thoughts": (f"<think>a</think>[{DOG},<think>b</think>{CAT}]", "ok", [DOG_BOX, CAT_BOX], {}),
    "thoughts opened by the prompt": (f"{CAT}</think>[{DOG}]", "recovered", [DOG_BOX], {"think_stray": 1}),
    "thoughts left open": (f"<think>[{DOG}]", "invalid", [], {"think_open": 1, "list_bad": 1}),
    "thoughts left open at the end": (
        f"[{DOG}]<think>[{CAT}]",
        "recovered",
        [DOG_BOX],
        {"think_open": 1},
    ),
    "brace in a label": (f"[{DOG.replace('dog', 'a } b')}]", "ok", [DOG_BOX], {}),
    "braces in a label": (f"[{DOG.replace('dog', '{a} [b]')}]", "ok", [DOG_BOX], {}),
    "quotes in a label": (f"[{DOG.replace('dog', chr(92) + chr(34))}]", "ok", [DOG_BOX], {}),
    "line break in a label": (f"[{DOG.replace('dog', chr(10))}]", "ok", [DOG_BOX], {}),
    "half a surrogate in a label": (f"[{DOG.replace('dog', chr(92) + 'ud800')}]", "ok", [DOG_BOX], {}),
    "no label": ('[{"bbox_2d": [1, 2, 30, 40]}]', "ok", [CAT_BOX], {}),
    "label is a number": ('[{"bbox_2d": [1, 2, 30, 40], "label": 7}]', "ok", [CAT_BOX], {}),
    "label is null": ('[{"bbox_2d": [1, 2, 30, 40], "label": null}]', "ok", [CAT_BOX], {}),
    "more fields": ('[{"bbox_2d": [1, 2, 30, 40], "label": "x", "score": 0.5}]', "ok", [CAT_BOX], {}),
    "a field twice": ('[{"bbox_2d": [0, 0, 5, 5], "bbox_2d": [1, 2, 30, 40]}]', "ok", [CAT_BOX], {}),
    "floats": (box("[1.4, 2.0, 29.5, 40.49]"), "ok", [CAT_BOX], {}),
    "nothing": ("[]", "no_target", [], {}),
    "nothing, with space": (" [ \n ] ", "no_target", [], {}),
    "nothing, fenced": ("```json\n[]\n```", "no_target", [], {}),
    "nothing, after thoughts": ('<think>maybe {"bbox_2d":[0,0,1,1]}</think>[]', "no_target", [], {}),
    "cut in the second object": (
        f'[{DOG}, {{"bbox_2d": [10, 20',
        "recovered",
        [DOG_BOX],
        {"list_bad": 1, "object_bad": 1},
    ),
    "cut in a label": (f"[{DOG}, {CAT[:-45]}", "recovered", [DOG_BOX], {"list_bad": 1, "object_bad": 1}),
    "cut after an object": (f"[{DOG}", "recovered", [DOG_BOX], {"list_bad": 1}),
    "cut after a comma": (f"[{DOG}, ", "recovered", [DOG_BOX], {"list_bad": 1}),
    "cut in the first object": (DOG[:-2], "invalid", [], {"list_bad": 1, "object_bad": 1, "mask_surplus": 1}),
    "bare object": (DOG, "recovered", [DOG_BOX], {"bare_object": 1}),
    "objects without a list": (f"{DOG}\n{CAT}", "recovered", [DOG_BOX, CAT_BOX], {"list_bad": 1}),
    "no comma": (f"[{DOG} {CAT}]", "recovered", [DOG_BOX, CAT_BOX], {"list_bad": 1}),
    "comma at the end": (f"[{DOG}, {CAT},]", "recovered", [DOG_BOX, CAT_BOX], {"list_bad": 1}),
    "list not opened": (f"{DOG}, {CAT}]", "recovered", [DOG_BOX, CAT_BOX], {"list_bad": 1}),
    "prose before": (f"Sure! The dog: [{DOG}]", "recovered", [DOG_BOX], {"list_bad": 1}),
    "prose after": (f"[{DOG}] I hope this helps :}}", "recovered", [DOG_BOX], {"list_bad": 1}),
    "prose with braces": (f"{{x}} [{DOG}]", "recovered", [DOG_BOX], {"list_bad": 1}),
    "end token": (f"[{DOG}]<|im_end|>", "recovered", [DOG_BOX], {"list_bad": 1}),
    "two lists": (f"[{DOG}][{CAT}]", "recovered", [DOG_BOX, CAT_BOX], {"list_bad": 1}),
    "list in a list": (f"[[{DOG}], [{CAT}]]", "recovered", [DOG_BOX, CAT_BOX], {"list_bad": 1}),
    "list in an object": (
        f'{{"objects": [{DOG}, {CAT}]}}',
        "recovered",
        [DOG_BOX, CAT_BOX],
        {"nested": 1, "list_bad": 1},
    ),
    "object in an object": (f'[{{"a": {DOG}}}]', "recovered", [DOG_BOX], {"nested": 1}),
    "object below a box": (
        f'[{{"bbox_2d": [1, 2, 30, 40], "part": {DOG}}}]',
        "recovered",
        [CAT_BOX, DOG_BOX],
        {"nested": 1},
    ),
    "a number beside an object": (f"[3, {DOG}]", "recovered", [DOG_BOX], {"list_bad": 1}),
    "quote missing before an object": (
        f'[{{"bbox_2d": [5, 5, 9, 9], "label": "x}}, {DOG}, {CAT}]',
        "recovered",
        [DOG_BOX, CAT_BOX],
        {"list_bad": 1, "object_bad": 1},
    ),
    "brace missing before an object": (
        f"[{CAT[:-1]}, {DOG}]",
        "recovered",
        [DOG_BOX],
        {"list_bad": 1, "object_bad": 1, "mask_surplus": 1},
    ),
    "colon missing": (
        f'[{{"bbox_2d" [5, 5, 9, 9]}}, {DOG}]',
        "recovered",
        [DOG_BOX],
        {"list_bad": 1, "object_bad": 1},
    ),
    "single quotes": (
        "[{'bbox_2d': [1, 2, 30, 40], 'label': 'cat'}]",
        "recovered",
        [CAT_BOX],
        {"list_bad": 1, "python": 1},
    ),
    "comma at an object's end": (
        f'[{{"bbox_2d": [1, 2, 30, 40], "label": "cat",}}, {DOG}]',
        "recovered",
        [CAT_BOX, DOG_BOX],
        {"list_bad": 1, "python": 1},
    ),
    "a tuple as box": (
        "[{'bbox_2d': (1, 2, 30, 40)}]",
        "recovered",
        [CAT_BOX],
        {"list_bad": 1, "python": 1},
    ),
    "inverted": (box("[890, 520, 210, 45]"), "recovered", [DOG_BOX], {"swap": 2}),
    "inverted in x": (box("[890, 45, 210, 520]"), "recovered", [DOG_BOX], {"swap": 1}),
    "outside": (box("[-5, 0, 1200, 500]"), "recovered", [[0, 0, 1000, 500]], {"clamp": 1}),
    "outside and inverted": (box("[1200, 0, -5, 500]"), "recovered", [[0, 0, 1000, 500]], {"swap": 1, "clamp": 1}),
    "wholly outside": (box("[1100, 0, 1200, 500]"), "invalid", [], {"clamp": 1, "zero_area": 1}),
    "no width": (box("[10, 10, 10, 50]"), "invalid", [], {"zero_area": 1}),
    "no height beside a good one": (
        f"[{DOG}, {box('[10, 50, 20, 50]')[1:-1]}]",
        "recovered",
        [DOG_BOX],
        {"zero_area": 1},
    ),
    "alias": ('[{"bbox": [1, 2, 30, 40], "label": "x"}]', "recovered", [CAT_BOX], {"alias": 1}),
    "alias beside the name": ('[{"bbox": [0, 0, 9, 9], "bbox_2d": [1, 2, 30, 40]}]', "ok", [CAT_BOX], {}),
    "enormous numbers": (box(f"[1, 2, {10**400}, 40]"), "recovered", [[1, 2, 1000, 40]], {"clamp": 1}),
    "number beyond every limit": (
        box(f"[1, 2, {'9' * 5000}, 40]"),
        "invalid",
        [],
        {"list_bad": 1, "object_bad": 1, "mask_surplus": 1},
    ),
    "infinite": (box("[1, 2, 1e999, 40]"), "invalid", [], {"box_missing": 1}),
    "not a number": (box("[1, 2, NaN, 40]"), "invalid", [], {"box_missing": 1}),
    "truth values": (box("[false, 2, true, 40]"), "invalid", [], {"box_missing": 1}),
    "numbers as texts": (box('["1", "2", "30", "40"]'), "invalid", [], {"box_missing": 1}),
    "three numbers": (box("[1, 2, 30]"), "invalid", [], {"box_missing": 1}),
    "five numbers": (box("[1, 2, 30, 40, 50]"), "invalid", [], {"box_missing": 1}),
    "pairs": (box("[[1, 2], [30, 40]]"), "invalid", [], {"box_missing": 1}),
    "box is null": (box("null"), "invalid", [], {"box_missing": 1}),
    "box is a text": (box('"1, 2, 30, 40"'), "invalid", [], {"box_missing": 1}),
    "no box": ('[{"label": "x"}]', "invalid", [], {"box_missing": 1}),
    "empty object": ("{}", "invalid", [], {"bare_object": 1, "box_missing": 1}),
    "unknown key": (box("[1, 2, 30, 40]", key="box"), "invalid", [], {"box_missing": 1}),
    "no mask": ('[{"bbox_2d": [1, 2, 30, 40], "label": "x"}]', "ok", [CAT_BOX], {}),
    "mask without token": (
        '[{"bbox_2d": [1, 2, 30, 40], "mask": "<mask_start>"}]',
        "recovered",
        [CAT_BOX],
        {"mask_missing": 1},
    ),
    "token without mask": (f"[{DOG}]<mask_token>", "recovered", [DOG_BOX], {"list_bad": 1, "mask_surplus": 1}),
    "prose": ("No such object.", "invalid", [], {"list_bad": 1}),
    "no text": ("", "invalid", [], {"list_bad": 1}),
    "white space": (" \n", "invalid", [], {"list_bad": 1}),
    "null": ("null", "invalid", [], {"list_bad": 1}),
    "a number": ("7", "invalid", [], {"list_bad": 1}),
    "numbers only": ("[1, 2, 30, 40]", "invalid", [], {"list_bad": 1}),
    "brackets": ("[[[[", "invalid", [], {"list_bad": 1}),
    "a fence only": ("```", "invalid", [], {"list_bad": 1}),
    "zero bytes": (f"\x00[{DOG}]\x00", "recovered", [DOG_BOX], {"list_bad": 1}),
    "byte order mark": (f"\ufeff[{DOG}]", "recovered", [DOG_BOX], {"list_bad": 1}),
}


def test_there_are_many_cases_and_every_status():
    assert sum(status in ("recovered", "invalid") for _, status, _, _ in CASES.values()) >= 60
    assert {status for _, status, _, _ in CASES.values()} == set(STATUSES)


@pytest.mark.parametrize("name", CASES)
def test_answers(name):
    text, status, boxes, repairs = CASES[name]
    found = parse_boxes(text, size=(480, 640))
    wanted = torch.tensor(boxes).view(-1, 4) * torch.tensor([0.64, 0.48, 0.64, 0.48])
    assert (found.status, found.repairs) == (status, repairs)
    assert found.boxes.dtype == torch.float32 and torch.allclose(found.boxes, wanted, atol=1e-4)
    assert len(found.labels) == len(found.mask_index) == len(boxes)
    for label in found.labels:
        label.encode("utf-8")


def test_labels_are_kept_as_written():
    text = f"[{DOG.replace('dog', 'a } b')}, {CAT.replace('cat', '猫')}]"
    assert parse_boxes(text, size=(10, 10)).labels == ["a } b", "猫"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"[{DOG}, {box('[10, 10, 10, 50]')[1:-1]}, {CAT}]", [0, 2]),
        (f'[{DOG}, {{"bbox_2d": [5, 5, 9, 9]}}, {CAT}]', [0, None, 1]),
        (f"[{DOG[:-1]}, {CAT}]", [1]),
        (f'[{{"bbox_2d": [5, 5, 9, 9], "mask": ""}}, {CAT}]', [None, 0]),
        (f"<think>{DOG}</think>[{CAT}]", [0]),
    ],
)
def test_each_object_keeps_its_own_mask_token(text, wanted):
    assert parse_boxes(text, size=(10, 10)).mask_index == wanted


ATTACKS = {
    "open objects": '{"a":' * 8_000,
    "open lists": '{"a":' + "[" * 100_000,
    "open strings": '{"' * 20_000,
    "braces": "{" * 100_000,
    "thoughts": "<think>" * 15_000,
    "closed thoughts": "<think></think>" * 7_000,
    "fences": "```" * 30_000,
    "python": "{-" * 50_000,
    "deep python": "[{'bbox_2d': " + "-" * 4_000 + "1}]",
    "deep brackets in python": "{'bbox_2d': " + "(" * 4_000 + "}",
    "mask tokens": "<mask_token>" * 10_000,
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_answer_takes_long(name):
    started = time.process_time()
    found = parse_boxes(f"{ATTACKS[name]}", size=(480, 640))
    assert found.status == "invalid" and time.process_time() - started < 5


@given(st.text(alphabet="{}[]\",:\\'`0189.-eE bx_2dlamsk<>/thin\n", max_size=200))
def test_any_text_has_a_status(text):
    found = parse_boxes(text, size=(3, 5))
    assert found.status in STATUSES and len(found.boxes) == len(found.labels)


SIZES = [(7, 9), (1, 1), (1, 5), (5, 1), (100, 500), (500, 100), (1000, 200), (200, 1000), (333, 777), (999, 1000)]


@pytest.mark.parametrize("size", SIZES)
def test_from_pixels_to_text_and_back(size):
    """Every box is covered, by less than a pixel too much at each edge (a thousandth of sides up to 1000)."""
    height, width = size
    numbers = random.Random(f"{size}")
    boxes = [[0, 0, width, height], [0, 0, 1, 1], [width - 1, height - 1, width, height]]
    for _ in range(50):
        x, y = numbers.randrange(width), numbers.randrange(height)
        boxes.append([x, y, numbers.randint(x + 1, width), numbers.randint(y + 1, height)])
    given = torch.tensor(boxes, dtype=torch.float32)
    found = parse_boxes(format_boxes(given, ["x"] * len(boxes), size=size), size=size)
    assert found.status == "ok" and found.mask_index == list(range(len(boxes)))
    extra = torch.cat([given[:, :2] - found.boxes[:, :2], found.boxes[:, 2:] - given[:, 2:]], 1)
    limit = torch.tensor([width, height, width, height]) / 1000
    assert (extra >= -1e-3).all() and (extra <= limit + 1e-3).all() and limit.max() <= 1


def test_large_images_are_right_to_a_thousandth():
    given = torch.tensor([[1234.0, 17, 4999, 777]])
    found = parse_boxes(format_boxes(given, ["x"], size=(1000, 5000)), size=(1000, 5000))
    assert (found.boxes - given).abs().max() <= 5


def test_the_written_answer():
    text = format_boxes(torch.tensor([[3.0, 2, 8, 5]]), ['the "猫"'], size=(7, 9))
    assert text == '[{"bbox_2d": [333, 285, 889, 715], "label": "the \\"猫\\"", ' + M + "}]"
    assert format_boxes(torch.zeros(0, 4), [], size=(7, 9)) == "[]"
    assert "mask" not in format_boxes(torch.tensor([[3.0, 2, 8, 5]]), ["x"], size=(7, 9), masks=False)
    with pytest.raises(ValueError, match="got 0 for 1 boxes"):
        format_boxes(torch.zeros(1, 4), [], size=(7, 9))


def test_whole_thousandths_stay_what_they_are():
    """No rounding error may move an edge, whatever is read is written again the same."""
    numbers = torch.arange(1000.0)
    boxes = torch.stack([numbers, numbers, numbers + 1, numbers + 1], 1) * torch.tensor([0.64, 0.48, 0.64, 0.48])
    exact = convert_boxes(boxes.double(), BoxFormat.XYXY_ABS, target=BoxFormat.XYXY_1000, size=(480, 640))
    assert (exact - torch.stack([numbers, numbers, numbers + 1, numbers + 1], 1)).abs().max() < 1e-4
    text = format_boxes(boxes, [""] * 1000, size=(480, 640), masks=False)
    again = format_boxes(parse_boxes(text, size=(480, 640)).boxes, [""] * 1000, size=(480, 640), masks=False)
    assert text == again
