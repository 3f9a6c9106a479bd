"""Finding a dataset's files: the public archives unpack into more than one tree."""

from pathlib import Path


def find_place(root: str | Path, *candidates: str) -> Path:
    """The first of several paths below ``root`` that exists.

    Raises:
        FileNotFoundError: none does; the message lists all of them.
    """
    places = [Path(root) / candidate for candidate in candidates]
    for place in places:
        if place.exists():
            return place
    tried = ", ".join(str(place) for place in places)
    raise FileNotFoundError(f"dataset file not found, looked for {tried} (MVPLM_DATASETS names the folder of datasets)")
