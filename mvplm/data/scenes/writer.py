"""Writing scenes to disk in COCO formats: instances, panoptic maps, captions, referring expressions."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.data.scenes import world
from mvplm.data.scenes.dataset import SceneDataset, segment_map
from mvplm.structures import Annotation, BoxFormat, Record, convert_boxes
from mvplm.structures.masks import mask_area

ANNOTATION_FOLDER = "annotations"


def _box_xywh(annotation: Annotation) -> list[float]:
    import torch

    box = torch.tensor(annotation.box)
    return convert_boxes(box, BoxFormat.XYXY_ABS, target=BoxFormat.XYWH_ABS).tolist()


@dataclass
class _Tables:
    """Contents of the files being written."""

    images: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
    panoptic: list[dict[str, Any]] = field(default_factory=list)
    captions: list[dict[str, Any]] = field(default_factory=list)
    refs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, record: Record, *, file_name: str, split: str, names: list[str]) -> None:
        """Append one record; ids in files begin at 1."""
        image_id = int(record.image_id) + 1
        height, width = record.size
        self.images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        segments = []
        for place, annotation in enumerate(record.annotations):
            common = {"category_id": int(annotation.label or 0) + 1, "iscrowd": 0, "bbox": _box_xywh(annotation)}
            common["area"] = mask_area(annotation.segmentation or [], record.size)
            # Regions that things cover completely have no annotation, so the value in the map comes from the id.
            value = int(annotation.id or 0) % 100 + 1 + (int(record.image_id) % 256) * 256
            segments.append({"id": value, **common})
            if annotation.isthing:
                extra = {"phrase": annotation.phrase, "name": names[place], "segmentation": annotation.segmentation}
                self.instances.append({"id": image_id * 100 + place, "image_id": image_id, **common, **extra})
        self.panoptic.append({"image_id": image_id, "file_name": file_name, "segments_info": segments})
        for place, caption in enumerate(record.captions):
            self.captions.append({"id": image_id * 10 + place, "image_id": image_id, "caption": caption})
        for place, expression in enumerate(record.expressions):
            self.refs.append(
                {
                    "ref_id": image_id * 10 + place,
                    "image": f"images/{split}/{file_name}",
                    "image_id": image_id,
                    "height": height,
                    "width": width,
                    "expression": expression.text,
                    "boxes": [list(record.annotations[target].box) for target in expression.targets],
                    "ann_ids": [image_id * 100 + target for target in expression.targets],
                    "no_target": not expression.targets,
                    "kind": expression.kind,
                }
            )


def write_coco(out: str | Path, *, num: int, seed: int = 0, split: str = "val") -> Path:
    """Write scenes as files and show the progress.

    The folder gets ``images/{split}/*.png``, ``panoptic_{split}/*.png`` (id = R + 256 G + 65536 B),
    ``annotations/{instances,panoptic,captions}_{split}.json`` in COCO's formats (instances also carry ``phrase`` and
    ``name``), and ``refs_{split}.json``: a list of {ref_id, image, image_id, height, width, expression, boxes (XYXY
    pixels), ann_ids, no_target, kind}.

    Args:
        out: folder, made when missing; files of the same names are replaced.
        num: number of scenes. seed, split: as for ``SceneDataset``.

    Returns:
        the folder.

    Raises:
        ValueError: unknown split, or a number that is not positive.
    """
    from PIL import Image
    from rich.progress import track

    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}")
    dataset = SceneDataset(split, num=num, seed=seed, role="all")
    folder = Path(out)
    pictures, maps, notes = folder / "images" / split, folder / f"panoptic_{split}", folder / ANNOTATION_FOLDER
    for path in (pictures, maps, notes):
        path.mkdir(parents=True, exist_ok=True)
    tables = _Tables()
    for index in track(range(num), description=f"Drawing scenes ({split})"):
        record, layout = dataset[index], dataset.layout(index)
        name = f"{index + 1:012d}.png"
        Image.fromarray(record.image).save(pictures / name)
        segments = segment_map(layout).astype(np.uint32) + 1 + (index % 256) * 256
        channels = np.stack([segments & 255, segments >> 8 & 255, segments >> 16], -1)
        Image.fromarray(channels.astype(np.uint8)).save(maps / name)
        tables.add(record, file_name=name, split=split, names=[thing.look.name for thing in layout.things])
    _write_tables(folder, tables, split=split, seed=seed)
    return folder


def _write_tables(folder: Path, tables: _Tables, *, split: str, seed: int) -> None:
    vocabulary = world.SHAPE_VOCABULARY
    categories = [
        {"id": place + 1, "name": name, "supercategory": "thing" if isthing else "stuff", "isthing": int(isthing)}
        for place, (name, isthing) in enumerate(zip(vocabulary.names, vocabulary.isthing, strict=True))
    ]
    info = {
        "description": f"scenes {split}",
        "version": world.WORLD_VERSION,
        "world_hash": world.world_hash(),
        "seed": seed,
    }
    head = {"info": info, "licenses": [], "images": tables.images}
    things = [category for category in categories if category["isthing"]]
    notes = folder / ANNOTATION_FOLDER
    _dump(notes / f"instances_{split}.json", {**head, "annotations": tables.instances, "categories": things})
    _dump(notes / f"panoptic_{split}.json", {**head, "annotations": tables.panoptic, "categories": categories})
    _dump(notes / f"captions_{split}.json", {**head, "annotations": tables.captions})
    _dump(folder / f"refs_{split}.json", tables.refs)


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
