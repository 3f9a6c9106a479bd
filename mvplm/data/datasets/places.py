"""Where official datasets lie below the datasets folder."""

from pathlib import Path

ROOT_HINT = "MVPLM_DATASETS names the folder above it; datasets/README.md draws the trees"


def need_place(root: str | Path, *places: str) -> Path:
    """The first of the ``places`` below ``root`` that exists.

    Raises:
        FileNotFoundError: none does; the message names them.
    """
    for place in places:
        if (Path(root) / place).exists():
            return Path(root) / place
    raise FileNotFoundError(f"dataset file not found: {' or '.join(str(Path(root) / p) for p in places)} ({ROOT_HINT})")


def either(*places: str) -> str:
    """Several places of the same thing, as one of the needs of a ``CatalogEntry``."""
    return " or ".join(places)


def need_folder_of_pictures(root: str | Path, place: str, *, pattern: str) -> list[Path]:
    """Files that match ``pattern`` in a folder below ``root``, sorted.

    Raises:
        FileNotFoundError: no such folder, or nothing in it matches.
    """
    folder = need_place(root, place)
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"no file {pattern} in {folder}")
    return found
