"""``mvplm textmask``: what codecs lose and cost on one's own data, and how their answers look."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvplm.cli.guard import STOPPED, say
from mvplm.cli.textmask_show import open_source, show

if TYPE_CHECKING:
    from mvplm.structures import Record
    from mvplm.textmask.ceiling import Ceiling, CeilingRow

HELP = "Masks as text: what each codec loses and costs, and how its answers look."
EXAMPLE = "Example: mvplm textmask ceiling --dataset coco_mini/val --root datasets"
_COLUMNS = ("box", "profile", "n", "mIoU", "cIoU", ">= 90", "gone", "mean", "95 %", "most")
PROFILES = "isd16,isd64,bsd64,crop64,canvas32"


def ceiling(
    *,
    dataset: Annotated[
        list[str], typer.Option(help="Name in the catalog, or a COCO folder. May be repeated.", show_default=False)
    ],
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Option of the data sets: key=value. May be repeated.", show_default=False),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of data sets; default: MVPLM_DATASETS, else ./datasets.")
    ] = None,
    profiles: Annotated[
        str, typer.Option(help="Codec and cells a side, with commas: isd16, crop64, canvas32, bsd_bricks-48 ...")
    ] = PROFILES,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of a tokenizer; without one runs and row breaks are counted.")
    ] = None,
    down: Annotated[str, typer.Option(help="area_keep or nearest: how masks become cells.")] = "area_keep",
    max_length: Annotated[int, typer.Option(min=0, help="Also tell the share of longer answers; 0: none.")] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Only so many records of each set; 0: all.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for ceiling.json and ceiling.png.")] = None,
) -> None:
    """Encode and decode every mask of data sets: overlap that is left, and length, by codec and size of the object.

    No model that writes with a codec can be better. Rows: share of the picture that the object's box covers. Columns:
    objects, mean and cumulative IoU, share with IoU >= 90 %, share that vanished, lengths of the answers.
    """
    from mvplm.data.options import parse_options
    from mvplm.textmask.ceiling import Ceiling
    from mvplm.textmask.profiles import LengthCounter, load_tokenizer, profile_of

    chosen = [profile_of(name, down=down) for name in profiles.split(",") if name.strip()]
    counter = LengthCounter(None if tokenizer is None else load_tokenizer(tokenizer))
    measured = Ceiling(chosen, counter, max_length=max_length or None)
    given = parse_options(option or [])
    opened = {name: open_source(name, given, root=root) for name in dataset}
    finished = _measure(measured, opened, limit=limit)
    rows = measured.rows()
    if not rows:
        raise ValueError(f"no object with a mask in {', '.join(dataset)}; detection data have boxes only")
    _print(rows, unit=counter.unit)
    if not finished:
        say("Stopped by Ctrl-C: the table is about the records so far, no file was written.", style="yellow")
        raise typer.Exit(STOPPED)
    if out is not None:
        _write(out, rows, about={"unit": counter.unit, "tokenizer": str(tokenizer or ""), "down": down, "limit": limit})


def _measure(measured: "Ceiling", opened: dict[str, Sequence["Record"]], *, limit: int) -> bool:
    """Feed all records; False when Ctrl-C ended it after the first ones."""
    from mvplm.data.labelled_masks import labelled_masks
    from mvplm.measuring.sets import progress_bar

    steps = [
        (name, place) for name, records in opened.items() for place in range(min(limit or len(records), len(records)))
    ]
    done = 0
    with progress_bar(len(steps), "records") as advance:
        try:
            for done, (name, place) in enumerate(steps):
                advance(done)
                for group in labelled_masks(opened[name][place]):
                    measured.update(group.masks, group.labels, dataset=name)
        except KeyboardInterrupt:
            if not done:
                raise
            return False
    return True


def _print(rows: Sequence["CeilingRow"], *, unit: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from mvplm.textmask.ceiling import SIZES, cheapest

    console = Console()
    for dataset in dict.fromkeys(row.dataset for row in rows):
        mine = [row for row in rows if row.dataset == dataset]
        table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), title=f"{dataset}: overlap in %, length in {unit}")
        for column in (*_COLUMNS, *(["longer"] if mine[0].too_long is not None else [])):
            table.add_column(column, no_wrap=True, justify="left" if column in _COLUMNS[:2] else "right")
        for size in SIZES:
            for row in mine:
                if row.size == size:
                    table.add_row(*_cells(row))
            table.add_section()
        console.print(table)
        best = cheapest([row for row in mine if row.size == SIZES[0]])
        if best is not None:
            console.print(
                f"Cheapest within 1 point of the best mean IoU: {best.profile} "
                f"({100 * best.mean_iou:.1f} %, {best.mean_length:.1f} {unit})",
                highlight=False,
            )


def _cells(row: "CeilingRow") -> list[str]:
    shares = [100 * value for value in (row.mean_iou, row.ciou, row.precise, row.vanished)]
    lengths = [f"{row.mean_length:.1f}", f"{row.length_95:.0f}", str(row.longest)]
    too_long = [] if row.too_long is None else [f"{100 * row.too_long:.1f}"]
    return [row.size, row.profile, str(row.count), *(f"{value:.1f}" for value in shares), *lengths, *too_long]


def _write(folder: Path, rows: Sequence["CeilingRow"], *, about: dict[str, Any]) -> None:
    from mvplm.visualize import trade_chart

    folder.mkdir(parents=True, exist_ok=True)
    content = {**about, "rows": [row.to_dict() for row in rows]}
    file = folder / "ceiling.json"
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    panels: dict[str, dict[str, tuple[float, float]]] = {}
    several = len({row.dataset for row in rows}) > 1
    for row in rows:
        panel = f"{row.dataset}, box {row.size}" if several else f"box {row.size}"
        panels.setdefault(panel, {})[row.profile] = (row.mean_length, 100 * row.mean_iou)
    plot = trade_chart(folder / "ceiling.png", panels, labels=(f"mean {about['unit']}", "mean IoU (%)"))
    say(f"Written: {file}, {plot}", style="green")


COMMANDS = {
    "ceiling": (
        ceiling,
        "mvplm textmask ceiling --dataset coco_mini/val --root datasets --profiles isd16,crop64,canvas32 --out outputs",
    ),
    "show": (show, "mvplm textmask show coco_mini/val --root datasets --profile crop64 --out shown.png"),
}
