"""``mvplm convert``: weights of other projects as a start for training, or as a whole model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvplm.cli.guard import say

if TYPE_CHECKING:
    from rich.table import Table

    from mvplm.models.convert import LoadSummary

_KINDS = "mask2former-hf, mask2former-d2, openseed, maskdino, mvplm-release, swin-timm or swin-hf"
_SHOWN = 20


def convert(
    source: Annotated[Path, typer.Argument(help="File (.safetensors, .pth, .bin, .pkl) or directory.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings of the result: dotted.key=value.", show_default=False)
    ] = None,
    *,
    kind: Annotated[str, typer.Option("--from", help=f"Where it comes from: {_KINDS}.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Directory to write.", show_default=False)],
    levels: Annotated[int, typer.Option(help="Feature levels to make of Mask2Former's three: 3 or 4.")] = 4,
    feature_order: Annotated[
        str | None, typer.Option(help="Order of Mask DINO's and OpenSeeD's levels: low2high or high2low.")
    ] = None,
    resize_bias: Annotated[
        bool, typer.Option("--resize-bias", help="Resize Swin's tables for another window.")
    ] = False,
    as_init: Annotated[
        bool, typer.Option("--as-init", help="Turn a released model into a start for training.")
    ] = False,
    allow_missing: Annotated[
        list[str] | None, typer.Option(help="Prefix of names that may be missing; may be repeated.", show_default=False)
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Share of a part that may be missing; 0 is strict.")] = 0.0,
) -> None:
    """Convert weights. Nothing in a file is run; what does not fit exactly is refused unless it is allowed.

    Parts of a network become a directory whose partial.yaml goes into _BASE_ of a training configuration; a whole model
    becomes a directory for mvplm.load. conversion.json tells what became of every tensor.
    """
    from mvplm.conversion import convert_checkpoint, options_from
    from mvplm.models.convert import Strictness, read_config

    options = options_from(
        read_config(source if source.is_dir() else source.parent),
        levels=levels,
        feature_order=feature_order,
        allow_bias_resize=resize_bias,
        as_init=as_init,
    )
    strictness = Strictness(allow_missing=tuple(allow_missing or ()), tolerance=tolerance)
    done = convert_checkpoint(kind, source, out=out, options=options, strictness=strictness, overrides=overrides or [])
    print_report(done.summary)
    use = f'mvplm.load("{out}")' if done.whole else f"_BASE_: {out}/partial.yaml in a training configuration"
    say(f"Written: {out}. Use it with {use}", style="green")


def print_report(summary: "LoadSummary") -> None:
    """Print the counts per part, then what is missing and what was left out."""
    from rich.console import Console

    console = Console()
    console.print(report_table(summary))
    listed = {
        "No value in the file": summary.missing,
        "Given a value": tuple(f"{name} = {value}" for name, value in summary.filled.items()),
        "Not used": tuple(f"{name} ({why})" for name, why in summary.unused.items()),
        "Unknown": summary.unexpected,
    }
    for title, names in listed.items():
        if names:
            more = f"\n  ... {len(names) - _SHOWN} more in conversion.json" if len(names) > _SHOWN else ""
            console.print(f"{title} ({len(names)}):\n  " + "\n  ".join(names[:_SHOWN]) + more, markup=False)


def report_table(summary: "LoadSummary") -> "Table":
    """Tensors per part of the network: loaded, of these changed or resized, and missing."""
    from rich.table import Table

    table = Table(title=f"Loaded from {summary.source}")
    table.add_column("part")
    for column in ("loaded", "transformed", "reshaped", "missing"):
        table.add_column(column, justify="right")
    for count in summary.modules():
        numbers = (count.loaded, count.transformed, count.reshaped, count.missing)
        table.add_row(count.module, *map(str, numbers))
    return table


COMMANDS = {"convert": (convert, "mvplm convert --from swin-timm swin_base.safetensors --out weights/swin-b")}
