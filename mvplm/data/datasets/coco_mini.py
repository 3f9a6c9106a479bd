"""The layout of ``coco_mini``, a small selection of COCO: train, val, and pictures with referring expressions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mvplm.data.datasets.coco import open_coco
from mvplm.data.datasets.coco_files import CocoFiles, find_coco_files
from mvplm.structures import Record

FOLDER = "coco_mini"


def coco_mini_files(root: str | Path, split: str) -> CocoFiles:
    """Paths of one split ("train", "val" or "refs") below ``root``/coco_mini.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    folder = Path(root) / FOLDER
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset folder not found: {folder} (set MVPLM_DATASETS to the folder above it)")
    annotations = folder / "annotations"
    if split == "refs":
        return CocoFiles(
            root=folder,
            images=folder / "images" / "refs",
            instances=(annotations / "instances_refs.json",),
            lookup=(annotations / "instances_val.json",),
            referring=folder / "refs_val.json",
        )
    return replace(find_coco_files(folder, split=split), referring=None)


def load_coco_mini(
    root: str | Path,
    *,
    split: str,
    role: str | None = None,
    clean_names: bool = True,
    masks_only: bool = False,
    num: int | None = None,
) -> Sequence[Record]:
    """Records of a split. ``role`` None means panoptic for train and val, referring for refs.

    The other options and the errors are those of ``load_coco_folder``.
    """
    files = coco_mini_files(root, split)
    role = "referring" if role is None and split == "refs" else role
    source = f"{FOLDER}/{split}"
    return open_coco(files, role=role, clean_names=clean_names, masks_only=masks_only, num=num, source=source)
