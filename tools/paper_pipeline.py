"""The whole pipeline of the paper at tiny scale, on drawn scenes: label, refine, stage 1, stage 2, evaluate.

Captions are written by several captioners and refined; the connector learns from them alone (stage 1); then everything
but the encoder learns, once per row of tables 6 (mix of data) and 7 (what stands before the summary token), and every
row is evaluated. Writes OUT/report.md and OUT/report.json. Ctrl-C loses nothing: the same command goes on, and what is
complete is not done again.

Examples:
    python tools/paper_pipeline.py
    python tools/paper_pipeline.py --out outputs/paper_seed_1 train.seed=1
    python tools/paper_pipeline.py --quick --out outputs/paper_quick
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvplm.config import Config

CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "quick" / "paper"
WRITTEN_OUT = "outputs/paper"
STAGE1 = "stage1"
CAPTIONERS = tuple(f"mvplm.label.standins:{name}" for name in ("ShippedModel", "colours", "places", "unsure"))
COLUMNS = {"cIoU": "referring/all/cIoU", "PQ": "panoptic/PQ", "mIoU": "semantic/mIoU"}
QUICK = (
    *("train.steps=2", "train.checkpoint_every=1", "train.log_every=1", "optim.ema_decay=0", "eval.batch_size=2"),
    *("image.size=96", "model.decoder.layers=1", "model.pixel_decoder.layers=1", "infer.max_new_tokens=4"),
)
QUICK_PICTURES, QUICK_BATCH, QUICK_LIMIT = 4, 2, 1


@dataclass(frozen=True)
class Row:
    """A line of a table: what it says, the run it shows, and the paper's cIoU (RefCOCO val), PQ and mIoU (COCO)."""

    title: str
    run: str
    paper: Mapping[str, float]


def _row(title: str, run: str, *paper: float) -> Row:
    return Row(title, run, dict(zip(COLUMNS, paper, strict=True)))


TABLES: dict[str, tuple[Row, ...]] = {
    "Table 6: mix of data": (
        _row("C, R", "table6_c_r", 77.6, 56.4, 66.3),
        _row("C, R, O", "table6_c_r_o", 81.8, 55.8, 65.9),
        _row("C, R, O, G", "table6_c_r_o_g", 83.6, 56.1, 66.8),
    ),
    "Table 7: before the summary token (C, R)": (
        _row("nothing", "table7_none", 75.6, 55.3, 65.7),
        _row("existing objects", "table7_existing_objects", 75.6, 54.9, 65.6),
        _row("caption", "table6_c_r", 75.7, 55.6, 66.2),
        _row("caption, visual features as queries", "table7_visual_only", 75.9, 55.0, 66.1),
    ),
}
RUNS = tuple(dict.fromkeys(row.run for rows in TABLES.values() for row in rows))


class Stopped(Exception):
    """A stage ended early on a signal, with its state saved; ``code`` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Plan:
    """What is asked for: where it goes, settings that win over the files, and whether it is only a trial."""

    out: Path
    overrides: tuple[str, ...] = ()
    quick: bool = False
    configs: Path = CONFIGS

    def read(self, name: str) -> "Config":
        """The settings of a run as its file and the command line have them."""
        from mvplm.config import load_config

        config = load_config(self.configs / f"{name}.yaml", [*(QUICK if self.quick else ()), *self.overrides])
        if self.quick:
            for source in config.data.sources.values():
                source.options["num"] = min(source.options["num"], QUICK_PICTURES)
                source.batch_size = min(source.batch_size, QUICK_BATCH)
            for entry in config.eval.sets.values():
                entry.limit = QUICK_LIMIT
        return config

    def load(self, name: str) -> "Config":
        """The settings of a run with everything below ``out``; stage 2 starts from what stage 1 has left there."""
        from mvplm.engine import CheckpointStore

        config = self.read(name)
        config.train.output = self.place(config.train.output)
        for source in config.data.sources.values():
            if "captions_dir" in source.options:
                source.options["captions_dir"] = self.place(source.options["captions_dir"])
        if name != STAGE1:
            start = CheckpointStore(self.out / STAGE1 / "checkpoints").latest()
            config.train.init_from = str(start) if start else config.train.init_from
        config.train.auto_resume = True
        return config

    def place(self, path: str) -> str:
        """A path of the files, which say ``outputs/paper``, below ``out``."""
        return str(self.out / Path(path).relative_to(WRITTEN_OUT))


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline: its kind and name, the settings that it stands for, and what does it."""

    kind: str
    name: str
    settings: str
    run: Callable[[], None]

    @property
    def key(self) -> str:
        """Name in the ledger: ``kind/name``."""
        return f"{self.kind}/{self.name}" if self.name else self.kind


@dataclass
class Entry:
    """What the ledger knows of a stage: its settings, its seconds over all starts, and whether it is complete."""

    settings: str
    seconds: float = 0.0
    complete: bool = False


