"""Boxes as text: reading of Qwen3-VL's JSON answers. It forgives, says what it forgave, and never raises.

An answer is ``[{"bbox_2d": [x1, y1, x2, y2], "label": "...", "mask": "<mask_start><mask_token><mask_end>"}, ...]`` with
integers 0 to 1000 per axis of the original image; ``[]`` says that there is nothing.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mvplm.models.qwen3vl_seg.recover import Found, find_objects, is_list_of_objects, only_answer
from mvplm.prompts.box_masks import MASK_TOKEN
from mvplm.structures import BoxFormat, convert_boxes

STATUSES = ("ok", "recovered", "no_target", "invalid")
_BOX_KEYS = ("bbox_2d", "bbox")
_EMPTY_LIST = re.compile(r"\[\s*\]")


@dataclass
class ParsedBoxes:
    """What an answer says.

    Attributes:
        boxes: (N, 4) float32 XYXY_ABS, inside the image and of positive area.
        labels: N texts, "" where an object has none.
        status: "ok": as agreed; "recovered": something was repaired or dropped; "no_target": an empty list;
            "invalid": no usable box.
        mask_index: per box, which of the answer's mask tokens (counted from 0) is its own; None: it has none.
        repairs: how often each repair was made. "object_bad": text that is no object; "box_missing" and "zero_area":
            objects dropped; "alias", "swap", "clamp": boxes changed; "bare_object", "nested": lists not as agreed;
            "python": an object in Python's spelling; "mask_missing", "mask_surplus": mask fields without token and
            tokens without field; "think_open", "think_stray": thoughts not closed or not opened; "list_bad": the
            answer as a whole is no list of objects.
    """

    boxes: Tensor
    labels: list[str]
    status: str
    mask_index: list[int | None]
    repairs: dict[str, int]


def parse_boxes(text: str, size: tuple[int, int]) -> ParsedBoxes:
    """Boxes, labels and status of an answer about an image of ``size`` (H, W); never an error, whatever the text.

    Every complete object is used, wherever it stands: cut-off lists, prose, fences and broken neighbours do not matter.
    """
    repairs: Counter[str] = Counter()
    answer = only_answer(text, repairs)
    if _EMPTY_LIST.fullmatch(answer):
        return _result([], size, status="no_target", repairs=+repairs)
    found = find_objects(answer, keys=_BOX_KEYS, repairs=repairs)
    if not is_list_of_objects(answer):
        bare = bool(found) and (found[0].start, found[0].end) == (0, len(answer))
        repairs["bare_object" if bare else "list_bad"] += 1
    kept = _paired(found, answer, repairs=repairs)
    repairs = +repairs
    status = "invalid" if not kept else "recovered" if repairs else "ok"
    return _result(kept, size, status=status, repairs=repairs)


@dataclass
class _Object:
    box: list[int]
    label: str
    mask_index: int | None


def _paired(found: list[Found], answer: str, *, repairs: Counter[str]) -> list[_Object]:
    """Usable objects with their mask tokens; objects that are dropped keep theirs, too."""
    kept: list[_Object] = []
    counted = before = used = 0
    for entry in found:
        index = None
        if "mask" in entry.value:
            before += answer.count(MASK_TOKEN, counted, entry.start)
            counted = entry.start
            within = answer.find(MASK_TOKEN, entry.start, entry.end) >= 0
            index = before if within else None
            used += within
            repairs["mask_missing"] += not within
        box = _box(entry.value, repairs)
        if box is not None:
            kept.append(_Object(box, _label(entry.value.get("label")), index))
    repairs["mask_surplus"] += max(answer.count(MASK_TOKEN) - used, 0)
    return kept


def _box(value: dict[str, Any], repairs: Counter[str]) -> list[int] | None:
    """The box of an object in order and inside 0 to 1000, or None; what was done is counted."""
    key = next((key for key in _BOX_KEYS if key in value), None)
    numbers = _numbers(value[key]) if key else None
    if numbers is None:
        repairs["box_missing"] += 1
        return None
    repairs["alias"] += key != _BOX_KEYS[0]
    for low, high in ((0, 2), (1, 3)):
        if numbers[low] > numbers[high]:
            numbers[low], numbers[high] = numbers[high], numbers[low]
            repairs["swap"] += 1
    box = [min(max(number, 0), 1000) for number in numbers]
    repairs["clamp"] += box != numbers
    if box[0] == box[2] or box[1] == box[3]:
        repairs["zero_area"] += 1
        return None
    return box


def _numbers(value: Any) -> list[int] | None:
    """Four finite numbers rounded half up, or None. Whole numbers stay exact: some are too large for a float."""
    if not isinstance(value, list | tuple) or len(value) != 4:
        return None
    numbers = []
    for number in value:
        if isinstance(number, float) and math.isfinite(number):
            numbers.append(math.floor(number + 0.5))
        elif isinstance(number, int) and not isinstance(number, bool):
            numbers.append(number)
        else:
            return None
    return numbers


def _label(value: Any) -> str:
    """A label that can be written anywhere: half surrogates would break every later file."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def _result(kept: list[_Object], size: tuple[int, int], *, status: str, repairs: Counter[str]) -> ParsedBoxes:
    thousandths = torch.tensor([entry.box for entry in kept], dtype=torch.float64).view(-1, 4)
    boxes = convert_boxes(thousandths, BoxFormat.XYXY_1000, target=BoxFormat.XYXY_ABS, size=size)
    labels = [entry.label for entry in kept]
    return ParsedBoxes(boxes.float(), labels, status, [entry.mask_index for entry in kept], dict(repairs))
