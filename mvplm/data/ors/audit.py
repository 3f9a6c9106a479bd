"""A page to look at: what was accepted with its texts, and what the verifier refused."""

import hashlib
import heapq
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from mvplm.data.journal import read_lines
from mvplm.data.ors.shards import Source, open_shards
from mvplm.data.ors.texts import plain_text
from mvplm.data.ors.work import overlay
from mvplm.structures.masks import decode_mask
from mvplm.visualize.page import Card, write_page

_SIDE = 480


def write_audit(out: str | Path, inputs: Sequence[str | Path], *, cards: int = 48) -> Path:
    """Write ``OUT/audit.html``: samples of both kinds and refused objects, a third each, chosen by a hash.

    Args:
        out: folder of a build. inputs: its shards. cards: pictures at most.

    Returns:
        The page.

    Raises:
        FileNotFoundError: no build in the folder.
    """
    out = Path(out)
    if not (out / "summary.json").is_file():
        raise FileNotFoundError(f"{out} holds no build: summary.json is not there (mvplm data build-ors writes it)")
    sources = {f"{shard.name}/{one.name}": one for shard in open_shards(inputs) for one in shard.sources}
    third = max(1, cards // 3)
    shown: list[dict[str, Any]] = []
    for part in ("cors", "ders"):
        shown += _some(_samples(out / part), third)
    shown += _some(_refused(out), third)
    with tempfile.TemporaryDirectory() as folder:
        drawn = [_card(one, sources[one["source"]], path=Path(folder) / f"{n}.png") for n, one in enumerate(shown)]
        return write_page(
            out / "audit.html",
            "SA1B-ORS: a look at samples and refusals",
            lead=f"{len(drawn)} pictures, chosen by chance; objects are blue as the verifier saw them.",
            cards=drawn,
            closing=(out / "summary.json").read_text(encoding="utf-8"),
        )


def _samples(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl")):
        for sample in read_lines(path):
            labels = ", ".join(sorted({one["label"] for one in sample["instances"]}))
            facts = {"label": labels, "objects": str(len(sample["instances"])), "picture": sample["image"]}
            yield {
                "id": sample["id"],
                "title": plain_text(sample["instruction"]),
                "source": sample["image"].rsplit(".", 1)[0],
                "size": (sample["height"], sample["width"]),
                "objects": [(one["bbox"], one["mask_rle"]) for one in sample["instances"]],
                "facts": {"kind": sample["kind"], **facts, "caption": sample.get("caption", "-")},
            }


def _refused(out: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(out.glob("steps/*-verify-*/*.jsonl")):
        for line in read_lines(path):
            for number, one in enumerate(line["rejects"]):
                yield {
                    "id": f"{line['name']}-{number}",
                    "title": f"refused: {one['reason']}",
                    "source": f"{path.stem}/{line['name']}",
                    "size": (line["image"]["height"], line["image"]["width"]),
                    "objects": [(one["box"], one["mask"])],
                    "facts": {"label": one["label"], "told": one["told"] or "-", "picture": line["image"]["file"]},
                }


def _some(entries: Iterable[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Those with the smallest hashes: the same in every run, and all over the shards."""
    return heapq.nsmallest(most, entries, key=lambda one: hashlib.sha256(one["id"].encode()).digest())


def _card(entry: Mapping[str, Any], source: Source, *, path: Path) -> Card:
    pixels = source.image()
    for _, code in entry["objects"]:
        pixels = overlay(pixels, decode_mask(code, entry["size"]))
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    for (x1, y1, x2, y2), _ in entry["objects"]:
        pen.rectangle((x1, y1, x2 - 1, y2 - 1), outline=(255, 220, 0), width=max(1, max(picture.size) // 300))
    picture.thumbnail((_SIDE, _SIDE))
    picture.save(path)
    return Card(entry["title"], path, facts=entry["facts"])
