"""The catalog: names of datasets and how to open them."""

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mvplm.data.captions.refined import with_captions
from mvplm.data.datasets.coco import load_coco_folder
from mvplm.data.datasets.coco_files import CocoFiles, find_coco_files
from mvplm.data.datasets.coco_mini import coco_mini_files, load_coco_mini
from mvplm.data.datasets.scenes import load_scenes
from mvplm.structures import Record
from mvplm.structures.choices import near_matches

CAPTIONS_OPTION = "captions_dir"
Loader = Callable[..., Sequence[Record]]
ROOT_VARIABLE = "MVPLM_DATASETS"


@dataclass(frozen=True)
class CatalogEntry:
    """loader: called as ``loader(root, **options)``; files: gives the COCO files of the dataset, for checking them."""

    loader: Loader
    files: Callable[..., CocoFiles] | None = None


_ENTRIES: dict[str, CatalogEntry] = {
    "coco_folder": CatalogEntry(load_coco_folder, find_coco_files),
    **{
        f"coco_mini/{split}": CatalogEntry(partial(load_coco_mini, split=split), partial(coco_mini_files, split=split))
        for split in ("train", "val", "refs")
    },
    **{f"scenes/{split}": CatalogEntry(partial(load_scenes, split=split)) for split in ("train", "val", "heldout")},
}


def register_dataset(name: str, loader: Loader, *, files: Callable[..., CocoFiles] | None = None) -> None:
    """Add a dataset.

    Args:
        name: unique name, by custom "family/split".
        loader: called as ``loader(root, **options)``, returns a sequence of records.
        files: called as ``files(root)``; lets the checker read the raw files of a COCO-format dataset.

    Raises:
        ValueError: the name is taken.
    """
    if name in _ENTRIES:
        raise ValueError(f"dataset {name!r} is registered already")
    _ENTRIES[name] = CatalogEntry(loader, files)


def unregister_dataset(name: str) -> None:
    """Remove a dataset from the catalog. Raises ValueError when there is none of that name."""
    dataset_entry(name)
    del _ENTRIES[name]


def list_datasets() -> list[str]:
    """Names in the catalog, sorted."""
    return sorted(_ENTRIES)


def dataset_entry(name: str) -> CatalogEntry:
    """Entry of a name. Raises ValueError with the choices when it is unknown."""
    if name not in _ENTRIES:
        hint = near_matches(name, _ENTRIES, most=1)
        raise ValueError(f"unknown dataset {name!r}{hint} (datasets: {', '.join(list_datasets())})")
    return _ENTRIES[name]


def datasets_root(root: str | Path | None = None) -> Path:
    """The given folder, else that of the environment variable MVPLM_DATASETS, else ./datasets."""
    return Path(root if root is not None else os.environ.get(ROOT_VARIABLE) or "datasets")


def get_dataset(name: str, *, root: str | Path | None = None, **options: Any) -> Sequence[Record]:
    """Open a dataset.

    Args:
        name: name in the catalog.
        root: folder of the datasets; see ``datasets_root``. For "coco_folder" the folder itself.
        **options: arguments of the dataset. Every dataset also takes ``captions_dir``, a folder of refined captions
            that take the place of its own; see ``with_captions``.

    Raises:
        ValueError: unknown name or option; the message lists the choices.
        FileNotFoundError: the files are not there.
    """
    loader = dataset_entry(name).loader
    captions_dir = options.pop(CAPTIONS_OPTION, None)
    _check_options(name, loader, options=options)
    records = loader(datasets_root(root), **options)
    return records if captions_dir is None else with_captions(records, captions_dir)


def _check_options(name: str, loader: Loader, *, options: dict[str, Any]) -> None:
    fixed = loader.keywords if isinstance(loader, partial) else {}
    parameters = [p for p in inspect.signature(loader).parameters.values() if p.name not in fixed][1:]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = [*(p.name for p in parameters), CAPTIONS_OPTION]
    unknown = [option for option in options if option not in known]
    if unknown:
        hint = near_matches(unknown[0], known)
        raise ValueError(f"dataset {name!r} has no option {unknown[0]!r}{hint} (options: {', '.join(known)})")