@dataclass
class Ledger:
    """Which stages are done, in ``stages.json``; rewritten whenever a stage ends or is stopped."""

    file: Path
    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def open(cls, file: Path) -> "Ledger":
        """The ledger of a folder; empty when there is none."""
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return cls(file, {key: Entry(**values) for key, values in known.items()})

    def is_done(self, stage: Stage) -> bool:
        """Whether a stage is complete.

        Raises:
            ValueError: it was begun with other settings.
        """
        entry = self.entries.get(stage.key)
        if entry is not None and entry.settings != stage.settings:
            raise ValueError(
                f"{stage.key} was begun with other settings ({entry.settings}, now {stage.settings}) in "
                f"{self.file.parent}; give another folder with --out, or the settings of then"
            )
        return entry is not None and entry.complete

    @contextmanager
    def timing(self, stage: Stage) -> Iterator[None]:
        """Adds the seconds of the block to the stage, however it ends; complete when it ends without an error."""
        from mvplm.data.journal import write_whole

        entry = self.entries.setdefault(stage.key, Entry(stage.settings))
        started = time.monotonic()
        try:
            yield
            entry.complete = True
        finally:
            entry.seconds += time.monotonic() - started
            write_whole(self.file, json.dumps({key: asdict(value) for key, value in self.entries.items()}, indent=1))

    def left(self, stages: Sequence[Stage]) -> float | None:
        """Seconds that stages will take if each is as long as the last of its kind; None while a kind is new."""
        known = {key.partition("/")[0]: entry.seconds for key, entry in self.entries.items() if entry.complete}
        seconds = [known.get(stage.kind) for stage in stages]
        return None if None in seconds else sum(value for value in seconds if value is not None)


def make_stages(plan: Plan) -> list[Stage]:
    """All stages in order. Captions are written for the pictures that the runs' sources name with ``captions_dir``."""
    from mvplm.config import config_hash

    configs = {name: plan.read(name) for name in (STAGE1, *RUNS)}
    lots: dict[str, dict[str, Any]] = {}
    for config in configs.values():
        for source in config.data.sources.values():
            lot = {"dataset": source.dataset, **{key: source.options[key] for key in ("seed", "num")}}
            if lots.setdefault(source.options["captions_dir"], lot) != lot:
                raise ValueError(f"{source.options['captions_dir']} is asked for two lots of pictures: make them equal")
    stages = []
    for folder, lot in lots.items():
        place, name = plan.place(folder), Path(folder).name
        marked = hashlib.sha256(json.dumps([lot, CAPTIONERS]).encode()).hexdigest()[:12]
        stages.append(Stage("label", name, marked, lambda lot=lot, place=place: label(lot, place)))
        stages.append(Stage("refine", name, marked, lambda place=place: refine(place)))
    hashes = {name: config_hash(config) for name, config in configs.items()}
    stages.append(Stage(STAGE1, "", hashes[STAGE1], lambda: train(plan.load(STAGE1))))
    for name in RUNS:
        stages.append(Stage("stage2", name, hashes[name], lambda name=name: train(plan.load(name))))
        stages.append(Stage("evaluate", name, hashes[name], lambda name=name: evaluate(plan, name)))
    return stages


def label(lot: Mapping[str, Any], out: str) -> None:
    """Let every captioner describe every picture of a lot.

    Raises:
        ValueError: captions are missing at the end.
    """
    from rich.console import Console

    from mvplm.label.captioners import parse_captioner
    from mvplm.label.dataset import Labelled, label_dataset
    from mvplm.label.progress import ShownProgress

    options = {"role": "caption", "seed": lot["seed"], "num": lot["num"]}
    specs = [parse_captioner(f"{source.partition(':')[2]}={source}") for source in CAPTIONERS]
    with ShownProgress(Console(stderr=True)) as progress:
        summary = label_dataset(Labelled(lot["dataset"], None, options), specs, out=out, progress=progress)
    if not summary.complete:
        raise ValueError(f"captions are missing in {out} (see failures.jsonl); the same command tries them again")


def refine(folder: str) -> None:
    """Keep the reliable captions of a lot."""
    from mvplm.label.refine import refine_store

    report = refine_store(folder)
    print(f"{report.kept.total()} of {report.total.total()} captions kept, for {report.images_kept} pictures")


def train(config: "Config") -> None:
    """Train, or go on.

    Raises:
        Stopped: a signal ended it; a checkpoint is written.
    """
    from mvplm.runs import exit_code, run_training

    summary = run_training(config)
    if summary.interrupted is not None:
        raise Stopped(exit_code(summary))


def evaluate(plan: Plan, name: str) -> None:
    """Measure a run."""
    from mvplm.runs import run_evaluation

    run_evaluation(plan.load(name), out=plan.out / "evaluation" / name, show=False)


