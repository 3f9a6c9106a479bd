"""Reading a giant JSON file entry by entry, with the place of each entry in bytes.

The file is a list, or an object whose values are lists ("images", "annotations" ...): the entries of these lists are
yielded one by one and forgotten, so memory does not grow with the file. Bytes are decoded as Latin-1, where one byte
is one character: the standard library's parser then counts in bytes. Entries with other letters are parsed again as
UTF-8.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

CHUNK = 4 << 20
LONGEST_ENTRY = 64 << 20

_SPACE = re.compile(r"[ \t\n\r]*")
_NEXT = re.compile(r"[ \t\n\r]*([,\]}])[ \t\n\r]*")
_COLON = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_LONGEST_HALF = len("e+1")  # a number that seems to end may go on behind this much of the next chunk
_BYTE_ORDER_MARK = "\xef\xbb\xbf"


class Item(NamedTuple):
    """One entry.

    Attributes:
        key: name of the list it stands in; None when the file is one list.
        value: the entry. start, end: its place in the file in bytes.
    """

    key: str | None
    value: Any
    start: int
    end: int


def stream_items(
    path: str | Path, *, progress: Callable[[int], None] | None = None, chunk: int = CHUNK
) -> Iterator[Item]:
    """Yield the entries of all lists of a JSON file in the file's order; values that are no lists are passed over.

    Args:
        path: the file.
        progress: told how many bytes are done, after every chunk.
        chunk: bytes read at once.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, neither a list nor an object, or an entry of more than ``LONGEST_ENTRY`` bytes; the
            message names the file and the place.
    """
    with open(path, "rb") as file:
        yield from _Stream(file, path, progress=progress or (lambda _: None), chunk=chunk).items()


@dataclass(frozen=True)
class _Value:
    """A parsed value and where it begins and ends in the buffer."""

    value: Any
    start: int
    end: int


class _Stream:
    """A window on the file that moves forward only."""

    def __init__(self, file: BinaryIO, path: str | Path, *, progress: Callable[[int], None], chunk: int) -> None:
        self._file = file
        self._path = path
        self._progress = progress
        self._chunk = chunk
        self._scan = json.JSONDecoder().raw_decode
        self._buffer = ""
        self._base = 0
        self._place = 0
        self._ended = False

    def items(self) -> Iterator[Item]:
        while len(self._buffer) < len(_BYTE_ORDER_MARK) and not self._ended:
            self._more()
        if self._buffer.startswith(_BYTE_ORDER_MARK):
            self._place = len(_BYTE_ORDER_MARK)
        opening = self._peek()
        if opening == "[":
            yield from self._entries(None)
        elif opening == "{":
            yield from self._members()
        else:
            raise self._error("expected a list or an object")
        if self._peek():
            raise self._error("something follows the end")
        self._progress(self._base + len(self._buffer))

    def _members(self) -> Iterator[Item]:
        self._place += 1
        if self._peek() == "}":
            self._place += 1
            return
        while True:
            key = self._value().value
            if not isinstance(key, str) or self._match(_COLON) is None:
                raise self._error("expected a name and a colon")
            if self._peek() == "[":
                yield from self._entries(key)
            else:
                self._value()
            if not self._continues("}"):
                return

    def _entries(self, key: str | None) -> Iterator[Item]:
        self._place += 1
        if self._peek() == "]":
            self._place += 1
            return
        while True:
            found = self._value()
            yield Item(key, found.value, self._base + found.start, self._base + found.end)
            if not self._continues("]"):
                return

    def _value(self) -> _Value:
        """The value at the current place, which moves behind it."""
        while True:
            start = self._place
            try:
                value, end = self._scan(self._buffer, start)
                if end + _LONGEST_HALF <= len(self._buffer) or self._ended:
                    break
            except json.JSONDecodeError as error:
                if self._ended:
                    raise self._error(error.msg) from None
            self._more()
        self._place = end
        if not self._buffer.isascii():
            text = self._buffer[start:end]
            value = value if text.isascii() else self._exactly(text)
        return _Value(value, start, end)

    def _exactly(self, text: str) -> Any:
        try:
            return json.loads(text.encode("latin-1").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise self._error(f"an entry is not UTF-8 ({error})") from error

    def _continues(self, closing: str) -> bool:
        """Pass the comma (True) or the closing bracket (False) behind a value."""
        found = self._match(_NEXT)
        if found is None or found.group(1) not in (",", closing):
            raise self._error(f"expected a comma or {closing!r}")
        return found.group(1) == ","

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._buffer, self._place)
        while not self._ended and (found is None or found.end() == len(self._buffer)):
            if found is None and len(self._buffer) - self._place > self._chunk:
                return None
            self._more()
            found = pattern.match(self._buffer, self._place)
        if found is not None:
            self._place = found.end()
        return found

    def _peek(self) -> str:
        """The next character that is no blank; "" at the end of the file."""
        self._match(_SPACE)
        return self._buffer[self._place : self._place + 1]

    def _more(self) -> None:
        """Forget what is done and read on; what is left over is at least doubled, so that long entries cost no more."""
        rest = self._buffer[self._place :]
        if len(rest) > LONGEST_ENTRY:
            raise self._error(f"it is not valid JSON, or one entry has more than {LONGEST_ENTRY >> 20} MiB")
        data = self._file.read(max(self._chunk, len(rest)))
        self._ended = not data
        self._base += self._place
        self._place = 0
        self._buffer = rest + data.decode("latin-1")
        self._progress(self._base)

    def _error(self, reason: str) -> ValueError:
        return ValueError(f"{self._path} is not valid JSON near byte {self._base + self._place}: {reason}")
