"""``mvplm textmask show``: a mask, its text, and the mask that comes back, side by side."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvplm.cli.guard import say

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from mvplm.data.labelled_masks import LabelledMasks
    from mvplm.structures import Record
    from mvplm.textmask.profiles import LengthCounter, Profile

_PICTURES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")


def show(
    source: Annotated[
        str,
        typer.Argument(
            help="Name in the catalog, a COCO folder, or a picture of a mask (all that is not black).",
            show_default=False,
        ),
    ],
    options: Annotated[
        list[str] | None,
        typer.Argument(help="Options of the data set: key=value.", metavar="key=value", show_default=False),
    ] = None,
    *,
    root: Annotated[
        Path | None, typer.Option(help="Folder of data sets; default: MVPLM_DATASETS, else ./datasets.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Codec and cells a side: isd16, crop64, canvas32 ...")] = "crop64",
    label: Annotated[str, typer.Option(help="What the mask of a picture shows.")] = "object",
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of a tokenizer; without one runs and row breaks are counted.")
    ] = None,
    number: Annotated[int, typer.Option(min=1, help="How many masks.")] = 3,
    start: Annotated[int, typer.Option(min=0, help="The first record.")] = 0,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("shown.png"),
) -> None:
    """Print masks as text, and draw them: the mask, its text, and what is read back from it."""
    from mvplm.data.options import parse_options
    from mvplm.textmask.profiles import LengthCounter, load_tokenizer, profile_of

    chosen = profile_of(profile)
    counter = LengthCounter(None if tokenizer is None else load_tokenizer(tokenizer))
    if Path(source).suffix.lower() in _PICTURES:
        found: Iterator[Any] = iter([_of_picture(Path(source), label)])
    else:
        found = _of_records(open_source(source, parse_options(options or []), root=root), start)
    rows = [_shown(picture, group, profile=chosen, counter=counter) for picture, group in islice(found, number)]
    if not rows:
        raise ValueError(f"no object with a mask in {source} from record {start} on")
    out.parent.mkdir(parents=True, exist_ok=True)
    _below_each_other(rows).save(out)
    say(f"Written: {out}", style="green")


def open_source(name: str, options: dict[str, Any], *, root: Path | None) -> Sequence["Record"]:
    """Records of a name in the catalog, or of a COCO folder."""
    from mvplm.data.catalog import get_dataset

    if Path(name).is_dir():
        return get_dataset("coco_folder", root=name, **options)
    return get_dataset(name, root=root, **options)


def _of_picture(path: Path, label: str) -> tuple["np.ndarray", "LabelledMasks"]:
    from mvplm.data.images import load_image
    from mvplm.data.labelled_masks import LabelledMasks

    pixels = load_image(path)
    mask = pixels.any(2)
    if not mask.any():
        raise ValueError(f"{path} is black: a mask is what is not black")
    return pixels, LabelledMasks(mask[None], (label,))


def _of_records(records: Sequence["Record"], start: int) -> Iterator[tuple["np.ndarray", "LabelledMasks"]]:
    from mvplm.data.images import load_image
    from mvplm.data.labelled_masks import labelled_masks

    if start >= len(records):
        raise ValueError(f"start must be in 0..{len(records) - 1}, got {start}")
    for place in range(start, len(records)):
        for group in labelled_masks(records[place]):
            yield load_image(records[place].image), group


def _shown(pixels: "np.ndarray", group: "LabelledMasks", *, profile: "Profile", counter: "LengthCounter") -> "Image":
    """Prints the answer and draws the row of one question."""
    from mvplm.textmask.codecs import visible
    from mvplm.visualize import masks_over, side_by_side, text_panel

    codec, kept = profile.codec, visible(group.masks, profile.codec)
    if not kept.any():
        raise ValueError(f"nothing of {', '.join(group.labels)} is left on the grid of {profile.name}")
    labels = [label for label, seen in zip(group.labels, kept, strict=True) if seen]
    text = codec.encode(group.masks[kept], labels)
    back = codec.decode(text, group.masks.shape[1:])
    union = group.masks.any(0)
    overlap = 100 * (back.union & union).sum() / (back.union | union).sum()
    length = f"{counter(codec, group.masks[kept], labels=labels)} {counter.unit}"
    named = ", ".join(dict.fromkeys(labels))
    typer.echo(f"# {named}: {profile.name}, {length}, IoU {overlap:.1f} %\n{text}\n")
    pictures = [masks_over(pixels, group.masks), text_panel(text), masks_over(pixels, back.masks)]
    return side_by_side(pictures, [named, f"{profile.name}: {length}", f"read back: IoU {overlap:.1f} %"])


def _below_each_other(rows: Sequence["Image"]) -> "Image":
    from PIL import Image

    out = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), (255, 255, 255))
    top = 0
    for row in rows:
        out.paste(row, (0, top))
        top += row.height
    return out
