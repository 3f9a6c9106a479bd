"""``mvplm data``: which data sets there are, whether they are sound, what they hold; drawn scenes, made expressions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvplm.cli.guard import say
from mvplm.cli.leaks import leaks
from mvplm.cli.msswift import export_msswift
from mvplm.cli.ors import COMMANDS as ORS_COMMANDS

if TYPE_CHECKING:
    from mvplm.config import SourceConfig

HELP = "Data sets: list, check, show, export, find leaks, make masks and expressions, and draw scenes."
EXAMPLE = "Example: mvplm data list"

Options = Annotated[
    list[str] | None,
    typer.Argument(help="Options of the data set: key=value.", metavar="key=value", show_default=False),
]
Root = Annotated[Path | None, typer.Option(help="Folder of data sets; default: MVPLM_DATASETS, else ./datasets.")]


def list_known(*, root: Root = None) -> None:
    """Print the names of the catalog, and whether the files of sets with a fixed place are there."""
    from mvplm.data.catalog import dataset_entry, datasets_root, list_datasets

    folder, names = datasets_root(root), list_datasets()
    width = max(len(name) for name in names)
    for name in names:
        entry = dataset_entry(name)
        missing = entry.missing(folder)
        state = f"missing: {', '.join(map(_first_place, missing))}" if missing else "found" if entry.needs else ""
        typer.echo(f"{name:{width}}  {state}".rstrip())
    say(f"(files are looked for in {folder}; datasets/README.md draws the trees)", style="dim")


def _first_place(need: str) -> str:
    """A need with many places by the first of them; datasets/README.md draws the others."""
    places = need.split(" or ")
    return need if len(places) < 3 else f"{places[0]} (or {len(places) - 1} other places)"


def check(
    name: Annotated[str, typer.Argument(help="Name in the catalog.")],
    options: Options = None,
    *,
    root: Root = None,
    decode: Annotated[bool, typer.Option(help="Decode every picture, not only its header.")] = True,
    limit: Annotated[int, typer.Option(min=0, help="Most records to look at; 0: all.")] = 0,
) -> None:
    """List every problem of a data set at once; exit code 1 when there are errors."""
    from mvplm.data.check import check_dataset
    from mvplm.data.options import parse_options

    report = check_dataset(name, root=root, decode=decode, limit=limit, **parse_options(options or []))
    for problem in report.problems:
        typer.echo(str(problem))
    say(report.summary(), style="green" if report.ok else "bold red")
    if not report.ok:
        raise typer.Exit(1)


def scenes(
    *,
    out: Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)],
    num: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other scenes.")] = 0,
    split: Annotated[str, typer.Option(help="train, val or heldout.")] = "val",
) -> None:
    """Draw scenes and write them in COCO's formats: pictures, panoptic maps, instances, captions, expressions."""
    from mvplm.data.scenes import write_coco

    folder = write_coco(out, num=num, seed=seed, split=split)
    say(f"{num} scenes written to {folder}", style="green")


def export(
    name: Annotated[str, typer.Argument(help="Name in the catalog.")],
    options: Options = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)],
    split: Annotated[str, typer.Option(help="Name of the split in the folder.")] = "train",
    panoptic: Annotated[bool, typer.Option("--panoptic", help="Also write panoptic maps.")] = False,
    root: Root = None,
) -> None:
    """Write a data set with names as a plain COCO folder: pictures, instances and captions."""
    from mvplm.data.catalog import get_dataset
    from mvplm.data.coco_writer import write_coco_folder
    from mvplm.data.options import parse_options

    records = get_dataset(name, root=root, **parse_options(options or []))
    folder = write_coco_folder(records, out, split=split, panoptic=panoptic)
    say(f"{len(records)} records written to {folder}", style="green")


def make_refs(
    *,
    dataset: Annotated[str, typer.Option(help="Name in the catalog; its records need masks.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Referring file (JSON) to write.", show_default=False)],
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Option of the data set: key=value. May be repeated.", show_default=False),
    ] = None,
    root: Root = None,
    config_file: Annotated[
        Path | None, typer.Option(help="YAML file: per_image, per_thing, none_share, seed, min_area, margin ...")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value; wins over the file. May be repeated.", show_default=False),
    ] = None,
) -> None:
    """Write referring expressions made from instance masks: by name, colour, size, position, number and relation.

    Each means exactly one object, clearly. For data sets that have none; read the file with role=referring.
    """
    from rich.console import Console
    from rich.progress import Progress

    from mvplm.data.catalog import get_dataset
    from mvplm.data.options import parse_options
    from mvplm.label.phrases import PhraseSettings
    from mvplm.label.refs import RefSettings, make_refs
    from mvplm.label.settings import build_settings, read_settings

    drawn, clear = build_settings(read_settings(config_file, settings or []), RefSettings, PhraseSettings)
    records = get_dataset(dataset, root=root, **parse_options(option or []))
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("expressions", total=len(records))
        done = make_refs(
            records,
            out,
            settings=drawn,
            clear=clear,
            advance=lambda count: progress.update(bar, completed=count),
        )
    for kind, count in sorted(done.kinds.items()):
        typer.echo(f"{kind:10s} {count}")
    say(
        f"{done.kinds.total()} expressions for {done.images - done.without} of {done.images} pictures: {out}",
        style="green",
    )


