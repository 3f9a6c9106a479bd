"""The codecs ``bsd``, ``bsd_bricks`` and ``canvas``: one block of label, box and mask per instance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvplm.textmask import labels as spelling
from mvplm.textmask.answer import answer_text, block_text
from mvplm.textmask.bricks import BRICKS, encode_bricks
from mvplm.textmask.checks import check_masks
from mvplm.textmask.codec_isd import never_empty
from mvplm.textmask.grid import Axis, to_cells, to_pixels, window_cells, window_pixels
from mvplm.textmask.items import Items, cut_ids, cut_text, decode_text, token_table, without_ending
from mvplm.textmask.parse_bsd import BsdFormat, parse_bsd
from mvplm.textmask.result import ParsedAnswer, ParsedInstance, TextMaskResult
from mvplm.textmask.runs import find_runs, tight_boxes

PER_MILLE = 1000
"""Steps of a side of the picture in which a canvas tells its box, unless it is told otherwise."""


@dataclass(frozen=True)
class _Instance:
    label: str
    box: tuple[int, ...]
    mask: str


@dataclass(frozen=True)
class BsdCodec:
    """Masks as blocks ``<ref>label</ref><box>[[x1 y1 x2 y2]]</box><seg>rows</seg>``.

    Attributes:
        name: ``bsd`` (rows in plain text), ``bsd_bricks`` (rows of bricks), ``canvas`` (bricks on a canvas of the box).
        grid: (h, w) cells of the picture, or of every canvas. down, up: see :mod:`mvplm.textmask.grid`; for crops only.
        row_sep: between rows, LF or nothing. roi: labels are ``roi0``, ``roi1`` ... in order of emission.
        clip63: last row and column of the grid are dropped, so that coordinates stay below the number of cells.
        bins: steps of a side of the picture in which a canvas tells its box; few of them suit small models.
        whole_numbers: coordinates are the tokens that the tokenizer makes of them, not single digits.
    """

    name: str
    grid: tuple[int, int]
    down: str = "area_keep"
    up: str = "auto"
    row_sep: str = "\n"
    roi: bool = False
    clip63: bool = False
    bins: int = PER_MILLE
    whole_numbers: bool = False

    @property
    def canvas(self) -> bool:
        """Whether masks are painted on a canvas stretched over their box, not on the grid of the picture."""
        return self.name == "canvas"

    @property
    def bricks(self) -> bool:
        """Whether rows are bricks, not plain text."""
        return self.name != "bsd"

    @property
    def limit(self) -> tuple[int, int]:
        """Largest x2 and y2."""
        return (self.bins, self.bins) if self.canvas else (self.grid[1], self.grid[0])

    def encode(
        self,
        masks: np.ndarray,
        labels: Sequence[str] | None = None,
        *,
        question: Sequence[str] | None = None,
        preamble: str = "",
        box_only: bool = False,
    ) -> str:
        """The answer for masks bool (N, H, W).

        Args:
            masks: one per instance; none: the sentence that nothing fits.
            labels: N labels; not needed with ``roi``.
            question: labels in the order of the question, which comes before the order of the boxes; default: the order
                of ``labels``. preamble: text before the first block. box_only: leave the masks out.

        Raises:
            ValueError: masks and labels that do not fit together, an empty mask, a label that the question lacks.
        """
        instances = self._instances(masks, labels, question=question)
        blocks = [block_text(part.label, part.box, mask=None if box_only else part.mask) for part in instances]
        return answer_text(blocks, preamble)

    def _instances(
        self, masks: np.ndarray, labels: Sequence[str] | None, *, question: Sequence[str] | None
    ) -> list[_Instance]:
        if labels is None and not self.roi:
            raise ValueError("labels are missing; only a codec with roi=True numbers its regions itself")
        masks = check_masks(masks, labels)
        named = [] if self.roi else [spelling.canonical(label) for label in labels or ()]
        asked = named if question is None else [spelling.canonical(label) for label in question]
        unasked = [label for label in named if label not in asked]
        if unasked:
            raise ValueError(f"label {unasked[0]!r} is not in the question (labels there: {', '.join(asked)})")
        if not len(masks):
            return []
        empty = ~masks.any((1, 2))
        if empty.any():
            raise ValueError(f"mask {int(empty.argmax())} is empty: it has no box; leave it out")
        boxes, grids = self._canvases(masks) if self.canvas else self._crops(masks)
        rows = self._rows(grids, np.tile([0, 0, *self.grid[::-1]], (len(masks), 1)) if self.canvas else boxes)
        order = sorted(
            range(len(masks)), key=lambda i: (0 if self.roi else asked.index(named[i]), *boxes[i].tolist(), i)
        )
        return [
            _Instance(f"roi{place}" if self.roi else spelling.escape(named[i]), tuple(boxes[i].tolist()), rows[i])
            for place, i in enumerate(order)
        ]

    def spelled_boxes(self, masks: np.ndarray) -> np.ndarray:
        """The boxes (N, 4) int64 that an answer for masks bool (N, H, W) spells, at most ``limit``.

        Raises:
            ValueError: a mask of which no cell is left.
        """
        return self._edges(masks) if self.canvas else tight_boxes(self._cells(masks))

    def _cells(self, masks: np.ndarray) -> np.ndarray:
        """Masks on the grid of the picture, bool (N, h, w)."""
        grids = to_cells(masks, self.grid, down=self.down)
        if self.clip63:
            grids[:, -1], grids[:, :, -1] = False, False
        lost = ~grids.any((1, 2))
        if lost.any():
            where = "the dropped last row and column" if self.clip63 else "between the cells of the grid"
            raise ValueError(f"mask {int(lost.argmax())} lies in {where}; nothing of it is left")
        return grids

    def _crops(self, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) in cells, and the grids that they are cut from."""
        grids = self._cells(masks)
        return tight_boxes(grids), grids

    def _edges(self, masks: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) in steps of the picture."""
        edges, sides = tight_boxes(masks), np.array([masks.shape[2], masks.shape[1]])
        return np.concatenate([self.bins * edges[:, :2] // sides, -(-self.bins * edges[:, 2:] // sides)], axis=1)

    def sketches(self, masks: np.ndarray) -> np.ndarray:
        """What is painted on the canvases of masks bool (N, H, W), none of them empty: bool (N, h, w).

        Raises:
            ValueError: a codec without canvases.
        """
        if not self.canvas:
            raise ValueError(f"codec {self.name!r} has no canvases")
        return self._canvases(masks)[1]

    def _canvases(self, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) in steps of the picture, and canvases bool (N, h, w)."""
        height, width = masks.shape[1:]
        boxes = self._edges(masks)
        grids = np.empty((len(masks), *self.grid), bool)
        for index, (mask, box) in enumerate(zip(masks, boxes.tolist(), strict=True)):
            rows, columns = self._axes(box, (height, width))
            grids[index] = window_cells(mask[None], rows, columns=columns)[0]
        return boxes, grids

    def _axes(self, box: Sequence[int], size: tuple[int, int]) -> tuple[Axis, Axis]:
        """Rows and columns of the canvas over a box in steps of the picture."""
        x1, y1, x2, y2 = box
        rows = Axis(size[0], self.grid[0], y1 * size[0], (y2 - y1) * size[0], self.bins)
        return rows, Axis(size[1], self.grid[1], x1 * size[1], (x2 - x1) * size[1], self.bins)

    def _rows(self, grids: np.ndarray, boxes: np.ndarray) -> list[str]:
        """Masks of all instances as text."""
        if self.bricks:
            encoded = encode_bricks(grids, boxes, row_breaks=bool(self.row_sep))
            spelled = (*BRICKS, self.row_sep)
            return ["".join([spelled[code] for code in encoded.of(i).tolist()]) for i in range(len(grids))]
        runs = find_runs(grids, boxes)
        pieces = [
            f"{self.row_sep if new else ''}{'fg' if value else 'bg'}{length}"
            for value, length, new in zip(
                runs.values.tolist(), runs.lengths.tolist(), runs.new_row.tolist(), strict=True
            )
        ]
        offsets = runs.offsets.tolist()
        return ["".join(pieces[i:j]).removeprefix(self.row_sep) for i, j in zip(offsets[:-1], offsets[1:], strict=True)]

    def decode(self, text: str, size: tuple[int, int]) -> TextMaskResult:
        """Masks bool (N, H, W) of the blocks of an answer that have one, in their order. No text raises.

        Args:
            text: the answer. size: (H, W).
        """
        return self._decode(cut_text(text), size)

    def encode_ids(
        self, masks: np.ndarray, labels: Sequence[str] | None = None, *, tokenizer: Any, **options: Any
    ) -> list[int]:
        """Token ids of :meth:`encode`, put together from pieces: tags and bricks by id, numbers, text between.

        Args:
            masks, labels: and further options as for :meth:`encode`.
            tokenizer: a Hugging Face tokenizer, for bricks with the tokens of :func:`add_mask_tokens`.

        Raises:
            ValueError: as for :meth:`encode`; a tokenizer without the tags and bricks.
        """
        return self.spell(self.encode(masks, labels, **options), tokenizer)

    def spell(self, text: str, tokenizer: Any) -> list[int]:
        """Token ids of an answer, see :meth:`encode_ids`."""
        from mvplm.textmask.pieces import spell_ids

        return spell_ids(text, tokenizer, bricks=self.bricks, whole_numbers=self.whole_numbers)

    def decode_ids(self, ids: Sequence[int], size: tuple[int, int], *, tokenizer: Any) -> TextMaskResult:
        """Masks of token ids. Tokens that end the answer are ignored.

        Tags and bricks are recognised by id; where the tokenizer has no bricks, by their spelling.
        """
        given = [int(token) for token in ids]
        kept = without_ending(tokenizer, given)
        by_id = self.bricks and token_table(tokenizer).ids[0] >= 0
        items = cut_ids(tokenizer, kept) if by_id else cut_text(decode_text(tokenizer, kept))
        result = self._decode(items, size)
        result.answer.raw_ids = given
        return result

    def _decode(self, items: Items, size: tuple[int, int]) -> TextMaskResult:
        canvas = self.grid if self.canvas else None
        answer = parse_bsd(items, BsdFormat(self.bricks, self.limit, canvas, bool(self.row_sep)))
        painted = [part for part in answer.instances if part.grid is not None]
        located = [part for part in answer.instances if part.grid is None and part.box is not None]
        return TextMaskResult(
            masks=self._paint(painted, size),
            boxes=self._pixel_boxes(painted, size),
            labels=[part.label for part in painted],
            status=answer.status,
            repairs=answer.repairs,
            statuses=[part.status for part in painted],
            empty_by_model=_says_nothing(answer),
            box_only_boxes=self._pixel_boxes(located, size),
            box_only_labels=[part.label for part in located],
            answer=answer,
        )

    def _pixel_boxes(self, parts: Sequence[ParsedInstance], size: tuple[int, int]) -> np.ndarray:
        if not parts:
            return np.zeros((0, 4), np.float32)
        sides = np.array([size[1], size[0]] * 2) / np.array(self.limit * 2)
        return (np.array([part.box for part in parts]) * sides).astype(np.float32)

    def _paint(self, parts: Sequence[ParsedInstance], size: tuple[int, int]) -> np.ndarray:
        """Masks of instances with grids."""
        if not parts:
            return np.zeros((0, *size), bool)
        grids = np.zeros((len(parts), *self.grid), bool)
        masks = np.zeros((len(parts), *size), bool)
        for index, part in enumerate(parts):
            assert part.box is not None and part.grid is not None
            x1, y1, x2, y2 = part.box
            if self.canvas:
                rows, columns = self._axes(part.box, size)
                masks[index] = window_pixels(part.grid, rows, columns=columns)
                # Where a canvas lies between all pixels, the pixel under its centre stands for it.
                twice = 2 * self.bins
                row, column = (y1 + y2) * self.grid[0] // twice, (x1 + x2) * self.grid[1] // twice
                grids[index, min(row, self.grid[0] - 1), min(column, self.grid[1] - 1)] = part.grid.any()
            else:
                grids[index, y1:y2, x1:x2] = part.grid
        if not self.canvas:
            masks = to_pixels(grids, size, up=self.up)
        return never_empty(masks, grids)


def _says_nothing(answer: ParsedAnswer) -> bool:
    return answer.status == "no_target" or answer.empty_by_model
