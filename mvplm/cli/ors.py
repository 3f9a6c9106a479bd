"""``mvplm data build-ors`` and ``mvplm data ors-buckets``: samples of SA1B-ORS, and buckets of ORS-Bench."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvplm.cli.guard import say

if TYPE_CHECKING:
    from mvplm.data.ors import BuildSummary

Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value; wins over the file. May be repeated.", show_default=False)
]


def build_ors(
    inputs: Annotated[list[Path], typer.Argument(help="SA-1B shards: tar files or folders.", show_default=False)],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write to, or to go on in.", show_default=False)],
    callables: Annotated[Path, typer.Option(help="YAML file: who plays which role (docs/ors.md).", show_default=False)],
    config_file: Annotated[
        Path | None, typer.Option(help="YAML file of thresholds, workers and hypernyms (docs/ors.md).")
    ] = None,
    settings: Settings = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Evaluation set whose pictures are left out; default: all that are there. May be repeated."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of data sets; default: MVPLM_DATASETS, else ./datasets.")
    ] = None,
    audit: Annotated[int, typer.Option(min=0, help="Pictures in OUT/audit.html; 0: no page.")] = 48,
) -> None:
    """Make samples of SA1B-ORS from SA-1B. The same command goes on where a stopped one was.

    A step without its callable ends the run with exit code 1; everything before it is done.
    """
    from rich.console import Console

    from mvplm.data.ors import BuildSettings, OrsConfig, read_callables
    from mvplm.data.ors import build_ors as build
    from mvplm.data.ors.audit import write_audit
    from mvplm.label.progress import ShownProgress
    from mvplm.label.settings import build_settings, read_settings

    thresholds, going = build_settings(read_settings(config_file, settings or []), OrsConfig, BuildSettings)
    asked = read_callables(callables)
    held_out = _held_out(against or [], root)
    with ShownProgress(Console(stderr=True)) as progress:
        done = build(inputs, asked, out=out, config=thresholds, settings=going, held_out=held_out, progress=progress)
    if audit:
        say(f"Look at {write_audit(out, inputs, cards=audit)}")
    _tell(done, out)
    if not done.complete:
        raise typer.Exit(1)


def ors_buckets(
    samples: Annotated[Path, typer.Argument(help="JSONL file of your samples, ORS-Bench's form.", show_default=False)],
    *,
    training: Annotated[
        list[Path], typer.Option(help="JSONL file, or folder of them, of what was trained on.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="JSONL file to write.", show_default=False)],
    settings: Settings = None,
) -> None:
    """Give samples the buckets "category" and "area" by the rules of ORS-Bench; the other four need labels."""
    from mvplm.data.ors.buckets import BucketRules, assign_buckets
    from mvplm.label.settings import build_settings, read_settings

    (rules,) = build_settings(read_settings(None, settings or []), BucketRules)
    files = [file for path in training for file in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])]
    if not files:
        raise FileNotFoundError(f"no JSONL file in {', '.join(map(str, training))}")
    summary = assign_buckets(samples, files, out=out, rules=rules)
    for bucket, count in sorted(summary.buckets.items()):
        typer.echo(f"{bucket:18s} {count}")
    say(f"{summary.buckets.total()} samples, {len(summary.unseen)} labels unseen in training: {out}", style="green")


def _held_out(names: Sequence[str], root: Path | None) -> dict[str, set[str]]:
    """Pictures of evaluation sets: of the named ones, or of every one whose files are there."""
    from mvplm.data.catalog import dataset_entry, datasets_root, get_dataset
    from mvplm.data.leaks import held_out_pictures
    from mvplm.data.views import pictures
    from mvplm.measuring.suites import list_benchmarks

    folder = datasets_root(root)
    if names:
        return {name: pictures(get_dataset(name, root=folder)) for name in names}
    found = {}
    for name in sorted({name for benchmark in list_benchmarks() for name in _sets(benchmark)}):
        if (entry := dataset_entry(name)).needs and not entry.missing(folder):
            found[name] = pictures(get_dataset(name, root=folder))
    family = held_out_pictures(folder)
    return {**found, **({"refcoco family": family} if family else {})}


def _sets(benchmark: str) -> list[str]:
    """Names of the data sets of an evaluation file; one for all parts of ORS-Bench."""
    from mvplm.config.tree import read_layers
    from mvplm.measuring.suites import benchmark_file

    layers = read_layers(benchmark_file(benchmark), [])
    sets = [entry["dataset"] for layer in layers for entry in layer.tree["eval"]["sets"].values()]
    return [name.partition("ors_bench/")[0] or "ors_bench" for name in sets]


def _tell(done: "BuildSummary", out: Path) -> None:
    numbers = done.numbers
    for name, step in numbers["steps"].items():
        reasons = ", ".join(f"{reason} {count}" for reason, count in step["rejected"].items())
        typer.echo(f"{name:12s} {step['in']:8d} in {step['out']:8d} out  {reasons}".rstrip())
    made = {part: counted["out"] for part, counted in numbers["export"].items()}
    checked = ", ".join(numbers["held_out"]) or "no evaluation set: none was found"
    counts = f"{made.get('cors', 0)} category and {made.get('ders', 0)} descriptive samples"
    say(f"{counts} in {out}; kept apart from {checked}", style="green")
    if done.stopped_at:
        say(
            f"Stopped before step {done.stopped_at!r}: no {', '.join(done.missing)} in the file of callables; the same "
            "command goes on there",
            style="yellow",
        )


COMMANDS = {
    "build-ors": (build_ors, "mvplm data build-ors sa_000000.tar --callables callables.yaml --out outputs/ors"),
    "ors-buckets": (
        ors_buckets,
        "mvplm data ors-buckets mine.jsonl --training outputs/ors/cors --out datasets/ors_bench/mine.jsonl",
    ),
}
