"""What the steps came to: samples without leaks, every reject, and counters that add up."""

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mvplm.data.datasets.base import picture_key
from mvplm.data.journal import read_lines, sync_folder
from mvplm.data.ors.config import OrsConfig
from mvplm.data.ors.shards import Shard

if TYPE_CHECKING:
    from mvplm.data.ors.run import Plan

HeldOut = Mapping[str, Collection[str]]
"""Evaluation set -> keys of its pictures (``mvplm.data.datasets.base.picture_key``)."""
PARTS = ("cors", "ders")
"""Steps that give samples, and folders of those."""


def export(
    plans: "Sequence[Plan]", shards: Sequence[Shard], *, out: Path, config: OrsConfig, held_out: HeldOut
) -> dict[str, Any]:
    """Write samples and ``rejects.jsonl`` anew from the lines of all steps.

    Args:
        plans: the steps that are done. shards: what they were done on. out: folder.
        config: thresholds. held_out: pictures that no sample may show.

    Returns:
        ``{"steps", "export", "held_out", "descriptive_share"}`` for the summary.
    """
    steps: dict[str, Any] = {}
    with _whole_file(out / "rejects.jsonl") as rejects:
        for plan in plans:
            counter = _Counter()
            for line in _lines(plan, shards):
                counter.add(line)
                rejects.writelines(_reject_lines(plan, line))
            steps[plan.step.name] = counter.told()
    provenance = {"config_hash": config.hash, "steps": {plan.step.name: plan.key for plan in plans}}
    exported = {}
    for plan in plans:
        if plan.step.name in PARTS:
            told = {**provenance, "steps": _chain(plan, plans)}
            exported[plan.step.name] = _export_part(plan, shards, out=out, provenance=told, held_out=held_out)
    made = {part: numbers["out"] for part, numbers in exported.items()}
    return {
        "steps": steps,
        "export": exported,
        "held_out": {name: len(keys) for name, keys in sorted(held_out.items())},
        "descriptive_share": round(made.get("ders", 0) / sum(made.values()), 4) if sum(made.values()) else None,
    }


class _Counter:
    """Sums over the lines of a step: ``in`` = ``kept`` + all of ``rejected``; ``out`` is what the next step takes."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter({"images": 0, "in": 0, "out": 0})
        self._rejected: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()

    def add(self, line: Mapping[str, Any]) -> None:
        """Count one image."""
        self._sums.update({"images": 1, "in": line["taken"], "out": len(line["out"])})
        self._rejected.update(reject["reason"] for reject in line["rejects"])
        self._counts.update(line["counts"])

    def told(self) -> dict[str, Any]:
        """The sums by name; names of reasons and counts are sorted."""
        kept = self._sums["in"] - self._rejected.total()
        numbers = {"images": self._sums["images"], "in": self._sums["in"], "kept": kept, "out": self._sums["out"]}
        return {
            **numbers,
            "rejected": dict(sorted(self._rejected.items())),
            "counts": dict(sorted(self._counts.items())),
        }


def _chain(plan: "Plan", plans: "Sequence[Plan]") -> dict[str, str]:
    """Step -> key, of a step and all it was made from, first one first."""
    by_name = {other.step.name: other for other in plans}
    steps: dict[str, str] = {}
    name = plan.step.name
    while name:
        steps[name] = by_name[name].key
        name = by_name[name].step.source
    return dict(reversed(steps.items()))


def _lines(plan: "Plan", shards: Sequence[Shard]) -> Iterator[dict[str, Any]]:
    return (line for shard in shards for line in read_lines(plan.path(shard)))


def _reject_lines(plan: "Plan", line: Mapping[str, Any]) -> Iterator[str]:
    """Rejects of an image; masks stay in the lines of the step."""
    for number, reject in enumerate(line["rejects"]):
        told = {key: value for key, value in reject.items() if key != "mask"}
        entry = {"key": plan.key, "step": plan.step.name, "name": line["name"], "number": number, **told}
        yield json.dumps(entry, ensure_ascii=False) + "\n"


def _export_part(
    plan: "Plan", shards: Sequence[Shard], *, out: Path, provenance: Mapping[str, Any], held_out: HeldOut
) -> dict[str, Any]:
    """Samples of one kind, a file for each shard; what is in an evaluation set is counted and left out."""
    folder = out / plan.step.name
    folder.mkdir(exist_ok=True)
    taken, written, leaks = 0, 0, Counter[str]()
    for shard in shards:
        with _whole_file(folder / f"{shard.name}.jsonl") as file:
            for line in read_lines(plan.path(shard)):
                taken += len(line["out"])
                leak = _leak(line, held_out)
                if leak is not None:
                    leaks[f"leak: {leak}"] += len(line["out"])
                    continue
                written += len(line["out"])
                samples = ({**sample, "provenance": provenance} for sample in line["out"])
                file.writelines(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
    return {"in": taken, "kept": written, "out": written, "rejected": {k: v for k, v in sorted(leaks.items()) if v}}


def _leak(line: Mapping[str, Any], held_out: HeldOut) -> str | None:
    """The first evaluation set that has the picture of a line."""
    key = picture_key(line["name"])
    return next((name for name, keys in sorted(held_out.items()) if key in keys), None)


@contextmanager
def _whole_file(path: Path) -> Iterator[TextIO]:
    """A text file that is there as a whole or as it was before."""
    beside = path.with_name(path.name + ".part")
    with beside.open("w", encoding="utf-8") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)
