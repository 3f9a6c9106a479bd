"""An append-only file of JSON lines that survives a kill at any moment.

A line counts once its newline is on the disk. What a killed process leaves behind its last newline is cut off when the
file is opened for writing, and passed over when it is read.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal in order; nothing for a file that does not exist.

    Raises:
        ValueError: a whole line is not a JSON mapping; the message names file and line.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
            if not isinstance(entry, dict):
                raise ValueError(f"{path}, line {number} must be a JSON mapping, got {entry!r}")
            yield entry


class Journal:
    """The file open for appending. Only one process may hold it; the caller sees to that.

    Args:
        path: the file, made when missing; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self.size = _whole_size(self._file)
        os.ftruncate(self._file, self.size)
        os.lseek(self._file, self.size, os.SEEK_SET)
        if new:
            sync_folder(path.parent)

    def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Write entries and wait until they are on the disk.

        Raises:
            OSError: they cannot be written (a full disk); what was half written is taken back.
        """
        data = memoryview("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode())
        try:
            left = data
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            raise
        self.size += len(data)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def write_whole(path: Path, text: str) -> None:
    """Replace a file so that at every moment either the old or the new content is there."""
    beside = path.with_name(path.name + ".part")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def hold_folder(folder: Path, *, what: str) -> int:
    """A handle that holds the folder for this process; the system lets it go when the process ends, however it ends.

    Args:
        folder: it exists. what: what is written there, for the message.

    Raises:
        ValueError: another process holds it.
    """
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ValueError(f"another process is writing {what} to {folder}") from None
    return handle


def sync_folder(folder: Path) -> None:
    """Wait until the folder's list of names is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _whole_size(file: int, *, step: int = 1 << 16) -> int:
    """Bytes up to and with the last newline."""
    end = os.lseek(file, 0, os.SEEK_END)
    while end:
        start = max(0, end - step)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