def make_report(plan: Plan, ledger: Ledger) -> dict[str, Any]:
    """Both tables, the refinement of the captions, seconds and settings by stage; None stands for "not measured"."""
    from mvplm.structures.versions import library_versions

    tables: dict[str, list[dict[str, Any]]] = {}
    for title, rows in TABLES.items():
        tables[title] = []
        for row in rows:
            file, done = plan.out / "evaluation" / row.run / "metrics.json", ledger.entries.get(f"evaluate/{row.run}")
            content = json.loads(file.read_text(encoding="utf-8")) if done and done.complete else {"metrics": {}}
            found = {column: content["metrics"].get(metric) for column, metric in COLUMNS.items()}
            tables[title].append({"row": row.title, "run": row.run, "ours": found, "paper": dict(row.paper)})
    refined = {
        file.parent.name: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted(plan.out.glob("captions/*/refine.json"))
    }
    return {
        "quick": plan.quick,
        "seed": plan.read(STAGE1).train.seed,
        "overrides": list(plan.overrides),
        "tables": tables,
        "captions": {
            name: {key: told[key] for key in ("captions", "kept", "rejected")} for name, told in refined.items()
        },
        "stages": {key: asdict(entry) for key, entry in ledger.entries.items()},
        "minutes": sum(entry.seconds for entry in ledger.entries.values()) / 60,
        "versions": library_versions(),
    }


def to_markdown(report: Mapping[str, Any]) -> str:
    """The report as a page."""
    lines = ["# The pipeline at tiny scale", ""]
    if report["quick"]:
        lines += ["A trial with a few steps: its numbers mean nothing.", ""]
    for title, rows in report["tables"].items():
        lines += [
            f"## {title}",
            "",
            f"| | {' | '.join(COLUMNS)} | {' | '.join(f'paper: {c}' for c in COLUMNS)} | run |",
        ]
        lines += ["|---|" + "---:|" * 2 * len(COLUMNS) + "---|"]
        for row in rows:
            ours = ["not measured" if value is None else f"{value:.1f}" for value in row["ours"].values()]
            lines += [f"| {' | '.join([row['row'], *ours, *map(str, row['paper'].values()), row['run']])} |"]
        lines += [""]
    lines += ["## Captions", "", "| pictures | written | kept | rejected |", "|---|---:|---:|---|"]
    for name, told in report["captions"].items():
        why = ", ".join(f"{rule} {count}" for rule, count in told["rejected"].items() if count)
        lines += [f"| {name} | {told['captions']} | {told['kept']} | {why} |"]
    lines += ["", f"## Time: {report['minutes']:.1f} minutes, seed {report['seed']}", ""]
    lines += ["| stage | minutes | settings |", "|---|---:|---|"]
    for key, entry in report["stages"].items():
        lines += [
            f"| {key} | {entry['seconds'] / 60:.2f}{'' if entry['complete'] else ' so far'} | {entry['settings']} |"
        ]
    return "\n".join(lines) + "\n"


def run_stages(plan: Plan) -> None:
    """Do what is not done yet; the report is written after every evaluation and at the end."""
    stages = make_stages(plan)
    ledger = Ledger.open(plan.out / "stages.json")
    waiting = [stage for stage in stages if not ledger.is_done(stage)]
    plan.out.mkdir(parents=True, exist_ok=True)
    for place, stage in enumerate(stages, 1):
        if stage not in waiting:
            print(f"[{place}/{len(stages)}] {stage.key}: complete")
            continue
        left = ledger.left(waiting[waiting.index(stage) :])
        about = "" if left is None else f", about {left / 60:.0f} minutes left in all"
        print(f"[{place}/{len(stages)}] {stage.key}{about}", flush=True)
        with ledger.timing(stage):
            stage.run()
        if stage.kind == "evaluate":
            write_report(plan, ledger)
    write_report(plan, ledger)


def write_report(plan: Plan, ledger: Ledger) -> None:
    """``report.json`` and ``report.md``."""
    from mvplm.data.journal import write_whole

    report = make_report(plan, ledger)
    write_whole(plan.out / "report.json", json.dumps(report, indent=1) + "\n")
    write_whole(plan.out / "report.md", to_markdown(report))


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(WRITTEN_OUT), help=f"folder of everything ({WRITTEN_OUT})")
    parser.add_argument("--quick", action="store_true", help="a few steps and pictures: shows that it runs, no more")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings that win over the files of all runs"
    )
    return parser


def main(given: Sequence[str] | None = None) -> int:
    """Run the pipeline and print the report; returns the exit code."""
    arguments = build_parser().parse_args(given)
    plan = Plan(arguments.out, tuple(arguments.overrides), arguments.quick)
    try:
        run_stages(plan)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Stopped) as stop:
        print("stopped; everything is saved, and the same command goes on", file=sys.stderr)
        return stop.code if isinstance(stop, Stopped) else 130
    print((plan.out / "report.md").read_text(encoding="utf-8"))
    print(f"Written: {plan.out / 'report.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
