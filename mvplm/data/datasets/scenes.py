"""The drawn world as a dataset of the catalog; it needs no files."""

from collections.abc import Sequence
from pathlib import Path

from mvplm.structures import Record

_USUAL_NUMBER = {"train": 20_000, "val": 500, "heldout": 500}


def load_scenes(
    root: str | Path,
    *,
    split: str,
    num: int | None = None,
    seed: int = 0,
    role: str = "all",
    vocabulary: str | None = None,
    size: int | None = None,
    most_things: int | None = None,
) -> Sequence[Record]:
    """Scenes of a split; ``root`` is not used.

    Args:
        root: ignored, nothing is read.
        split: "train", "val" or "heldout".
        num: how many scenes; None takes 20 000 for train and 500 otherwise.
        seed, role, vocabulary: see ``SceneDataset``.
        size: side of the pictures, and most_things: in one of them; None takes the world's own.
    """
    from mvplm.data.scenes import SceneDataset

    given = {"size": size, "most_things": most_things}
    others = {key: value for key, value in given.items() if value is not None}
    number = _USUAL_NUMBER[split] if num is None else num
    return SceneDataset(split, num=number, seed=seed, role=role, vocabulary=vocabulary, **others)
