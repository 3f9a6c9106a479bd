"""Folders in the style of ODinW ("object detection in the wild"): pictures and one COCO file in a folder per split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvplm.data.datasets.coco import open_coco
from mvplm.data.datasets.coco_files import CocoFiles, read_coco
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.structures import Record

FILES = ("annotations_without_background.json", "_annotations.coco.json")


@dataclass(frozen=True)
class OdinwFiles(CocoFiles):
    """Exports begin their list of categories with the name of the whole set, which marks nothing: it is left out."""

    def read(self, path: Path, *keys: str) -> dict[str, Any]:
        """Contents of a COCO file without categories that are only the heading of others and have no annotation."""
        data = read_coco(path, *keys)
        if "categories" not in keys:
            return data
        used = {str(entry.get("category_id")) for entry in data["annotations"] if isinstance(entry, Mapping)}
        named = [category for category in data["categories"] if isinstance(category, Mapping)]
        headings = {str(category.get("supercategory")) for category in named}
        empty = [c for c in named if c.get("name") in headings and str(c.get("id")) not in used]
        return {**data, "categories": [category for category in data["categories"] if category not in empty]}


def odinw_files(root: str | Path, *, split: str = "valid") -> OdinwFiles:
    """Paths of a split ("train", "valid" or "test") in the folder ``root`` of one set.

    Raises:
        FileNotFoundError: no such folder, or no annotation file in it.
    """
    folder = Path(root) / split
    for name in FILES:
        if (folder / name).is_file():
            return OdinwFiles(root=Path(root), images=folder, instances=(folder / name,))
    raise FileNotFoundError(f"dataset file not found: {folder} holds neither {' nor '.join(FILES)}")


def load_odinw(
    root: str | Path, *, split: str = "valid", role: str = "detection", num: int | None = None
) -> Sequence[Record]:
    """Records of a split.

    Args:
        root: folder of one set, with a folder for each split.
        split: "train", "valid" or "test".
        role: "detection" (boxes), or "instance" where the file has masks.
        num: only the first so many.

    Raises:
        FileNotFoundError: no such folder, or no annotation file in it.
        ValueError: unknown role, or ``num`` below 1.
    """
    return open_coco(odinw_files(root, split=split), role=role, clean_names=False, num=num)


ENTRIES = {"odinw_folder": CatalogEntry(load_odinw, odinw_files)}
