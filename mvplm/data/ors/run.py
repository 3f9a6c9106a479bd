"""The pipeline from beginning to end: step after step, shard after shard, and on where it was stopped.

``OUT/steps/NAME-KEY/SHARD.jsonl`` holds one line per image, in the order of the shard, appended by this process alone.
The key is a hash over the step, the thresholds, and names and versions of all callables up to it, so that another
describer finds everything before it done. What is written depends on inputs and callables only.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from mvplm.data.journal import Journal, hold_folder, read_lines, write_whole
from mvplm.data.ors.callables import Callables, check_callables, identity
from mvplm.data.ors.config import OrsConfig
from mvplm.data.ors.export import HeldOut, export
from mvplm.data.ors.pool import STEPS, Pool, Task, open_pool
from mvplm.data.ors.shards import Shard, open_shards
from mvplm.data.ors.words import known_nouns
from mvplm.data.ors.work import Step, Tools

FORMAT = 1
"""Changes when a step gives other lines for the same input."""


class Progress(Protocol):
    """Is told how far each step is, in images."""

    def begin(self, name: str, *, done: int, total: int) -> None:
        """A step begins, with so many images done before."""

    def advance(self, name: str, done: int) -> None:
        """So many more are done."""


@dataclass(frozen=True)
class BuildSettings:
    """How it is run; nothing here but ``hypernyms`` changes what comes out.

    Attributes:
        workers: processes; 1 is this one.
        hypernyms: "listed", those of the package, or "wordnet".
    """

    workers: int = 1
    hypernyms: str = "listed"

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")


@dataclass(frozen=True)
class Plan:
    """A step and the folder of its lines."""

    step: Step
    key: str
    folder: Path

    def path(self, shard: Shard) -> Path:
        """File of the lines of a shard."""
        return self.folder / f"{shard.name}.jsonl"


@dataclass(frozen=True)
class BuildSummary:
    """What there is now.

    Attributes:
        numbers: content of ``summary.json``.
        stopped_at: name of the step that callables are missing for; "" when everything is done.
        missing: their roles.
    """

    numbers: Mapping[str, Any]
    stopped_at: str = ""
    missing: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every step is done."""
        return not self.stopped_at


def build_ors(
    inputs: Sequence[str | Path],
    callables: Callables,
    *,
    out: str | Path,
    config: OrsConfig | None = None,
    settings: BuildSettings | None = None,
    held_out: HeldOut | None = None,
    progress: Progress | None = None,
) -> BuildSummary:
    """Make samples of SA-1B shards, or go on with it.

    A step whose callable is missing ends the run; everything before it is done and written.

    Args:
        inputs: tar files, folders of pictures with JSON files, or folders of such.
        callables: role -> callable; see ``mvplm.data.ors.callables``.
        out: folder; see docs/ors.md for what lies in it.
        config: thresholds; None: the defaults.
        settings: how it is run.
        held_out: evaluation set -> keys of its pictures, which no sample may show.
        progress: is told how far it is.

    Raises:
        ValueError: what is wrong with inputs, callables or ``out``, or with an answer of a callable; what was done
            until then stays.
    """
    settings, config = settings or BuildSettings(), config or OrsConfig()
    check_callables(callables)
    shards = open_shards(inputs)
    tools = Tools(config, callables, known_nouns(settings.hypernyms))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    lock = hold_folder(out, what="samples")
    try:
        plans = make_plans(out, tools)
        ready = _ready(plans, callables)
        with closing(open_pool(tools, settings.workers)) as pool:
            for plan in ready:
                _run_step(plan, plans, shards=shards, pool=pool, progress=progress)
        stopped = plans[len(ready)].step if len(ready) < len(plans) else None
        missing = () if stopped is None else tuple(role for role in stopped.roles if role not in callables)
        numbers = {
            "config": asdict(config),
            "config_hash": config.hash,
            "hypernyms": tools.nouns.identity,
            "callables": identity(callables, list(callables)),
            "shards": {shard.name: len(shard.sources) for shard in shards},
            "stopped_at": "" if stopped is None else stopped.name,
            "missing": list(missing),
        }
        numbers |= export(ready, shards, out=out, config=config, held_out=held_out or {})
        write_whole(out / "summary.json", json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
        return BuildSummary(numbers, numbers["stopped_at"], missing)
    finally:
        os.close(lock)


def make_plans(out: Path, tools: Tools) -> list[Plan]:
    """Every step with its key and folder."""
    plans: list[Plan] = []
    chains: dict[str, list[Any]] = {"": [FORMAT, tools.config.hash, tools.nouns.identity]}
    for step in STEPS.values():
        asked = identity(tools.callables, [*step.roles, *step.optional])
        chains[step.name] = [*chains[step.source], step.name, asked]
        key = hashlib.sha256(json.dumps(chains[step.name], sort_keys=True).encode()).hexdigest()[:12]
        plans.append(Plan(step, key, out / "steps" / f"{len(plans) + 1:02d}-{step.name}-{key}"))
    return plans


def _ready(plans: Sequence[Plan], callables: Callables) -> list[Plan]:
    """The steps up to the first one that somebody is missing for."""
    lacking = (at for at, plan in enumerate(plans) if any(role not in callables for role in plan.step.roles))
    return list(plans[: next(lacking, len(plans))])


def _run_step(
    plan: Plan, plans: Sequence[Plan], *, shards: Sequence[Shard], pool: Pool, progress: Progress | None
) -> None:
    """One step on all shards."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    source = next((other for other in plans if other.step.name == plan.step.source), None)
    done = [_done(plan, shard) for shard in shards]
    total, name, started = sum(len(shard.sources) for shard in shards), plan.step.name, time.monotonic()
    if progress is not None:
        progress.begin(name, done=sum(done), total=total)
    for shard, before in zip(shards, done, strict=True):
        journal = Journal(plan.path(shard))
        try:
            for line in pool.run(islice(_tasks(plan, source, shard=shard), before, None)):
                journal.append([line])
                if progress is not None:
                    progress.advance(name, 1)
        finally:
            journal.close()
    if sum(done) < total:
        _note_seconds(plan.folder.parent.parent, name, seconds=time.monotonic() - started)


def _done(plan: Plan, shard: Shard) -> int:
    """How many images of a shard are done. Raises ValueError when the lines are not those of the shard."""
    path, count = plan.path(shard), 0
    for line in read_lines(path):
        if count >= len(shard.sources) or line["name"] != shard.sources[count].name or line["key"] != plan.key:
            raise ValueError(
                f"{path}, line {count + 1} is not about the image that shard {shard.name!r} has there; the shard was "
                "changed: build it into another folder"
            )
        count += 1
    return count


def _tasks(plan: Plan, source: Plan | None, *, shard: Shard) -> Iterator[Task]:
    """Every image with its line of the step before."""
    lines: Iterator[Mapping[str, Any]] = iter([{}] * len(shard.sources))
    if source is not None:
        lines = read_lines(source.path(shard))
    for image, before in zip(shard.sources, lines, strict=True):
        yield Task(plan.step.name, plan.key, image, before)


def _note_seconds(out: Path, step: str, *, seconds: float) -> None:
    """Time apart from ``summary.json``, which is the same for every run."""
    path = out / "timings.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[step] = round(known.get(step, 0.0) + seconds, 3)
    write_whole(path, json.dumps(known, indent=1) + "\n")
