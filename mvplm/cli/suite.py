"""``mvplm evaluate --suite``: all benchmarks of a suite whose data are there, and the tables of their numbers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvplm.cli.guard import say

if TYPE_CHECKING:
    from mvplm.measuring.suites import Planned

COMMAND, OPTION, LIST = "evaluate-suite", "--suite", "list"
GENERAL, _BASE = "general", "box_mask.base="


def with_suite(arguments: Sequence[str]) -> list[str]:
    """The arguments of ``mvplm``; ``evaluate`` with ``--suite`` is a command of its own."""
    asked = any(item == OPTION or item.startswith(f"{OPTION}=") for item in arguments)
    place = next((number for number, item in enumerate(arguments) if not item.startswith("-")), None)
    if not asked or place is None or arguments[place] != "evaluate":
        return list(arguments)
    return [*arguments[:place], COMMAND, *arguments[place + 1 :]]


def evaluate_suite(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings of every benchmark: dotted.key=value.", show_default=False),
    ] = None,
    *,
    suite: Annotated[
        str,
        typer.Option(help="paper, open_vocabulary, referring, all, general, or a YAML file; list: what they hold."),
    ],
    weights: Annotated[str, typer.Option(help="Shipped weights or a directory.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the results.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=0, help="Only so many records of each set; 0: all.")] = 0,
    pictures: Annotated[int, typer.Option(min=0, help="So many answers of each set, drawn in report.html.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would run and what is missing.")] = False,
) -> None:
    """Measure a model on all benchmarks of a suite; OUT/NAME/metrics.json for each, OUT/tables.md for all.

    Finished benchmarks are kept when the command is run again with the same weights and settings. The suite general
    compares a model that writes boxes with its base on ordinary questions; box_mask.base=DIRECTORY names the base.
    """
    if suite == GENERAL:
        _compare(weights, overrides or [], out=out, limit=limit)
        return
    from mvplm.measuring.suites import list_suites, load_suite, plan_suite, run_suite, suite_results

    if suite == LIST:
        for name in list_suites():
            known = load_suite(name)
            typer.echo(f"{name:16}  {known.title}: {', '.join(known.benchmarks)}")
        typer.echo(f"{GENERAL:16}  Ordinary questions: a model that writes boxes against its base")
        return
    if not weights or (out is None and not dry_run):
        raise ValueError("--suite needs --weights, and --out unless it is a --dry-run")
    chosen, folder = load_suite(suite), out or Path("outputs")
    plans = plan_suite(chosen, weights=weights, out=folder, overrides=overrides or [], limit=limit)
    _show(plans, counts=dry_run, limit=limit)
    if dry_run:
        return

    from mvplm.engine import leave_processes, rank_and_world
    from mvplm.measuring.suite_tables import build_tables, markdown

    run_suite(plans, weights=weights, limit=limit, pictures=pictures)
    if rank_and_world()[0] == 0:
        tables = build_tables(chosen.tables, suite_results(plans), ours=f"ours ({weights})", limit=limit)
        folder.mkdir(parents=True, exist_ok=True)
        text, missing = markdown(tables), {plan.name: plan.missing for plan in plans if plan.missing}
        content = {"suite": chosen.name, "weights": weights, "tables": tables, "data not found": missing}
        (folder / "tables.md").write_text(text, encoding="utf-8")
        (folder / "tables.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        typer.echo(text)
        _show([plan for plan in plans if plan.missing], counts=False, limit=limit)
        say(f"Written: {folder / 'tables.md'}, {folder / 'tables.json'}", style="green")
    leave_processes()


def _compare(weights: str, overrides: Sequence[str], *, out: Path | None, limit: int) -> None:
    """The suite general."""
    if not weights or out is None:
        raise ValueError("--suite general needs --weights and --out")
    if wrong := [item for item in overrides if not item.startswith(_BASE)]:
        raise ValueError(f"--suite general takes no setting {wrong[0]!r}, only {_BASE}DIRECTORY")

    from mvplm.measuring.general import run_general

    base = overrides[-1].removeprefix(_BASE) if overrides else None
    results = run_general(weights, out=out, base=base, limit=limit)
    for name, value in results.items():
        typer.echo(f"{name:24}{value:12.4f}")
    say(f"Written: {out / 'metrics.json'}, {out / 'answers.jsonl'}", style="green")


def _show(plans: Sequence["Planned"], *, counts: bool, limit: int) -> None:
    """One line for every set: what happens to it, and why not."""
    from mvplm.data.catalog import get_dataset

    width = max((len(plan.name) for plan in plans), default=0)
    for plan in plans:
        for name, entry in plan.config.eval.sets.items():
            state = "finished" if plan.finished else "to do"
            if counts:
                total, most = len(get_dataset(entry.dataset, **entry.options)), limit or entry.limit
                state += f", {min(total, most) if most else total} records"
            typer.echo(f"{plan.name:{width}}  {name}: {state}")
        for name, place in plan.missing.items():
            typer.echo(f"{plan.name:{width}}  {name}: data not found: {place}")


EXAMPLE = "mvplm evaluate --suite paper --weights mvplm-tiny-scenes --dry-run"
