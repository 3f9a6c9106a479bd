"""Referring expressions for a data set with instance masks, as a referring file (see ``CocoReferring``)."""

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.data.images import load_image
from mvplm.data.journal import write_whole
from mvplm.label.colours import colour_shares, to_hsv
from mvplm.label.phrases import KINDS, Phrase, PhraseSettings, Thing, may_mean, phrases
from mvplm.structures import Record
from mvplm.structures.masks import decode_mask, tight_box


@dataclass(frozen=True)
class RefSettings:
    """What is drawn from all that could be said.

    Attributes:
        per_image: most expressions of a picture. per_thing: of them, most about one object.
        none_share: probability that one more expression of a picture means nothing in it ("the zebra").
        seed: of the draws.
    """

    per_image: int = 6
    per_thing: int = 2
    none_share: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.per_image < 1 or self.per_thing < 1 or not 0 <= self.none_share <= 1:
            raise ValueError("per_image and per_thing must be at least 1, and none_share in [0, 1]")


@dataclass
class RefSummary:
    """Numbers of a referring file: pictures with and without expressions, expressions by kind."""

    images: int = 0
    without: int = 0
    kinds: Counter[str] = field(default_factory=Counter)


def make_refs(
    records: Sequence[Record],
    out: str | Path,
    *,
    settings: RefSettings | None = None,
    clear: PhraseSettings | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> RefSummary:
    """Write the referring file ``out`` for records with masks.

    Paths of pictures in it are relative to the data set's folder, absolute where it has none; ids of annotations stand
    in it when the data set reads them from an instance file.

    Args:
        records: pictures in files, with names and exhaustively annotated objects.
        out: JSON file; replaced as a whole.
        settings, clear: what is drawn, and how clear a thing must be.
        advance: told the number of records done.

    Raises:
        ValueError: the records have no masks, no names, no files, or are not annotated exhaustively.
    """
    chosen, summary = settings or RefSettings(), RefSummary()
    files = getattr(records, "files", None)
    entries: list[dict[str, Any]] = []
    for index in range(len(records)):
        record = records[index]
        _check(record)
        found = _draw(record, chosen, clear=clear or PhraseSettings())
        path = Path(str(record.image))
        shown = path.relative_to(files.root) if files and path.is_relative_to(files.root) else path.resolve()
        for phrase in found:
            entry = _entry(phrase, record, with_ids=bool(files and files.instances))
            entries.append({"ref_id": len(entries) + 1, "image": shown.as_posix(), **entry})
        summary.images += 1
        summary.without += not found
        summary.kinds.update(phrase.kind for phrase in found)
        advance(index + 1)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_whole(Path(out), json.dumps(entries, ensure_ascii=False) + "\n")
    return summary


def measured(record: Record) -> list[Thing]:
    """The countable objects of a record, measured on its picture. Those without a mask are measured by their box."""
    assert record.vocabulary is not None
    hsv, (height, width) = to_hsv(load_image(record.image)), record.size
    scale = (width, height, width, height)
    things = []
    for place, annotation in enumerate(record.annotations):
        if annotation.iscrowd or not annotation.isthing or annotation.label is None:
            continue
        x1, y1, x2, y2 = annotation.box
        box, area, colours = annotation.box, (x2 - x1) * (y2 - y1), None
        if annotation.segmentation is not None:
            mask = decode_mask(annotation.segmentation, record.size)
            tight = tight_box(mask)
            if tight is None:
                continue
            box, area = tuple(tight.tolist()), float(mask.sum())
            colours = None if hsv is None else colour_shares(hsv, mask)
        a, b, c, d = (value / side for value, side in zip(box, scale, strict=True))
        name = record.vocabulary.names[annotation.label].split(",", 1)[0].strip().lower()
        things.append(Thing(place, name, (a, b, c, d), area / (height * width), colours))
    return things


def _check(record: Record) -> None:
    where = f"image {record.image_id}"
    if isinstance(record.image, np.ndarray):
        raise ValueError(f"{where} is not a file; write the pictures first (mvplm data scenes)")
    if record.vocabulary is None or not record.exhaustive:
        raise ValueError(f"{where}: not every object has its name, so nothing said about it would be certain")
    if record.annotations and all(annotation.segmentation is None for annotation in record.annotations):
        raise ValueError(f"{where} has no masks; open the data set with role=instance")


def _draw(record: Record, settings: RefSettings, *, clear: PhraseSettings) -> list[Phrase]:
    """Kinds take turns, so that the common ones do not crowd out the others."""
    assert record.vocabulary is not None
    rng = random.Random(f"{settings.seed}-{record.image_id}")
    crowds = [a for a in record.annotations if a.iscrowd and a.label is not None]
    uncertain = [record.vocabulary.names[a.label].lower() for a in crowds if a.label is not None]
    by_kind: dict[str, list[Phrase]] = {kind: [] for kind in KINDS}
    for phrase in phrases(measured(record), uncertain=uncertain, settings=clear):
        if record.annotations[phrase.place].segmentation is not None:
            by_kind[phrase.kind].append(phrase)
    for found in by_kind.values():
        rng.shuffle(found)
    queue = [
        found[turn]
        for turn in range(max(map(len, by_kind.values())))
        for found in by_kind.values()
        if turn < len(found)
    ]
    chosen: list[Phrase] = []
    said: Counter[int] = Counter()
    for phrase in queue:
        if len(chosen) < settings.per_image and said[phrase.place] < settings.per_thing:
            chosen.append(phrase)
            said[phrase.place] += 1
    absent = _absent(record)
    if absent and rng.random() < settings.none_share:
        chosen.append(Phrase(f"the {rng.choice(absent)}", "none", -1))
    return chosen


def _absent(record: Record) -> list[str]:
    """Names of countable objects that nothing in the picture could be called."""
    assert record.vocabulary is not None
    words = [name.split(",", 1)[0].strip().lower() for name in record.vocabulary.names]
    present = {words[a.label] for a in record.annotations if a.label is not None}
    return [
        word
        for word, isthing in zip(words, record.vocabulary.isthing, strict=True)
        if isthing and not any(may_mean(word, other) or may_mean(other, word) for other in present)
    ]


def _entry(phrase: Phrase, record: Record, *, with_ids: bool) -> Mapping[str, Any]:
    meant = [record.annotations[phrase.place]] if phrase.kind != "none" else []
    return {
        "image_id": record.image_id,
        "height": record.size[0],
        "width": record.size[1],
        "expression": phrase.text,
        "boxes": [list(annotation.box) for annotation in meant],
        "ann_ids": [annotation.id if with_ids else None for annotation in meant],
        "no_target": not meant,
        "kind": phrase.kind,
    }