def show(
    name: Annotated[str, typer.Argument(help="Name in the catalog.")],
    options: Options = None,
    *,
    root: Root = None,
    number: Annotated[int, typer.Option(min=1, help="How many records.")] = 3,
    start: Annotated[int, typer.Option(min=0, help="The first one.")] = 0,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Show the prompts and what is trained on, in colour.")
    ] = False,
    task: Annotated[str, typer.Option(help="With --tokens: the task the records are used for.")] = "panoptic",
    config_file: Annotated[
        Path | None, typer.Option("--config-file", help="With --tokens: tokenizer, prompts and responses of this file.")
    ] = None,
) -> None:
    """Print records, or with --tokens what a model reads of them (green: trained on)."""
    from mvplm.config import SourceConfig
    from mvplm.data.catalog import get_dataset
    from mvplm.data.options import parse_options

    given = parse_options(options or [])
    if root is not None:
        given["root"] = str(root)
    if not tokens:
        dataset = get_dataset(name, **given)
        _print_records(dataset, range(start, min(start + number, len(dataset))))
        return
    source = SourceConfig(dataset=name, options=given, task=task)
    _print_tokens(source, config_file, number=number, start=start)


def masks(
    name: Annotated[str, typer.Argument(help="Name in the catalog.")],
    options: Options = None,
    *,
    weights: Annotated[str, typer.Option(help="Shipped weights, a directory, or a Hub id.")],
    out: Annotated[Path, typer.Option(help="COCO file to write.", show_default=False)],
    root: Root = None,
    limit: Annotated[int, typer.Option(min=0, help="Only so many records; 0: all.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda ...")] = "auto",
) -> None:
    """Give every box of a data set a mask; writes a COCO instance file. Stopped work goes on where it was."""
    from mvplm.box_masks import boxes_to_masks
    from mvplm.data.catalog import get_dataset
    from mvplm.data.options import parse_options
    from mvplm.measuring.sets import progress_bar
    from mvplm.perceiver import load

    given = parse_options(options or [])
    if root is not None:
        given["root"] = str(root)
    dataset = get_dataset(name, **given)
    perceiver = load(weights, device=device)
    source = f"{name} {sorted(given.items())} {weights}"
    with progress_bar(min(limit, len(dataset)) if limit else len(dataset), "boxes to masks") as advance:
        done = boxes_to_masks(
            perceiver, dataset, out=out, source=source, limit=limit, batch_size=batch_size, progress=advance
        )
    left_out = f", {done.skipped} boxes without area left out" if done.skipped else ""
    say(f"{done.made} masks made, {done.kept} kept{left_out}: {done.path}", style="green")


def _print_tokens(source: "SourceConfig", config_file: Path | None, *, number: int, start: int) -> None:
    from dataclasses import replace

    from mvplm.build import build_tokenizer
    from mvplm.build_training import build_mixture
    from mvplm.config import load_config
    from mvplm.data.show import show_tokens

    config = load_config(config_file, [] if config_file is not None else ["model.preset=mvplm-tiny"])
    config = replace(config, data=replace(config.data, sources={"shown": source}))
    tokenizer = build_tokenizer(config)
    shown = build_mixture(config, tokenizer).mixture.sources["shown"]
    show_tokens(shown.dataset, shown.mapper, tokenizer=tokenizer, number=number, start=start)


def _print_records(dataset: Sequence[Any], indices: Sequence[int]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("record", "image", "size", "objects", "expressions", "captions", title=f"{len(dataset)} records")
    for index in indices:
        record = dataset[index]
        names = record.vocabulary.names if record.vocabulary is not None else ()
        labels = [a.phrase or (names[a.label] if a.label is not None else "?") for a in record.annotations]
        table.add_row(
            str(index),
            str(record.image_id),
            f"{record.size[0]} x {record.size[1]}",
            ", ".join(labels),
            "\n".join(expression.text for expression in record.expressions),
            "\n".join(record.captions),
        )
    Console().print(table)


COMMANDS = {
    "list": (list_known, "mvplm data list"),
    "check": (check, "mvplm data check coco_mini/val --root datasets"),
    "leaks": (leaks, "mvplm data leaks coco_mini/train coco_mini/val coco_mini/refs"),
    "scenes": (scenes, "mvplm data scenes --out datasets/scenes --num 200 --seed 1 --split train"),
    "masks": (masks, "mvplm data masks coco_folder split=train --root my_data --weights my_model --out masks.json"),
    "export": (export, "mvplm data export scenes/val num=50 --out datasets/my_data --split val"),
    "export-msswift": (
        export_msswift,
        "mvplm data export-msswift scenes/train role=referring num=50 --form refer.general --out swift_data",
    ),
    "make-refs": (
        make_refs,
        "mvplm data make-refs --dataset coco_folder -o split=train --root my_data --out refs.json",
    ),
    "show": (show, "mvplm data show scenes/train role=referring --tokens --task res"),
    **ORS_COMMANDS,
}
