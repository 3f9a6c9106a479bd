"""``mvplm label``: captions by models for the pictures of a data set, and their refinement."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvplm.cli.guard import say

if TYPE_CHECKING:
    from mvplm.label.run import LabelSummary

HELP = "Caption a data set with any number of models; refine the captions."
EXAMPLE = "Example: mvplm label --dataset coco_mini/train --captioner weights/Qwen2-VL-2B --out outputs/captions"
_SHOWN = 10

Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value; wins over the file. May be repeated.", show_default=False)
]


def label(
    context: typer.Context,
    *,
    dataset: Annotated[str, typer.Option(help="Name in the catalog.", show_default=False)] = "",
    captioner: Annotated[
        list[str] | None,
        typer.Option(
            help="Directory or Hub id of an image-text-to-text model, or module:function; NAME=SPEC names it. "
            "May be repeated.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the captions.", show_default=False)] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Option of the data set: key=value. May be repeated.", show_default=False),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of data sets; default: MVPLM_DATASETS, else ./datasets.")
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(help="YAML file: prompt, samples, temperature, batch_size, devices ... (docs/labelling.md)."),
    ] = None,
    settings: Settings = None,
    ray: Annotated[bool, typer.Option("--ray", help="Use Ray Data; see --set workers, gpus, address.")] = False,
) -> None:
    """Caption every picture with every captioner. The same command goes on where a killed one stopped.

    What failed is listed, and tried again the next time; the exit code is 1 then.
    """
    if context.invoked_subcommand is not None:
        return
    if not dataset or not captioner or out is None:
        raise ValueError("label needs --dataset, --captioner and --out (or: mvplm label refine DIR)")

    from rich.console import Console

    from mvplm.data.options import parse_options
    from mvplm.label.captioners import CaptionerSettings, parse_captioner
    from mvplm.label.dataset import Labelled, Places, label_dataset
    from mvplm.label.progress import ShownProgress
    from mvplm.label.run import LabelSettings
    from mvplm.label.settings import build_settings, read_settings

    given = {**read_settings(config_file, settings or []), **({"ray": True} if ray else {})}
    asked, going, places = build_settings(given, CaptionerSettings, LabelSettings, Places)
    with ShownProgress(Console(stderr=True)) as progress:
        summary = label_dataset(
            Labelled(dataset, root, parse_options(option or [])),
            [parse_captioner(text, asked) for text in captioner],
            out=out,
            settings=going,
            places=places,
            progress=progress,
        )
    _tell(summary, out)
    if not summary.complete:
        raise typer.Exit(1)


def refine(
    folder: Annotated[Path, typer.Argument(help="Folder that mvplm label has written.")],
    *,
    config_file: Annotated[
        Path | None, typer.Option(help="YAML file of thresholds: hedges, min_words, max_words, min_entropy ...")
    ] = None,
    settings: Settings = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Directory of the tokenizer that max_tokens counts with; default: only words.")
    ] = None,
) -> None:
    """Keep the reliable captions: no guessing, neither too short nor too long, no repetition, no duplicates.

    Writes refined.jsonl, which data sets read with captions_dir=DIR, and the report refine.md.
    """
    from mvplm.data.captions import RefineSettings
    from mvplm.label.refine import refine_store
    from mvplm.label.settings import build_settings, read_settings

    (thresholds,) = build_settings(read_settings(config_file, settings or []), RefineSettings)
    report = refine_store(folder, settings=thresholds, count_tokens=_counter(tokenizer))
    told = report.to_dict()
    for rule, count in told["rejected"].items():
        typer.echo(f"{rule:10s} {count}")
    say(
        f"{told['kept']} of {told['captions']} captions kept, {report.images_kept} of {report.images} pictures have "
        f"one. Report: {folder / 'refine.md'}. Train with the data set option captions_dir={folder}",
        style="green",
    )


def _counter(tokenizer: Path | None) -> Callable[[str], int] | None:
    if tokenizer is None:
        return None
    from transformers import AutoTokenizer

    if not tokenizer.is_dir():
        raise FileNotFoundError(f"tokenizer directory not found: {tokenizer}")
    loaded = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    return lambda text: len(loaded.encode(text, add_special_tokens=False))


def _tell(summary: "LabelSummary", out: Path) -> None:
    for name, why in summary.set_aside.items():
        say(f"Set aside: {name} {why}", style="bold red")
    for failure in summary.failures[:_SHOWN]:
        say(f"Failed: {failure.captioner}, image {failure.image_id} ({failure.stage}): {failure.error}", style="red")
    if len(summary.failures) > _SHOWN:
        say(f"... {len(summary.failures) - _SHOWN} more in {out / 'failures.jsonl'}", style="red")
    there = summary.already + summary.written
    say(
        f"{there} of {summary.wanted} captions in {out} ({summary.written} new)"
        + ("" if summary.complete else "; the same command tries again what is missing"),
        style="green" if summary.complete else "yellow",
    )


COMMANDS = {"refine": (refine, "mvplm label refine outputs/captions --set min_words=8")}
