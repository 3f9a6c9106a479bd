"""A JSON file with one long list, written entry by entry by one process or by several; nothing is kept in memory."""

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mvplm.data.preparation import whole_file


@dataclass(frozen=True)
class Share:
    """Which process writes, of how many; ``wait`` returns when all of them have called it."""

    rank: int = 0
    world: int = 1
    wait: Callable[[], None] = lambda: None


class StreamedList:
    """A list that appears under its name as a whole, when the ``with`` block ends without an error.

    Each process writes a file of its own beside it; at the end the first process joins them in the order of the places.
    Several processes need one file system.

    Args:
        path: the JSON file.
        share: the process that writes.
        around: what stands before and after the list in the file.
        first: called by the process that joins, with the texts of all entries, before the file appears.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        share: Share | None = None,
        around: tuple[str, str] = ("[", "]"),
        first: Callable[[Iterator[str]], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self.share = Share() if share is None else share
        self._around, self._first = around, first
        self._seen: set[Hashable] = set()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part(self.share.rank).open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error is not None:
            self._part(self.share.rank).unlink(missing_ok=True)
            return
        self.share.wait()
        if self.share.rank == 0:
            self._join()
        self.share.wait()

    def __contains__(self, key: Hashable) -> bool:
        """Whether this process has written entries of the key."""
        return key in self._seen

    def add(self, key: int | str | tuple[Any, ...], entries: Iterable[Mapping[str, Any]], *, place: int = 0) -> bool:
        """Write the entries of one key; False, and nothing is written, for a key that came before.

        Args:
            key: what entries belong to, an image or an expression, as JSON can hold it.
            entries: JSON-ready.
            place: entries of all processes are put in the order of their places; those of one process must not fall.
        """
        if key in self._seen:
            return False
        self._seen.add(key)
        # JSON escapes tabs, so the first one ends what the joining process has to understand of a line.
        self._file.write(f"{json.dumps([place, key])}\t{', '.join(json.dumps(entry) for entry in entries)}\n")
        return True

    def _join(self) -> None:
        parts = [self._part(rank) for rank in range(self.share.world)]
        if lacking := [part for part in parts if not part.is_file()]:
            raise FileNotFoundError(f"{lacking[0]} is not there: all processes must write to one file system")
        with whole_file(self.path) as whole:
            with whole.open("w", encoding="utf-8") as out:
                out.write(self._around[0])
                for number, text in enumerate(_joined(parts)):
                    out.write(f"{',' if number else ''}\n{text}")
                out.write(f"\n{self._around[1]}\n")
            if self._first is not None:
                self._first(_joined(parts))
        for part in self.path.parent.glob(f".part-*-{self.path.name}l"):  # also those of an earlier run that broke off
            part.unlink()

    def _part(self, rank: int) -> Path:
        return self.path.with_name(f".part-{rank}-{self.path.name}l")


@dataclass(frozen=True)
class _Line:
    place: int
    key: str
    text: str


def _lines(file: Iterable[str]) -> Iterator[_Line]:
    for line in file:
        head, _, text = line.rstrip("\n").partition("\t")
        place, key = json.loads(head)
        yield _Line(place, json.dumps(key), text)


def _place(line: _Line) -> int:
    return line.place


def _joined(parts: Sequence[Path]) -> Iterator[str]:
    """Texts of the entries of each key once, by their places; keys without entries give nothing."""
    seen: set[str] = set()
    with ExitStack() as opened:
        files = [opened.enter_context(part.open(encoding="utf-8")) for part in parts]
        for line in merge(*map(_lines, files), key=_place):
            if line.key not in seen:
                seen.add(line.key)
                if line.text:
                    yield line.text
