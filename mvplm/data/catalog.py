"""The catalog: names of datasets and how to open them."""

import inspect
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mvplm.data.captions.refined import with_captions
from mvplm.data.datasets import (
    ade20k,
    cityscapes,
    coco_2017,
    earthreason,
    goldg,
    grefcoco,
    llava,
    llava_instruct,
    lvis,
    muse,
    objects365,
    odinw,
    ors,
    pascal_context,
    pascal_voc,
    pix2cap,
    reasonseg,
    refcoco,
    rrsis_d,
)
from mvplm.data.datasets.coco import load_coco_folder
from mvplm.data.datasets.coco_files import find_coco_files
from mvplm.data.datasets.coco_mini import FOLDER as COCO_MINI
from mvplm.data.datasets.coco_mini import coco_mini_files, load_coco_mini
from mvplm.data.datasets.entry import CatalogEntry, Loader
from mvplm.data.datasets.scenes import load_scenes
from mvplm.structures import Record
from mvplm.structures.choices import near_matches

CAPTIONS_OPTION = "captions_dir"
ROOT_VARIABLE = "MVPLM_DATASETS"

# Each of these files has ENTRIES: the names it reads.
_WITH_NAMES = (coco_2017, ade20k, cityscapes, pascal_context, pascal_voc, lvis, odinw, objects365)
_WITH_SENTENCES = (
    goldg,
    refcoco,
    grefcoco,
    llava,
    reasonseg,
    muse,
    rrsis_d,
    earthreason,
    pix2cap,
    llava_instruct,
    ors,
)

_ENTRIES: dict[str, CatalogEntry] = {
    "coco_folder": CatalogEntry(load_coco_folder, find_coco_files),
    **{
        f"coco_mini/{split}": CatalogEntry(
            partial(load_coco_mini, split=split), partial(coco_mini_files, split=split), (COCO_MINI,)
        )
        for split in ("train", "val", "refs")
    },
    **{f"scenes/{split}": CatalogEntry(partial(load_scenes, split=split)) for split in ("train", "val", "heldout")},
    **{name: entry for reader in (*_WITH_NAMES, *_WITH_SENTENCES) for name, entry in reader.ENTRIES.items()},
}


def register_dataset(
    name: str, loader: Loader, *, files: Callable[..., Any] | None = None, needs: Sequence[str] = ()
) -> None:
    """Add a dataset.

    Args:
        name: unique name, by custom "family/split".
        loader: called as ``loader(root, **options)``, returns a sequence of records.
        files: called as ``files(root)``; gives the checker the raw files, ``CocoFiles`` or ``SemanticFiles``.
        needs: what has to lie below the datasets folder; see ``CatalogEntry``.

    Raises:
        ValueError: the name is taken.
    """
    if name in _ENTRIES:
        raise ValueError(f"dataset {name!r} is registered already")
    _ENTRIES[name] = CatalogEntry(loader, files, tuple(needs))


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
        root: folder of the datasets; see ``datasets_root``. For "coco_folder" and "odinw_folder" the folder itself.
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
