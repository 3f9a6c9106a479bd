"""What refinement did, for people (Markdown) and for programs (JSON): counts and examples of every reason."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvplm.data.captions import Refined
from mvplm.data.journal import write_whole

REASONS = {
    "empty": "no text",
    "hedging": "every sentence only guesses",
    "length": "too short, or no whole sentence fits",
    "entropy": "too few different words",
    "duplicate": "the same as another caption of the picture",
}
CHANGES = {"sentence dropped": "a sentence that only guesses was left out", "cut": "last sentences were left out"}
EXAMPLES = 5


@dataclass
class RefineReport:
    """Counts and examples.

    Attributes:
        settings: the thresholds. captioners, dataset: as in ``store.json``.
        images: pictures with captions. images_kept: those that keep at least one.
        total, kept: captions by captioner.
        rejected: captions by captioner and rule.
        changed: kept captions by captioner and kind of change.
        examples: up to five of each reason: ``{"image_id", "captioner", "text", "became"}``.
    """

    settings: Mapping[str, Any]
    captioners: Mapping[str, Any]
    dataset: Mapping[str, Any]
    images: int = 0
    images_kept: int = 0
    total: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    rejected: dict[str, Counter[str]] = field(default_factory=dict)
    changed: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def count(self, image_id: int | str, captioner: str, *, text: str, refined: Refined) -> None:
        """Take in one caption: ``text`` as written and what became of it."""
        self.total[captioner] += 1
        reasons = [refined.rule]
        if refined.kept:
            self.kept[captioner] += 1
            flags = {"sentence dropped": bool(refined.dropped), "cut": refined.cut}
            reasons = [change for change in CHANGES if flags[change]]
            self.changed.setdefault(captioner, Counter()).update(reasons)
        else:
            self.rejected.setdefault(captioner, Counter())[refined.rule] += 1
        for reason in reasons:
            shown = self.examples.setdefault(reason, [])
            if len(shown) < EXAMPLES:
                shown.append({"image_id": image_id, "captioner": captioner, "text": text, "became": refined.text})

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        sums = {rule: sum(counts[rule] for counts in self.rejected.values()) for rule in REASONS}
        return {
            "dataset": self.dataset,
            "images": self.images,
            "images_with_captions": self.images_kept,
            "captions": self.total.total(),
            "kept": self.kept.total(),
            "rejected": sums,
            "captioners": {
                name: {
                    **info,
                    "captions": self.total[name],
                    "kept": self.kept[name],
                    "rejected": {rule: self.rejected.get(name, Counter())[rule] for rule in REASONS},
                    "changed": {change: self.changed.get(name, Counter())[change] for change in CHANGES},
                }
                for name, info in self.captioners.items()
            },
            "settings": self.settings,
            "examples": self.examples,
        }

    def to_markdown(self) -> str:
        """A page: numbers, a table by captioner, examples by reason."""
        told = self.to_dict()
        rows = told["captioners"]
        counts = [
            (name, row["captions"], row["kept"], *row["rejected"].values(), *row["changed"].values())
            for name, row in rows.items()
        ]
        lines = [
            "# Refined captions",
            "",
            f"Data set: `{json.dumps(self.dataset)}`",
            "",
            f"{told['kept']} of {told['captions']} captions kept; "
            f"{self.images_kept} of {self.images} pictures have one.",
            "",
            *_table(("captioner", "captions", "kept", *REASONS, *CHANGES), counts),
            "",
            "## Captioners",
            "",
            *_table(
                ("name", "model", "revision", "prompt"),
                [(name, row["model"], row["revision"], row["prompt"]) for name, row in rows.items()],
            ),
        ]
        for reason, meaning in (REASONS | CHANGES).items():
            shown = [tuple(example.values()) for example in self.examples.get(reason, [])]
            if shown:
                head = ("image", "captioner", "as written", "became")
                lines += ["", f"## {reason}: {meaning}", "", *_table(head, shown)]
        return "\n".join(lines) + "\n"


def write_report(report: RefineReport, folder: Path) -> None:
    """Write ``refine.md`` and ``refine.json``."""
    write_whole(folder / "refine.json", json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n")
    write_whole(folder / "refine.md", report.to_markdown())


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    cells = [[" ".join(str(value).split()).replace("|", "\\|") for value in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]
