"""``mvplm data export-msswift``: questions and answers with masks as text, for training with ms-swift."""

from pathlib import Path
from typing import Annotated

import typer

from mvplm.cli.guard import say


def export_msswift(
    name: Annotated[str, typer.Argument(help="Name in the catalog; its records need masks.")],
    options: Annotated[
        list[str] | None,
        typer.Argument(help="Options of the data set: key=value.", metavar="key=value", show_default=False),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)],
    form: Annotated[str, typer.Option(help="Kind of question: refer.general, semantic.all, reason.multi ...")],
    codec: Annotated[str, typer.Option(help="bsd_bricks, canvas, bsd, isd_rrle, isd_irle or isd_full.")] = "bsd_bricks",
    grid: Annotated[int, typer.Option(min=0, help="Cells a side; 0: the codec's own.")] = 0,
    split: Annotated[str, typer.Option(help="Name of the split, written into the records.")] = "train",
) -> None:
    """Write a data set as questions and answers: records.jsonl, msswift.jsonl, new_tokens.txt and launch.sh."""
    from mvplm.data.options import parse_options
    from mvplm.interop.msswift import TOKENS_WARNING
    from mvplm.text4seg.export import export_msswift as write

    given = parse_options(options or [])
    counts = write(name, out, form=form, codec=codec, grid=grid or None, options=given, split=split)
    for what in ("written", "vanished", "left_out"):
        typer.echo(f"{what:9s} {counts[what]}")
    if not codec.startswith("isd_"):
        say(TOKENS_WARNING, style="yellow")
    say(f"Written: {out}", style="green")
