"""Converting datasets of many files: resumable, whole files only, checksummed, with a progress bar.

Every picture that is done is one line in a journal next to the output: its entry, and the SHA-256 of what was written
for it. A run that starts again skips pictures whose files still have these sums and makes all others anew.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Converted:
    """One picture: ``entry`` (JSON-ready, for the list of all pictures) and ``files`` written for it."""

    entry: dict[str, Any]
    files: tuple[Path, ...]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name with the same ending to write to; it becomes ``path`` when nothing went wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    part.unlink(missing_ok=True)
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(data: Any, path: Path) -> None:
    """Write JSON as a whole file."""
    with whole_file(path) as part:
        part.write_text(json.dumps(data), encoding="utf-8")


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def convert_all(
    keys: Sequence[str], convert: Callable[[str], Converted], *, folder: Path, name: str, workers: int = 4
) -> list[dict[str, Any]]:
    """Convert every picture that is not done yet, and show how far it is.

    Afterwards ``folder``/NAME.sha256 lists the sums of all files in the form that ``sha256sum -c`` reads.

    Args:
        keys: names of the pictures.
        convert: makes the files of one picture below ``folder``, each through ``whole_file``; runs in threads.
        folder: folder of the output.
        name: title of the progress bar; names the journal and the list of sums.
        workers: threads.

    Returns:
        The entries of all pictures, in the order of ``keys``.

    Raises:
        ValueError, OSError: what ``convert`` raises; pictures that are done by then stay done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / f".{name}.journal.jsonl"
    done = _done(journal, folder=folder)
    waiting = [key for key in keys if key not in done]

    def work(key: str) -> dict[str, Any]:
        converted = convert(key)
        sums = {path.relative_to(folder).as_posix(): sha256(path) for path in converted.files}
        return {"key": key, "entry": converted.entry, "files": sums}

    with ThreadPoolExecutor(workers) as pool, journal.open("a", encoding="utf-8") as file:
        file.write("\n")  # ends a line that a stopped run left unfinished
        try:
            for line in _with_progress(pool.map(work, waiting), name, total=len(keys), done=len(keys) - len(waiting)):
                file.write(json.dumps(line) + "\n")
                file.flush()
                done[line["key"]] = line
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    _write_sums(folder / f"{name}.sha256", [done[key]["files"] for key in keys])
    return [done[key]["entry"] for key in keys]


def _done(journal: Path, *, folder: Path) -> dict[str, dict[str, Any]]:
    """Lines of the journal, by key, whose files are as they were written; the last line of a key counts."""
    lines: dict[str, dict[str, Any]] = {}
    for text in journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else ():
        try:
            line = json.loads(text) if text else None
        except json.JSONDecodeError:  # the end of a run that was stopped while writing
            continue
        if line is not None:
            lines[line["key"]] = line
    return {key: line for key, line in lines.items() if _unchanged(line["files"], folder)}


def _unchanged(sums: dict[str, str], folder: Path) -> bool:
    return all((folder / place).is_file() and sha256(folder / place) == digest for place, digest in sums.items())


def _write_sums(path: Path, sums: Sequence[dict[str, str]]) -> None:
    merged = {place: digest for part in sums for place, digest in part.items()}
    with whole_file(path) as part:
        part.write_text("".join(f"{digest}  {place}\n" for place, digest in sorted(merged.items())), encoding="utf-8")


def _with_progress(lines: Iterator[dict[str, Any]], name: str, *, total: int, done: int) -> Iterator[dict[str, Any]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=total, completed=done)
        for line in lines:
            yield line
            progress.advance(task)
