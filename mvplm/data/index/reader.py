"""Reading through an index: a record is one look into SQLite and a few short reads of the annotation file.

The object holds nothing but paths, so it can be sent to other processes; every process and thread opens the files for
itself.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO


@dataclass(frozen=True)
class IndexEntry:
    """item: an entry of the list of items; children: those that belong to it, in the file's order."""

    item: dict[str, Any]
    children: list[dict[str, Any]]


@dataclass(frozen=True)
class _Handles:
    """What one thread of one process has open."""

    process: int
    database: sqlite3.Connection
    source: BinaryIO


class JsonIndex:
    """The entries of an annotation file by place or id; made by ``open_index``.

    Args:
        source: annotation file.
        index: its index.
    """

    def __init__(self, source: Path, index: Path) -> None:
        self.source = source
        self.index = index
        facts = index_facts(index, every=True)
        self.num_items = int(facts["items"])
        self.num_children = int(facts["children"])
        self._local = threading.local()

    def __len__(self) -> int:
        return self.num_items

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def entry(self, place: int) -> IndexEntry:
        """Item at ``place`` in [0, len) with its children.

        Raises:
            IndexError: there is no such place.
        """
        spans = self._rows("SELECT start, length FROM children WHERE item = ? ORDER BY start", place + 1)
        return IndexEntry(self.item(place), [self._read(*span) for span in spans])

    def item(self, place: int) -> dict[str, Any]:
        """Item at ``place`` without its children. Raises IndexError when there is none."""
        spans = self._rows("SELECT start, length FROM items WHERE place = ?", place + 1)
        if not spans:
            raise IndexError(f"entry {place} of {len(self)} in {self.source}")
        return self._read(*spans[0])

    def place_of(self, item_id: int | str) -> int | None:
        """Place of the item with an id; None when there is none."""
        found = self._rows("SELECT place - 1 FROM items WHERE id = ?", item_id)
        return int(found[0][0]) if found else None

    def item_id(self, place: int) -> int | str:
        """Id of the item at ``place`` in [0, len)."""
        return self._rows("SELECT id FROM items WHERE place = ?", place + 1)[0][0]

    def file_name(self, place: int) -> str | None:
        """Picture of the item at ``place``, as the file writes it."""
        found = self._rows("SELECT file_name FROM items WHERE place = ?", place + 1)
        return found[0][0] if found else None

    def file_names(self) -> Iterator[str | None]:
        """Pictures of all items in order, in one pass."""
        for (name,) in self._handles().database.execute("SELECT file_name FROM items ORDER BY place"):
            yield name

    def extra(self, key: str) -> list[Any]:
        """Entries of a list that the plan keeps at hand, in order; empty when the file has none."""
        return [
            self._read(*span) for span in self._rows("SELECT start, length FROM extras WHERE key = ? ORDER BY 2", key)
        ]

    def _rows(self, query: str, value: int | str) -> list[tuple[Any, ...]]:
        return self._handles().database.execute(query, (value,)).fetchall()

    def _read(self, start: int, length: int) -> Any:
        source = self._handles().source
        source.seek(start)
        return json.loads(source.read(length))

    def _handles(self) -> _Handles:
        handles: _Handles | None = getattr(self._local, "handles", None)
        if handles is None or handles.process != os.getpid():  # a forked worker must not share its parent's files
            handles = _Handles(os.getpid(), _connect(self.index), self.source.open("rb"))
            self._local.handles = handles
        return handles


def index_facts(index: Path, *, every: bool = False) -> dict[str, Any]:
    """What an index was made from; with ``every`` the numbers of its entries, too. Empty when there is no index."""
    if not index.is_file():
        return {}
    try:
        with closing(_connect(index)) as database:
            facts = {name: json.loads(value) for name, value in database.execute("SELECT name, value FROM facts")}
    except sqlite3.DatabaseError:  # no database, or one of something else: to be made again
        return {}
    return {name: value for name, value in facts.items() if every or name not in ("items", "children")}


def _connect(index: Path) -> sqlite3.Connection:
    """Read only and without locks: an index never changes, a new one takes its place."""
    return sqlite3.connect(f"{index.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
