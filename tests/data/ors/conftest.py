"""A drawn shard of 20 pictures, and what an uninterrupted run makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mvplm.data.ors import build_ors
from mvplm.data.ors.drawn import write_drawn_shard
from mvplm.data.ors.standins import STANDINS, make_standin


def standins() -> dict[str, Any]:
    return {role: make_standin(role) for role in STANDINS}


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a build but the one with the times."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("timings.json", ".lock"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="session")
def callables() -> Callable[[], dict[str, Any]]:
    """Stand-ins for all roles."""
    return standins


@pytest.fixture(scope="session")
def files() -> Callable[[Path], dict[str, bytes]]:
    """Contents of a build by path."""
    return content


@pytest.fixture(scope="session")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pictures, of which one is damaged and one lacks its JSON file."""
    folder = write_drawn_shard(tmp_path_factory.mktemp("sa1b") / "sa_000000", num=20)
    (folder / "sa_7.jpg").write_bytes(b"no picture")
    (folder / "sa_11.json").unlink()
    return folder


@pytest.fixture(scope="session")
def built(shard: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run on it."""
    out = tmp_path_factory.mktemp("built")
    assert build_ors([shard], standins(), out=out).complete
    return out
