"""What came out of reading an answer: masks, and what had to be guessed to get them.

Letters: N instances with a mask, H x W the size asked for, h x w cells.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

STATUSES = ("ok", "repaired", "truncated", "no_target", "unparsed", "invalid")
BLOCK_STATUSES = ("ok", "repaired", "truncated", "box_only", "invalid_box")


@dataclass
class ParsedInstance:
    """One block of an answer.

    Attributes:
        status: one of ``BLOCK_STATUSES``. label: unescaped.
        box: ``(x1, y1, x2, y2)``, half-open, in units of the codec.
        grid: bool (h, w), the cells of the picture (image-wise), of the box, or of the canvas; None without a mask.
        repairs: what was repaired, and how often.
        empty_by_model: the answer itself paints background only.
        span: where the block stands, characters of the text or positions of the ids.
    """

    status: str
    label: str
    box: tuple[int, ...] | None = None
    grid: np.ndarray | None = None
    repairs: dict[str, int] = field(default_factory=dict)
    empty_by_model: bool = False
    span: tuple[int, int] = (0, 0)


@dataclass
class ParsedAnswer:
    """One answer.

    Attributes:
        status: one of ``STATUSES``. instances: its blocks, also those without a mask.
        preamble: text before the first block. n_blocks, n_invalid: blocks, and those without box and mask.
        repairs: counts over all blocks. empty_by_model: a complete answer that says "nothing here".
        raw_text: what was read. raw_ids: what was read, when it was ids.
        extra_blocks: further descriptors after the first (image-wise only).
    """

    status: str
    instances: list[ParsedInstance] = field(default_factory=list)
    preamble: str = ""
    n_blocks: int = 0
    n_invalid: int = 0
    repairs: dict[str, int] = field(default_factory=dict)
    empty_by_model: bool = False
    raw_text: str = ""
    raw_ids: list[int] | None = None
    extra_blocks: list["ParsedAnswer"] = field(default_factory=list)


@dataclass
class TextMaskResult:
    """Masks of an answer in pixels. An answer that gives none says why in ``status``.

    Attributes:
        masks: (N, H, W) bool. boxes: (N, 4) float32 XYXY_ABS, half-open. labels: N strings.
        status: ``ok``: exactly what the codec writes; ``repaired``; ``truncated``: it stops early; ``no_target``: it
            says that nothing fits; ``unparsed``: there is no mask in it; ``invalid``: blocks, but none has a mask.
        repairs: what was repaired, and how often. statuses: of the N instances.
        empty_by_model: the answer is complete and paints background only.
        box_only_boxes, box_only_labels: blocks with a box and no mask, (M, 4) and M.
        answer: everything that was read, in cells.
    """

    masks: np.ndarray
    boxes: np.ndarray
    labels: list[str]
    status: str
    repairs: dict[str, int]
    statuses: list[str]
    empty_by_model: bool
    box_only_boxes: np.ndarray
    box_only_labels: list[str]
    answer: ParsedAnswer

    def __post_init__(self) -> None:
        count = len(self.masks)
        if self.masks.ndim != 3 or len(self.boxes) != count or len(self.labels) != count or len(self.statuses) != count:
            raise ValueError(
                f"{self.masks.shape} masks, {len(self.boxes)} boxes, {len(self.labels)} labels and "
                f"{len(self.statuses)} statuses disagree"
            )

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def union(self) -> np.ndarray:
        """(H, W) bool: everything that was found."""
        return np.any(self.masks, 0)

    def to_rle(self) -> list[dict[str, Any]]:
        """The masks as COCO run-length codes, JSON-ready."""
        from mvplm.structures.masks import encode_mask

        return [encode_mask(mask) for mask in self.masks]


def sum_repairs(parts: list[dict[str, int]]) -> dict[str, int]:
    """Counts by name over all parts, only those that are not 0."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return {name: count for name, count in total.items() if count}
