"""LVIS v1: instances of 1203 classes over COCO's pictures, annotated by class ("federated").

For each picture only some classes were looked for: those with objects, and ``neg_category_ids``, which are surely
absent. Of ``not_exhaustive_category_ids`` there are objects, but not all of them are marked. A record therefore is not
exhaustive, lists the absent names, and has a crowd over the whole picture for each class of which more may be there,
so that no further find of it counts as wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import CocoInstances, FirstRecords
from mvplm.data.datasets.coco_files import CocoFiles, read_coco
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.places import need_place
from mvplm.evaluation.detection_rules import DetectionRules
from mvplm.structures import Annotation, Record, Vocabulary
from mvplm.structures.choices import check_choice
from mvplm.structures.masks import encode_mask

PICTURES = "coco"
FOLDER = "lvis"
FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
ROLES = ("instance", "detection")
_SPLITS = ("train", "val")


@dataclass(frozen=True)
class LvisFiles(CocoFiles):
    """The annotation file names pictures by their address; its folder and name are those of COCO 2017."""

    def read(self, path: Path, *keys: str) -> dict[str, Any]:
        """Contents of the annotation file; ``file_name`` is the end of ``coco_url``, train2017/NAME.jpg."""
        data = read_coco(path, *keys)
        return {**data, "images": [_with_file_name(info) for info in data.get("images", ())]}


def _with_file_name(info: Any) -> Any:
    parts = str(info.get("coco_url", "")).split("/")[-2:] if isinstance(info, Mapping) else []
    return {**info, "file_name": "/".join(parts)} if len(parts) == 2 else info


def lvis_files(root: str | Path, *, split: str) -> LvisFiles:
    """Paths of a split ("train" or "val"). Raises FileNotFoundError when a part is not there."""
    file = need_place(root, f"{FOLDER}/lvis_v1_{split}.json")
    return LvisFiles(root=file.parent, images=need_place(root, PICTURES), instances=(file,))


class LvisInstances(CocoInstances):
    """One record per picture of an LVIS file.

    Attributes:
        detection_rules: 300 finds a picture; with ``per_class_limit`` also "fixed" average precision.
        name_groups: "lvis" (all names), "lvis_rare", "lvis_common" and "lvis_frequent"; results are told apart by them.
    """

    def __init__(
        self,
        files: CocoFiles,
        *,
        source: str,
        clean_names: bool = True,
        role: str = "instance",
        per_class_limit: int | None = None,
    ) -> None:
        super().__init__(files, source=source, clean_names=False, role=role)
        names = [name.replace("_", " ") if clean_names else name for name in self.vocabulary.names]
        self.vocabulary = replace(self.vocabulary, names=tuple(names))
        self.name_groups = _groups(self.vocabulary, self._categories)
        letters = [category.get("frequency") for category in self._categories]
        self.detection_rules = DetectionRules(
            max_detections=300,
            whole_picture=True,
            per_class_limit=per_class_limit,
            frequencies={
                letter: tuple(place for place, found in enumerate(letters) if found == letter)
                for letter in FREQUENCIES
                if letter in letters
            },
        )

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len)."""
        info, record = self._infos[index], super().record(index)
        partly = [self.vocabulary.index_of(id_) for id_ in info.get("not_exhaustive_category_ids", ())]
        absent = [self.vocabulary.index_of(id_) for id_ in info.get("neg_category_ids", ())]
        return replace(
            record,
            annotations=(*record.annotations, *(self._crowd(label, record.size) for label in partly)),
            exhaustive=False,
            absent=tuple(sorted(absent)),
        )

    def _crowd(self, label: int, size: tuple[int, int]) -> Annotation:
        everywhere = encode_mask(np.ones(size, bool)) if self._role == "instance" else None
        return Annotation((0, 0, size[1], size[0]), label, everywhere, iscrowd=True)


def _groups(vocabulary: Vocabulary, categories: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, list[str]] = {FOLDER: list(vocabulary.names)}
    for name, category in zip(vocabulary.names, categories, strict=True):
        if category.get("frequency") in FREQUENCIES:
            groups.setdefault(f"{FOLDER}_{FREQUENCIES[category['frequency']]}", []).append(name)
    return {group: tuple(names) for group, names in groups.items()}


def load_lvis(
    root: str | Path,
    *,
    split: str,
    role: str = "instance",
    clean_names: bool = True,
    per_class_limit: int | None = None,
    num: int | None = None,
) -> Sequence[Record]:
    """Records of a split; the names are read from the file.

    Args:
        root: the datasets folder.
        split: "train" or "val".
        role: "instance" (masks) or "detection" (boxes only).
        clean_names: blanks instead of underscores.
        per_class_limit: also give "fixed" average precision over so many finds of each class (10 000 in the paper).
        num: only the first so many.

    Raises:
        FileNotFoundError: a part is not there.
        ValueError: unknown role, or ``num`` below 1.
    """
    check_choice("role", role, choices=ROLES)
    files = lvis_files(root, split=split)
    records: RecordSequence = LvisInstances(
        files, source=f"lvis_v1_{split}", clean_names=clean_names, role=role, per_class_limit=per_class_limit
    )
    records = records if num is None else FirstRecords(records, num)
    records.files = files
    return records


ENTRIES = {
    f"lvis_v1_{split}": CatalogEntry(
        partial(load_lvis, split=split), partial(lvis_files, split=split), (PICTURES, f"{FOLDER}/lvis_v1_{split}.json")
    )
    for split in _SPLITS
}
