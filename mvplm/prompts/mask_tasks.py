"""The questions of models that write masks as text: three wordings for most kinds of question.

The first wording is used in evaluation. Slots are filled with labels as they are; only answers escape them.
"""

import hashlib
from collections.abc import Sequence

from mvplm.structures.choices import check_choice

TEMPLATE_VERSION = 1
"""Changes with any wording; a checkpoint remembers it."""
TEMPLATES: dict[str, tuple[str, ...]] = {
    "semantic.all": (
        "Segment the whole image. Label every region with its category.",
        "Divide this image into labelled regions, one label per region.",
        "Give the full semantic map of this image.",
    ),
    "semantic.partial": (
        "Segment only these categories and mark everything else as others: {classes}.",
        "Show where these appear, and nothing else: {classes}.",
        "Mark the regions of {classes}.",
    ),
    "semantic.conditional": (
        "Segment the image using labels from this list only: {classes}.",
        "Choose labels from {classes} and segment the image.",
        "Every region takes one label of this list: {classes}. Segment the image.",
    ),
    "refer.single": (
        "Segment the object described as: {text}.",
        'Which region is "{text}"? Give its box and mask.',
        "Locate and outline {text}.",
    ),
    "refer.general": (
        "Segment every object described as: {text}. If there is none, say so.",
        'Find all that match "{text}", possibly none, with boxes and masks.',
        "Mask each object that fits this description; there may be zero: {text}.",
    ),
    "reason.single": (
        "{text} Answer with one region id, its box and its mask.",
        "{text} Point to the region with its mask.",
        "{text} Which region is it? Give box and mask.",
    ),
    "reason.multi": (
        "{text} Answer with region ids, boxes and masks.",
        "{text} List every region involved, with masks.",
        "{text} Mark all regions needed for the answer.",
    ),
    "remote.refer": (
        "In this overhead image, segment the object described as: {text}.",
        'Overhead view: which region is "{text}"? Give its box and mask.',
        "Outline in this aerial image: {text}.",
    ),
    "remote.reason": (
        "In this overhead image: {text} Answer with region ids, boxes and masks, or say that there is none.",
        "{text} List every region involved, with masks.",
        "{text} Mark all regions needed for the answer.",
    ),
    "ground": (
        "Give the box of the object described as: {text}.",
        "Where is {text}? Box only.",
        'Box for "{text}", please.',
    ),
    "detect": (
        "Give the box of every object of these categories: {classes}.",
        "Where are these? Boxes only: {classes}.",
        "Boxes for {classes}, please.",
    ),
    "vqa": ("{text}",),
}
FORMS = tuple(TEMPLATES)
"""Kinds of questions."""
NAME_FORMS = ("semantic.all", "semantic.partial", "semantic.conditional", "detect")
"""Questions about names of classes instead of a text."""
ROI_FORMS = ("reason.single", "reason.multi", "remote.reason")
"""Questions that do not name their targets: answers number the regions ``roi0``, ``roi1`` ..."""
BOX_FORMS = ("ground", "detect")
"""Questions whose answers have boxes and no masks."""
CLASS_SEPARATOR = "; "
CAPTION_QUESTION = "Describe the image."
FORM_OF_TASK = {
    "res": "refer.single",
    "gres": "refer.general",
    "rec": "ground",
    "referring": "refer.general",
    "semantic": "semantic.conditional",
    "panoptic": "semantic.conditional",
    "instance": "semantic.partial",
    "detection": "semantic.partial",
    "grounding": "semantic.partial",
    "caption": "vqa",
}
"""The usual kind of question for each task of a sample or of ``predict``."""


def mask_question(form: str, *, text: str = "", classes: Sequence[str] = (), wording: int = 0) -> str:
    """The question of a form.

    Args:
        form: one of ``FORMS``. text: expression or question. classes: names, for the forms with a list.
        wording: 0 to 2; forms with one wording always use that.

    Raises:
        ValueError: an unknown form, or an empty slot.
    """
    wordings = TEMPLATES[check_choice("kind of question", form, choices=FORMS)]
    template = wordings[wording % len(wordings)]
    if "{text}" in template and not text.strip():
        raise ValueError(f"{form} needs a text")
    if "{classes}" in template and not classes:
        raise ValueError(f"{form} needs names")
    # Slots are found before they are filled: braces in a text are text.
    start, slot, end = template.partition("{text}" if "{text}" in template else "{classes}")
    filling = text if slot == "{text}" else CLASS_SEPARATOR.join(classes) if slot else ""
    return f"{start}{filling}{end}"


def wording_of(sample_id: str, count: int = 3) -> int:
    """The wording that a training sample gets, the same on every machine."""
    return int.from_bytes(hashlib.sha256(sample_id.encode("utf-8")).digest()[:8], "big") % count
