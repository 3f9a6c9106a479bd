"""Predictions of any system as files: COCO results, panoptic JSON with PNGs, semantic RLEs, answers to expressions."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvplm.data.datasets.coco_files import read_json
from mvplm.data.panoptic_files import PanopticFile
from mvplm.evaluation.referring import STATUSES
from mvplm.structures import Expression

_ANSWERS = ("segmentation", "box")


@dataclass(frozen=True)
class Entry:
    """One entry of a list: its contents, and what messages call it ("results.json: entry 3")."""

    values: Mapping[str, Any]
    name: str


class ImageEntries:
    """Entries by image.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, entries: Sequence[Entry]) -> None:
        self.path = path
        self._by_image: dict[Any, list[Entry]] = defaultdict(list)
        for entry in entries:
            self._by_image[entry.values["image_id"]].append(entry)

    @property
    def image_ids(self) -> list[Any]:
        """Ids of images with entries."""
        return list(self._by_image)

    def of(self, image_id: int | str) -> list[Entry]:
        """Entries of an image, in the file's order; none where nothing was found."""
        return self._by_image.get(image_id, [])


class DetectionFile(ImageEntries):
    """COCO results: a list of ``{"image_id", "category_id", "score", "bbox" XYWH pixels and/or "segmentation" RLE}``.

    Attributes:
        path: the file. masks: whether entries have masks; all have one or none.

    Raises:
        ValueError: malformed; the message names file and entry.
    """

    def __init__(self, path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
        named = _named(path, entries)
        self.masks = any(entry.get("segmentation") is not None for entry in entries)
        for entry in named:
            _need(entry, "image_id", "category_id", "score", *(["segmentation"] if self.masks else ["bbox"]))
            _check_numbers(entry, "score", values=[entry.values["score"]])
            if entry.values.get("bbox") is not None:
                _check_numbers(entry, "bbox", values=entry.values["bbox"], count=4)
        super().__init__(path, named)


class SemanticFile(ImageEntries):
    """Semantic maps as detectron2 writes them: a list of ``{"image_id", "category_id", "segmentation" RLE}``.

    Attributes:
        path: the file.

    Raises:
        ValueError: malformed; the message names file and entry.
    """

    def __init__(self, path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
        named = _named(path, entries)
        for entry in named:
            _need(entry, "image_id", "category_id", "segmentation")
        super().__init__(path, named)


class ReferringFile:
    """A list with an answer to every expression, known by ``"ref_id"`` or by ``"image_id"`` and ``"expression"``.

    Where ``"image_id"`` stands beside ``"ref_id"``, both must fit: ids may be those of one image only.

    The answer is ``"segmentation"`` (RLE, or a list of RLEs), ``"box"`` (x1, y1, x2, y2 in pixels) or both; null says
    that nothing fits. ``"best"`` is the mask that is given in any case, by default the segmentation. ``"status"`` is
    one of ``STATUSES``; an answer that is not "answered" needs no more.

    Attributes:
        path: the file. masks, boxes: whether its answers are masks, boxes or both; nulls alone are both.

    Raises:
        ValueError: malformed, or two answers to one expression; the message names file and entry.
    """

    def __init__(self, path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
        self.path = path
        given = {kind for entry in entries for kind in (*_ANSWERS, "best") if entry.get(kind) is not None}
        self.masks, self.boxes = bool(given & {"segmentation", "best"}) or not given, "box" in given or not given
        kinds = [kind for kind, there in zip(_ANSWERS, (self.masks, self.boxes), strict=True) if there]
        self._entries: dict[Any, Entry] = {}
        for entry in _named(path, entries):
            _check_answer(entry, kinds)
            key = _key(entry.values)
            if key in self._entries:
                raise ValueError(f"{entry.name} answers {key!r} a second time")
            self._entries[key] = entry

    def keys(self) -> set[Any]:
        """What the answers are known by: ids of expressions, or image ids with the id or the text of an expression."""
        return set(self._entries)

    def key(self, image_id: int | str, expression: Expression) -> Any:
        """What the answer to an expression is known by. Raises ValueError where there is none."""
        numbered = [] if expression.id is None else [(image_id, expression.id), expression.id]
        for key in (*numbered, (image_id, expression.text)):
            if key in self._entries:
                return key
        what = f"{expression.text!r} (ref_id {expression.id}, image {image_id})"
        raise ValueError(f"{self.path}: no entry for the expression {what}; one with null says that nothing fits")

    def __getitem__(self, key: Any) -> Entry:
        return self._entries[key]


PredictionFile = PanopticFile | DetectionFile | SemanticFile | ReferringFile
ListFile = type[DetectionFile] | type[SemanticFile] | type[ReferringFile]
LIST_FILES: dict[str, ListFile] = {
    "semantic": SemanticFile,
    "detection": DetectionFile,
    "referring": ReferringFile,
}
"""Metric -> the kind of list that gives it."""


def read_predictions(path: str | Path, *, empty: ListFile = DetectionFile) -> PredictionFile:
    """A file of predictions; which kind it is shows in its contents.

    Args:
        path: the file.
        empty: what an empty list counts as.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, of no known kind, or malformed; the message names file and entry.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"file of predictions not found: {path}")
    data = read_json(path)
    if isinstance(data, dict) and isinstance(data.get("annotations"), list):
        return PanopticFile(path)
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise ValueError(
            f"{path} is no file of predictions: it must hold COCO results (a list), panoptic answers (an object with "
            f"'annotations'), masks of categories (a list) or answers to expressions (a list)"
        )
    if not data:
        return empty(path, data)
    if "ref_id" in data[0] or "expression" in data[0]:
        return ReferringFile(path, data)
    if "segmentation" in data[0] and not any("score" in entry for entry in data):
        return SemanticFile(path, data)
    return DetectionFile(path, data)


def _key(values: Mapping[str, Any]) -> Any:
    """What an answer to an expression is known by."""
    if "ref_id" not in values:
        return values["image_id"], values["expression"]
    return values["ref_id"] if values.get("image_id") is None else (values["image_id"], values["ref_id"])


def _check_answer(entry: Entry, kinds: Sequence[str]) -> None:
    """An answer has a key, a known status, and all of ``kinds`` unless it is silent."""
    values = entry.values
    _need(entry, *(["ref_id"] if "ref_id" in values else ["image_id", "expression"]))
    status = values.get("status", "answered")
    if status not in STATUSES:
        raise ValueError(f"{entry.name}: 'status' must be one of {', '.join(STATUSES)}, got {status!r}")
    if status == "answered" and not any(kind in values for kind in _ANSWERS):
        raise ValueError(f"{entry.name} has neither 'segmentation' nor 'box'; null says that nothing fits")
    silent = all(values.get(kind) is None for kind in _ANSWERS)
    if lacking := [kind for kind in kinds if kind not in values and not silent]:
        raise ValueError(f"{entry.name} has no {lacking[0]!r}, but others have")
    if values.get("box") is not None:
        _check_numbers(entry, "box", values=values["box"], count=4)


def _named(path: Path, entries: Sequence[Mapping[str, Any]]) -> list[Entry]:
    return [Entry(values, f"{path}: entry {place}") for place, values in enumerate(entries)]


def _need(entry: Entry, *keys: str) -> None:
    lacking = [key for key in keys if entry.values.get(key) is None]
    if lacking:
        raise ValueError(f"{entry.name} has no {lacking[0]!r} (it has {', '.join(sorted(entry.values))})")


def _check_numbers(entry: Entry, key: str, *, values: Any, count: int = 1) -> None:
    right = isinstance(values, list) and len(values) == count
    if not right or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in values):
        raise ValueError(f"{entry.name}: {key!r} must be {count} finite number{'s' * (count > 1)}, got {values}")
