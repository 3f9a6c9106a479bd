"""Pickles of numpy arrays and plain containers (old checkpoints, annotations), read without running what is in them."""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

_ALLOWED = {
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
"""The only things a checkpoint of arrays is made of: what builds arrays, and ordered dictionaries."""


class ArrayUnpickler(pickle.Unpickler):
    """Builds plain containers, numbers, texts and numpy arrays; refuses everything else before it is called."""

    def find_class(self, module: str, name: str) -> Any:
        """The allowed builder of that name. Raises pickle.UnpicklingError for any other."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no part of an array")
        return super().find_class(module, name)


def read_array_pickle(path: Path) -> Any:
    """Content of a pickle of plain containers and numpy arrays.

    Raises:
        ValueError: broken, or it holds anything else; the message names the file.
    """
    with path.open("rb") as file:
        return _load(file, path)


def _load(file: BinaryIO, path: Path) -> Any:
    try:
        # Files written by Python 2 hold byte strings; latin-1 keeps every byte of them.
        return ArrayUnpickler(file, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path} is refused: {error}; only arrays in plain containers are read") from error
    except Exception as error:  # broken bytes make an unpickler fail in any way whatever
        raise ValueError(f"{path} is no readable pickle ({type(error).__name__}: {error})") from error
