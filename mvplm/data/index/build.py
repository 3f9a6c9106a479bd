"""Making the index of an annotation file: where every entry lies and which annotations belong to which picture.

The index is an SQLite file beside the annotation file (``FILE.PLAN.index``), or in the folder that the environment
variable MVPLM_INDEX names. It holds places in bytes, no copies, and knows size and time of the file it was made from:
a changed file is read again. It is written under another name and then renamed, so it is whole or not there; when
several processes ask at once, one builds and the others wait.
"""

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock

from mvplm.data.index.reader import JsonIndex, index_facts
from mvplm.data.index.stream import stream_items

FOLDER_VARIABLE = "MVPLM_INDEX"
FORMAT = 1
_BATCH = 20_000
_BAR_FROM = 32 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IndexPlan:
    """What an index takes from a file.

    Attributes:
        name: part of the index's file name; plans that choose differently need different names.
        items: name of the list with one entry per record; None for a file that is one list.
        children: name of the list whose entries belong to an item through ``image_id``; None for none.
        extras: names of lists to keep at hand ("categories").
        item_id: key of an item's id, which must be unique where there are children. file_name: key of its picture.
        keep_item, keep_child: whether an entry is taken; None takes all.
        need_children: leave out items without a child.
    """

    name: str
    items: str | None = "images"
    children: str | None = "annotations"
    extras: tuple[str, ...] = ("categories",)
    item_id: str = "id"
    file_name: str = "file_name"
    keep_item: Callable[[Mapping[str, Any]], bool] | None = None
    keep_child: Callable[[Mapping[str, Any]], bool] | None = None
    need_children: bool = False


def open_index(path: str | Path, plan: IndexPlan) -> JsonIndex:
    """The index of an annotation file; made first when there is none or the file has changed.

    Raises:
        FileNotFoundError: no annotation file.
        ValueError: broken annotation file, an id twice, or the index cannot be written; the message says what to do.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"annotation file not found: {path}")
    place = index_place(path, plan)
    expected = _facts(path, plan)
    if index_facts(place) != expected:
        _build_alone(path, plan, place=place, expected=expected)
    return JsonIndex(path, place)


def index_place(path: Path, plan: IndexPlan) -> Path:
    """Where the index of an annotation file lies or will lie."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return path.with_name(f"{path.name}.{plan.name}.index")
    key = sha256(str(path).encode()).hexdigest()[:12]
    return Path(folder) / f"{path.name}.{key}.{plan.name}.index"


def _facts(path: Path, plan: IndexPlan) -> dict[str, Any]:
    """What an index must have been made from to be right."""
    known = path.stat()
    return {"format": FORMAT, "plan": plan.name, "size": known.st_size, "time": known.st_mtime_ns}


def _build_alone(path: Path, plan: IndexPlan, *, place: Path, expected: dict[str, Any]) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if index_facts(place) == expected:  # another process was faster
                return
            draft = place.with_name(f"{place.name}.building")
            draft.unlink(missing_ok=True)
            with closing(sqlite3.connect(draft)) as database:
                _fill(database, path, plan=plan, facts=expected)
            with draft.open("rb") as written:
                os.fsync(written.fileno())
            draft.replace(place)
    except (OSError, sqlite3.OperationalError) as error:
        raise ValueError(
            f"cannot write the index of {path} to {place.parent} ({error}); set {FOLDER_VARIABLE} to a folder with room"
        ) from error


_STAGE = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -65536;
CREATE TEMP TABLE found_items (id, start INTEGER, length INTEGER, file_name TEXT);
CREATE TEMP TABLE found_children (item_id, start INTEGER, length INTEGER);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE extras (key TEXT, start INTEGER, length INTEGER);
CREATE TABLE items (place INTEGER PRIMARY KEY, id, start INTEGER, length INTEGER, file_name TEXT);
CREATE TABLE children (item INTEGER, start INTEGER, length INTEGER, PRIMARY KEY (item, start)) WITHOUT ROWID;
"""
_ITEMS = "INSERT INTO items (id, start, length, file_name) SELECT * FROM found_items {where} ORDER BY rowid"
_CHILDREN = """
INSERT INTO children SELECT items.place, found.start, found.length FROM found_children AS found
JOIN items ON items.id = found.item_id ORDER BY items.place, found.start
"""


def _fill(database: sqlite3.Connection, path: Path, *, plan: IndexPlan, facts: dict[str, Any]) -> None:
    database.executescript(_STAGE)
    _stage(database, path, plan=plan)
    where = "WHERE id IN (SELECT item_id FROM found_children)" if plan.need_children else ""
    database.execute(_ITEMS.format(where=where))
    try:
        if plan.children is not None:
            database.execute("CREATE UNIQUE INDEX item_ids ON items (id)")
    except sqlite3.IntegrityError as error:
        twice = database.execute("SELECT id FROM items GROUP BY id HAVING count(*) > 1 LIMIT 1").fetchone()[0]
        raise ValueError(f"{path}: the id {twice!r} stands twice in {plan.items or 'the list'}") from error
    database.execute(_CHILDREN)
    counts = {name: _count(database, name) for name in ("items", "children")}
    lost = _count(database, "found_children") - counts["children"]
    if lost and plan.keep_item is None:
        _log.warning("%s: %d entries of %s belong to no entry of %s", path, lost, plan.children, plan.items)
    rows = [(name, json.dumps(value)) for name, value in {**facts, **counts}.items()]
    database.executemany("INSERT INTO facts VALUES (?, ?)", rows)
    database.commit()


def _count(database: sqlite3.Connection, table: str) -> int:
    return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _stage(database: sqlite3.Connection, path: Path, *, plan: IndexPlan) -> None:
    """Write down the places of all entries in the order of the file."""
    tables: dict[str, list[tuple[Any, ...]]] = {"found_items": [], "found_children": [], "extras": []}
    with _progress(path) as progress:
        for key, value, start, end in stream_items(path, progress=progress):
            row: tuple[Any, ...]
            if key == plan.children and key is not None:
                row = (_of(value, "image_id", path=path), start, end - start)
                if plan.keep_child is None or plan.keep_child(value):
                    _add(database, "found_children", rows=tables, row=row)
            elif key == plan.items:
                item_id, name = _of(value, plan.item_id, path=path), value.get(plan.file_name)
                row = (item_id, start, end - start, name if isinstance(name, str) else None)
                if plan.keep_item is None or plan.keep_item(value):
                    _add(database, "found_items", rows=tables, row=row)
            elif key in plan.extras:
                _add(database, "extras", rows=tables, row=(key, start, end - start))
    for table, rows in tables.items():
        _insert(database, table, rows=rows)


def _of(value: Any, key: str, *, path: Path) -> int | str:
    found = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(found, (int, str)):
        raise ValueError(f"{path}: an entry needs a number or text under {key!r}: {str(value)[:200]}")
    return found


def _add(
    database: sqlite3.Connection, table: str, *, rows: dict[str, list[tuple[Any, ...]]], row: tuple[Any, ...]
) -> None:
    rows[table].append(row)
    if len(rows[table]) >= _BATCH:
        _insert(database, table, rows=rows[table])
        rows[table].clear()


def _insert(database: sqlite3.Connection, table: str, *, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


@contextmanager
def _progress(path: Path) -> Iterator[Callable[[int], None]]:
    """A bar with the time left on standard error for large files; yields a function that takes the bytes done."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    size = path.stat().st_size
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=size < _BAR_FROM) as progress:
        bar = progress.add_task(f"indexing {path.name} (once)", total=size)
        yield lambda done: progress.update(bar, completed=done)
