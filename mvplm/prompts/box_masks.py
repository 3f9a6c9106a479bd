"""Questions and answers of models that write boxes and ask for masks (Qwen3-VL-Seg).

The first wording of every form is used in evaluation. Source: the category prompt and the fields of the answer as
others describe Qwen3-VL-Seg (arXiv 2605.07141); the other forms follow them.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mvplm.structures.boxes import BoxFormat, convert_boxes
from mvplm.structures.choices import check_choice

TEMPLATE_VERSION = 1
"""Changes with any wording; a checkpoint remembers it."""
MASK_TOKENS = ("<mask_start>", "<mask_token>", "<mask_end>")
"""Added to the tokenizer of the base model; the state at the second one becomes the query of a mask."""
MASK_TOKEN = MASK_TOKENS[1]
MASK_TEXT = "".join(MASK_TOKENS)
_JSON = "report bbox coordinates and masks in JSON format."
QUESTIONS: dict[str, str] = {
    "category": f'Locate and segment every instance that belongs to the following categories "{{classes}}", {_JSON}',
    "description": f'Locate and segment the object that matches the description "{{text}}", {_JSON}',
    "general": (
        f'Locate and segment every object that matches the description "{{text}}", {_JSON} '
        "If there is none, return an empty list."
    ),
    "reason": f"{{text}} Locate and segment the answer, {_JSON}",
    "rec": (
        'Locate and segment the object that matches the description "{text}", report bbox coordinates in JSON format.'
    ),
    "vqa": "{text}",
}
BOX_MASK_FORMS = tuple(QUESTIONS)
"""Kinds of questions: with "rec" answers have boxes only, with "vqa" they are plain text."""
CLASS_SEPARATOR = ", "
FORM_OF_TASK = {
    "res": "description",
    "gres": "general",
    "rec": "rec",
    "referring": "general",
    "semantic": "category",
    "panoptic": "category",
    "instance": "category",
    "detection": "category",
    "grounding": "category",
    "caption": "vqa",
}
"""The usual kind of question for each task of a sample or of ``predict``."""
_REPLACED = {'"': "'", "\\": "/", "<": "", ">": ""}
# Far below a thousandth, far above the rounding of float32 pixels: 570 must not come back as 569 or 571.
_ROUNDING = 1e-3


def safe_text(text: str) -> str:
    """Text as it may stand inside an answer, maybe nothing of it: no quotes, backslashes, angles or line breaks.

    NFC, whitespace collapsed, ``"`` becomes ``'``, a backslash becomes ``/``, angles and control characters go.
    """
    replaced = "".join(_REPLACED.get(letter, letter) for letter in _normal(text) if letter.isprintable())
    return " ".join(replaced.split())


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def clean_label(text: str, counts: "Counter[str] | None" = None) -> str:
    """A label or description as it may stand inside an answer, see :func:`safe_text`.

    Args:
        text: any text.
        counts: counts texts under "normalised" (other Unicode or whitespace) and "replaced" (other characters).

    Raises:
        ValueError: nothing visible is left.
    """
    normal, cleaned = _normal(text), safe_text(text)
    if not cleaned:
        raise ValueError(f"a label or description must not be empty, got {text!r}")
    if counts is not None:
        counts["normalised"] += normal != text
        counts["replaced"] += cleaned != normal
    return cleaned


def box_question(form: str, *, text: str = "", classes: Sequence[str] = ()) -> str:
    """The question of a form.

    Args:
        form: one of ``BOX_MASK_FORMS``. text: expression or question. classes: names, for "category".

    Raises:
        ValueError: an unknown form, or nothing to ask for.
    """
    template = QUESTIONS[check_choice("kind of question", form, choices=BOX_MASK_FORMS)]
    if form == "category":
        if not classes:
            raise ValueError("a question about categories needs names")
        return template.replace("{classes}", CLASS_SEPARATOR.join(map(clean_label, classes)))
    if not text.strip():
        raise ValueError(f"{form} needs a text")
    free = form in ("reason", "vqa")
    return template.replace("{text}", " ".join(text.split()) if free else clean_label(text))


def format_boxes(boxes: Tensor, labels: Sequence[str], *, size: tuple[int, int], masks: bool = True) -> str:
    """The answer that names XYXY_ABS boxes (N, 4) of an image of ``size`` (H, W); no box is cut, each edge rounds out.

    Args:
        boxes: (N, 4) pixels.
        labels: one per box.
        size: (H, W) of the original image.
        masks: whether each object asks for a mask.

    Raises:
        ValueError: not one label per box.
    """
    if len(boxes) != len(labels):
        raise ValueError(f"expected one label per box, got {len(labels)} for {len(boxes)} boxes")
    field = {"mask": MASK_TEXT} if masks else {}
    rows = thousandths(boxes, size).tolist()
    objects = [{"bbox_2d": row, "label": label, **field} for row, label in zip(rows, labels, strict=True)]
    return json.dumps(objects, ensure_ascii=False)


def thousandths(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """XYXY_ABS boxes (N, 4) of an image of ``size`` (H, W) as XYXY_1000 integers (N, 4) int64, edges rounded out."""
    exact = convert_boxes(boxes.double(), BoxFormat.XYXY_ABS, target=BoxFormat.XYXY_1000, size=size)
    low, high = (exact[:, :2] + _ROUNDING).floor(), (exact[:, 2:] - _ROUNDING).ceil()
    return torch.cat([low, high], dim=1).clamp(0, 1000).long()


def answer_order(boxes: Tensor, ranks: Sequence[int]) -> list[int]:
    """The order in which an answer names its objects: label order of the question, then left edge, then top edge.

    Args:
        boxes: (N, 4) corners in any one frame. ranks: place of each object's label in the question.
    """
    keys = [(rank, *corner) for rank, corner in zip(ranks, boxes[:, :2].tolist(), strict=True)]
    return sorted(range(len(keys)), key=keys.__getitem__)


def answer_ids(text: str, tokenizer: Any) -> list[int]:
    """Ids of an answer of :func:`format_boxes`: mask tokens by id, everything else as plain text.

    Args:
        text: the answer. tokenizer: a ``PlainTokenizer`` whose tokenizer has the mask tokens.

    Raises:
        ValueError: the tokenizer has no mask tokens.
    """
    added = tokenizer.get_added_vocab()
    if missing := [token for token in MASK_TOKENS if token not in added]:
        raise ValueError(f"the tokenizer has no {missing[0]}; give it the mask tokens first (add_box_mask_tokens)")
    triple = [added[token] for token in MASK_TOKENS]
    first, *others = text.split(MASK_TEXT)
    ids = tokenizer.encode(first)
    for part in others:
        ids += [*triple, *tokenizer.encode(part)]
    return list(ids)
