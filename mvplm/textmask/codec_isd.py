"""The codecs ``isd_full``, ``isd_irle`` and ``isd_rrle``: the whole picture as labelled cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvplm.textmask import labels as spelling
from mvplm.textmask.checks import check_masks
from mvplm.textmask.grid import to_cells, to_class_cells, to_class_pixels
from mvplm.textmask.isd import CLOSE, OPEN, encode_isd
from mvplm.textmask.items import decode_text, without_ending
from mvplm.textmask.parse_isd import IsdFormat, parse_isd
from mvplm.textmask.result import TextMaskResult


@dataclass(frozen=True)
class LabelGrid:
    """Classes int64 (h, w), -1 for background and else an index into ``labels``.

    Attributes:
        overlaps: pixels that more than one label claims; the later mask has them.
    """

    classes: np.ndarray
    labels: list[str]
    overlaps: int


@dataclass(frozen=True)
class IsdCodec:
    """Masks as one label per cell of a grid over the whole picture.

    Attributes:
        name: ``isd_full``, ``isd_irle`` or ``isd_rrle``. grid: (h, w) cells. down, up: see :mod:`mvplm.textmask.grid`.
        compat: the spelling of released checkpoints: nothing is escaped, reserved characters are replaced.
        lead_in: sentence before the descriptor, or nothing.
    """

    name: str
    grid: tuple[int, int]
    down: str = "area_keep"
    up: str = "auto"
    compat: bool = False
    lead_in: str = ""

    @property
    def mode(self) -> str:
        """``full``, ``irle`` or ``rrle``."""
        return self.name.removeprefix("isd_")

    def write_label(self, label: str) -> str:
        """A canonical label as an answer spells it."""
        return spelling.compatible(label) if self.compat else spelling.escape(label)

    def label_grid(self, masks: np.ndarray, labels: Sequence[str]) -> LabelGrid:
        """Cells of masks bool (N, H, W) with N labels; equal labels are one class.

        Raises:
            ValueError: masks and labels that do not fit together, an empty label.
        """
        masks = check_masks(masks, labels)
        named = [spelling.canonical(label) for label in labels]
        names = list(dict.fromkeys(named))
        owner = np.full(masks.shape[1:], -1)
        claimed = np.zeros(masks.shape[1:], bool)
        for name, mask in zip(named, masks, strict=True):
            index = names.index(name)
            claimed |= mask & (owner >= 0) & (owner != index)
            owner[mask] = index
        overlaps = int(np.count_nonzero(claimed))
        united = owner == np.arange(len(names))[:, None, None]
        if len(names) == 1:
            cells = to_cells(united, self.grid, down=self.down)
            return LabelGrid(np.where(cells[0], 0, -1), names, overlaps)
        return LabelGrid(to_class_cells(united, self.grid, down=self.down), names, overlaps)

    def encode(self, masks: np.ndarray, labels: Sequence[str]) -> str:
        """The answer for masks bool (N, H, W) with N labels; no masks: background everywhere.

        Raises:
            ValueError: as for :meth:`label_grid`.
        """
        found = self.label_grid(masks, labels)
        names = [spelling.OTHERS, *map(self.write_label, found.labels)]
        body = f"{OPEN}{encode_isd(found.classes + 1, names, mode=self.mode)}{CLOSE}"
        return f"{self.lead_in}\n{body}" if self.lead_in else body

    def decode(
        self, text: str, size: tuple[int, int], *, labels: Sequence[str] | None = None, keep_unknown: bool = False
    ) -> TextMaskResult:
        """Masks bool (N, H, W) of an answer, one per label in order of first appearance. No text raises.

        Args:
            text: the answer. size: (H, W).
            labels: those asked for: near spellings are resolved to them, others become background.
            keep_unknown: labels that resolve to none keep their cells.
        """
        read = (lambda label: label) if self.compat else spelling.unescape
        known = None if labels is None else [spelling.canonical(label) for label in labels]
        answer = parse_isd(text, IsdFormat(self.mode, self.grid, read, self.write_label, known, keep_unknown))
        grids = [instance.grid for instance in answer.instances if instance.grid is not None]
        classes = np.full(self.grid, -1)
        for index, grid in enumerate(grids):
            classes[grid] = index
        masks = never_empty(to_class_pixels(classes, size, count=len(grids), up=self.up), grids)
        return TextMaskResult(
            masks=masks,
            boxes=mask_boxes(masks),
            labels=[instance.label for instance in answer.instances],
            status=answer.status,
            repairs=answer.repairs,
            statuses=[instance.status for instance in answer.instances],
            empty_by_model=answer.empty_by_model,
            box_only_boxes=np.zeros((0, 4), np.float32),
            box_only_labels=[],
            answer=answer,
        )

    def encode_ids(self, masks: np.ndarray, labels: Sequence[str], *, tokenizer: Any) -> list[int]:
        """Token ids of :meth:`encode`, nothing added."""
        return list(tokenizer.encode(self.encode(masks, labels), add_special_tokens=False))

    def decode_ids(
        self, ids: Sequence[int], size: tuple[int, int], *, tokenizer: Any, **options: Any
    ) -> TextMaskResult:
        """Masks of token ids; tokens after the answer that end it are ignored. Options as for :meth:`decode`."""
        given = [int(token) for token in ids]
        result = self.decode(decode_text(tokenizer, without_ending(tokenizer, given)), size, **options)
        result.answer.raw_ids = given
        return result


def mask_boxes(masks: np.ndarray) -> np.ndarray:
    """Tight half-open boxes float32 (N, 4) XYXY_ABS of bool (N, H, W); zeros for an empty mask."""
    rows, columns = np.any(masks, 2), np.any(masks, 1)
    if not masks.size:
        return np.zeros((len(masks), 4), np.float32)
    edges = [columns.argmax(1), rows.argmax(1)]
    edges += [side.shape[1] - side[:, ::-1].argmax(1) for side in (columns, rows)]
    return (np.stack(edges, axis=1) * np.any(masks, (1, 2))[:, None]).astype(np.float32)


def never_empty(masks: np.ndarray, grids: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Masks (N, H, W) with the pixel under the first set cell of grids (h, w) that fell between all pixels."""
    for mask, grid in zip(masks, grids, strict=True):
        if mask.size and not mask.any() and grid.any():
            row, column = np.unravel_index(grid.argmax(), grid.shape)
            places = [
                (2 * int(cell) + 1) * side // (2 * cells)
                for cell, side, cells in zip((row, column), mask.shape, grid.shape, strict=True)
            ]
            mask[tuple(places)] = True
    return masks
