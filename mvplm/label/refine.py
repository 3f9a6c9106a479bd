"""Refinement of a whole store: the reliable captions of each picture go to ``refined.jsonl``, the others are counted.

The captions as written are never changed; refining again with other thresholds replaces the result as a whole.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from mvplm.data.captions import Refined, RefineSettings, refine_captions
from mvplm.data.captions.refined import REFINED_FILE, refined_line
from mvplm.data.journal import sync_folder
from mvplm.label.report import RefineReport, write_report
from mvplm.label.store import read_captions, read_description

REJECTED_FILE = "rejected.jsonl"


@dataclass(frozen=True)
class _Raw:
    """A caption as written: the image id in JSON, the captioner, the text."""

    image: str
    captioner: str
    text: str


def refine_store(
    folder: str | Path,
    *,
    settings: RefineSettings | None = None,
    count_tokens: Callable[[str], int] | None = None,
) -> RefineReport:
    """Refine every caption of a store.

    Writes ``refined.jsonl`` (one line per picture that keeps a caption), ``rejected.jsonl`` (one line per caption that
    goes, with the rule) and the report as ``refine.md`` and ``refine.json``.

    Args:
        folder: a store.
        settings: thresholds; None: the defaults.
        count_tokens: number of tokens of a text; None: only words are limited.

    Raises:
        FileNotFoundError: the folder holds no captions.
    """
    folder, chosen = Path(folder), settings or RefineSettings()
    described = read_description(folder)
    report = RefineReport(settings=asdict(chosen), captioners=described["captioners"], dataset=described["dataset"])
    kept_path, gone_path = folder / f"{REFINED_FILE}.part", folder / f"{REJECTED_FILE}.part"
    with kept_path.open("w", encoding="utf-8") as kept_file, gone_path.open("w", encoding="utf-8") as gone_file:
        for group in _by_image(folder):
            image_id = json.loads(group[0].image)
            found = refine_captions(
                [raw.text for raw in group], settings=chosen, count_tokens=count_tokens, image_id=image_id
            )
            kept = []
            for raw, refined in zip(group, found, strict=True):
                report.count(image_id, raw.captioner, text=raw.text, refined=refined)
                if refined.kept:
                    kept.append({"captioner": raw.captioner, "text": refined.text})
                else:
                    gone_file.write(_rejected_line(image_id, raw, refined=refined))
            report.images += 1
            report.images_kept += bool(kept)
            if kept:
                kept_file.write(refined_line(image_id, kept))
    kept_path.replace(folder / REFINED_FILE)
    gone_path.replace(folder / REJECTED_FILE)
    sync_folder(folder)
    write_report(report, folder)
    return report


def _by_image(folder: Path) -> Iterator[list[_Raw]]:
    """The captions of one picture after the other. They are sorted in a temporary data base, not in memory."""
    with closing(sqlite3.connect("")) as base:
        base.execute("CREATE TABLE raw (image TEXT, captioner TEXT, text TEXT)")
        rows = ((json.dumps(c.image_id, ensure_ascii=False), c.captioner, c.text) for c in read_captions(folder))
        base.executemany("INSERT INTO raw VALUES (?, ?, ?)", rows)
        ordered = base.execute("SELECT image, captioner, text FROM raw ORDER BY length(image), image, rowid")
        for _, group in groupby(ordered, key=itemgetter(0)):
            yield [_Raw(*row) for row in group]


def _rejected_line(image_id: int | str, raw: _Raw, *, refined: Refined) -> str:
    entry = {"image_id": image_id, "captioner": raw.captioner, "rule": refined.rule, "text": raw.text}
    return json.dumps(entry, ensure_ascii=False) + "\n"
