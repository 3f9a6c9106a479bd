"""Box-only data to masks: every box is asked about, the answers become a COCO file.

Work can be stopped at any time: what is done stands in ``FILE.partial``, one line per record, and is not done again.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvplm.perceiver import Perceiver
from mvplm.structures import Annotation, BoxFormat, BoxPrompts, Record, convert_boxes
from mvplm.structures.boxes import box_area, clip_boxes
from mvplm.structures.masks import decode_mask, encode_mask

_LOGGER = logging.getLogger("mvplm")
_ANY_CATEGORY = "object"


@dataclass(frozen=True)
class MaskSummary:
    """What was written: file, number of records, masks made, masks that were there, boxes without area left out."""

    path: Path
    records: int
    made: int
    kept: int
    skipped: int


def boxes_to_masks(
    perceiver: Perceiver,
    dataset: Sequence[Record],
    *,
    out: str | Path,
    source: str = "",
    limit: int = 0,
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
) -> MaskSummary:
    """Give every box of a data set a mask and write a COCO instance file (masks as RLE, scores beside them).

    Masks that are there already, and crowd regions, stay as they are. Names come from the data.

    Args:
        perceiver: the model.
        dataset: records with boxes and one vocabulary, or phrases.
        out: the JSON file; it must not exist.
        source: what the data set is called; a half-done file of another source is refused.
        limit: only the first so many records; 0: all. batch_size: images per forward pass.
        progress: called with the number of records done.

    Raises:
        ValueError: ``out`` exists, or the half-done file belongs to another source.
    """
    out = Path(out)
    if out.exists():
        raise ValueError(f"{out} exists already")
    out.parent.mkdir(parents=True, exist_ok=True)
    total = min(limit, len(dataset)) if limit else len(dataset)
    partial = out.with_name(f"{out.name}.partial")
    done = _open_partial(partial, source)
    waiting = [index for index in range(total) if index not in done]
    with partial.open("a", encoding="utf-8") as file:
        for start in range(0, len(waiting), batch_size):
            if progress is not None:
                progress(total - len(waiting) + start)
            chosen = waiting[start : start + batch_size]
            for index, entry in zip(chosen, _entries(perceiver, [dataset[i] for i in chosen]), strict=True):
                file.write(json.dumps({"index": index, **entry}, ensure_ascii=False) + "\n")
            file.flush()
    if progress is not None:
        progress(total)
    summary = _write_coco(partial, out, categories=_categories(dataset, total), total=total)
    partial.unlink()
    return summary


def _entries(perceiver: Perceiver, records: Sequence[Record]) -> Iterator[dict[str, Any]]:
    """One entry per record: its image, its annotations, and how many boxes had no area."""
    kept = [[a for a in record.annotations if _has_area(a, record.size)] for record in records]
    asked = [[a for a in annotations if a.segmentation is None and not a.iscrowd] for annotations in kept]
    places = [place for place, annotations in enumerate(asked) if annotations]
    answers: dict[int, Any] = {}
    if places:
        prompts = [
            BoxPrompts([a.box for a in asked[place]], [_name(a, records[place]) for a in asked[place]])
            for place in places
        ]
        found = perceiver.predict([records[place].image for place in places], boxes=prompts, batch_size=len(places))
        answers = dict(zip(places, found, strict=True))
    for place, record in enumerate(records):
        made = [] if place not in answers else _made(answers[place])
        rows = iter(made)
        annotations = [
            _annotation(a, record, extra=next(rows) if a.segmentation is None and not a.iscrowd else {})
            for a in kept[place]
        ]
        name = f"{record.image_id}.png" if isinstance(record.image, np.ndarray) else Path(record.image).name
        image = {"id": record.image_id, "file_name": name, "height": record.size[0], "width": record.size[1]}
        yield {
            "image": image,
            "annotations": annotations,
            "made": len(made),
            "skipped": len(record.annotations) - len(kept[place]),
        }


def _made(perception: Any) -> list[dict[str, Any]]:
    instances = perception.instances
    return [
        {"segmentation": encode_mask(mask.cpu().numpy()), "area": int(mask.sum()), "score": round(float(score), 4)}
        for mask, score in zip(instances.masks, instances.scores, strict=True)
    ]


def _annotation(annotation: Annotation, record: Record, *, extra: dict[str, Any]) -> dict[str, Any]:
    """A COCO annotation; ``extra`` are mask, area and score that were made."""
    box = torch.tensor([annotation.box], dtype=torch.float32)
    entry: dict[str, Any] = {
        "image_id": record.image_id,
        "category_id": 1,
        "bbox": convert_boxes(box, BoxFormat.XYXY_ABS, target=BoxFormat.XYWH_ABS)[0].tolist(),
        "iscrowd": int(annotation.iscrowd),
    }
    if annotation.label is not None and record.vocabulary is not None:
        entry["category_id"] = record.vocabulary.dataset_ids[annotation.label]
    if annotation.phrase is not None:
        entry["phrase"] = annotation.phrase
    if annotation.segmentation is not None:
        mask = decode_mask(annotation.segmentation, record.size)
        entry |= {"segmentation": encode_mask(mask), "area": int(mask.sum())}
    elif not extra:
        entry["area"] = float(box_area(box)[0])
    return entry | extra


def _name(annotation: Annotation, record: Record) -> str:
    if annotation.phrase is not None:
        return annotation.phrase
    if annotation.label is None or record.vocabulary is None:
        return _ANY_CATEGORY
    return record.vocabulary.names[annotation.label]


def _has_area(annotation: Annotation, size: tuple[int, int]) -> bool:
    return bool(box_area(clip_boxes(torch.tensor([annotation.box], dtype=torch.float32), size))[0] > 0)


def _categories(dataset: Sequence[Record], total: int) -> list[dict[str, Any]]:
    vocabulary = dataset[0].vocabulary if total else None
    if vocabulary is None:
        return [{"id": 1, "name": _ANY_CATEGORY}]
    rows = zip(vocabulary.dataset_ids, vocabulary.names, vocabulary.isthing, strict=True)
    return [{"id": number, "name": name, "isthing": int(isthing)} for number, name, isthing in rows]


def _open_partial(path: Path, source: str) -> set[int]:
    """Records that are done already; a line that a crash cut short is taken away.

    Raises:
        ValueError: the file belongs to another source.
    """
    header = json.dumps({"source": source}, ensure_ascii=False)
    if not path.is_file():
        path.write_text(header + "\n", encoding="utf-8")
        return set()
    lines = path.read_bytes().splitlines(keepends=True)
    if not lines or lines[0].decode("utf-8").strip() != header:
        raise ValueError(f"{path} belongs to another data set or model; remove it to start anew")
    done, whole = set(), len(lines[0])
    for line in lines[1:]:
        if not line.endswith(b"\n"):
            break
        done.add(json.loads(line)["index"])
        whole += len(line)
    os.truncate(path, whole)
    if done:
        _LOGGER.info("%s: %d records are done already", path, len(done))
    return done


def _write_coco(partial: Path, out: Path, *, categories: list[dict[str, Any]], total: int) -> MaskSummary:
    """Put the lines of the first ``total`` records together, in their order, and move the file into place."""
    with partial.open(encoding="utf-8") as file:
        next(file)
        entries = [entry for entry in map(json.loads, file) if entry["index"] < total]
    entries.sort(key=lambda entry: entry["index"])
    annotations = [annotation for entry in entries for annotation in entry["annotations"]]
    annotations = [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)]
    content = {"images": [e["image"] for e in entries], "annotations": annotations, "categories": categories}
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    os.replace(temporary, out)
    made = sum(entry["made"] for entry in entries)
    kept = sum("segmentation" in annotation for annotation in annotations) - made
    return MaskSummary(out, len(entries), made, kept, sum(entry["skipped"] for entry in entries))
