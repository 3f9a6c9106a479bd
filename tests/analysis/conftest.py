"""A small COCO folder, and files of predictions for it: the truth itself, and the truth with planted faults."""

import json

import numpy as np
import pytest

from mvplm.data.catalog import get_dataset
from mvplm.data.coco_writer import write_coco_folder
from mvplm.data.panoptic_files import PanopticAnswer, PanopticWriter
from mvplm.evaluation.truth import true_panoptic
from mvplm.structures import Annotation, Record, Vocabulary
from mvplm.structures.masks import encode_mask

NAMES = Vocabulary(("dog", "cat", "<script>", "sky"), (True, True, True, False), (11, 12, 13, 14))
SIZE = (60, 80)
IMAGES = 6
BOXES = {"dog": (2, 2, 22, 22), "cat": (40, 5, 75, 50), "<script>": (5, 30, 30, 55)}


def rectangle(box):
    mask = np.zeros(SIZE, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def record(image_id):
    """A dog, a cat and a <script> before the sky."""
    masks = [rectangle(box) for box in BOXES.values()]
    masks.append(~np.any(masks, axis=0))
    boxes = [*BOXES.values(), (0, 0, SIZE[1], SIZE[0])]
    annotations = [
        Annotation(
            tuple(map(float, box)), place, encode_mask(mask), isthing=NAMES.isthing[place], id=image_id * 10 + place
        )
        for place, (box, mask) in enumerate(zip(boxes, masks, strict=True))
    ]
    picture = np.full((*SIZE, 3), 40 * image_id % 250, np.uint8)
    return Record(image_id, picture, SIZE, vocabulary=NAMES, annotations=tuple(annotations))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The data."""
    path = tmp_path_factory.mktemp("data") / "coco"
    return write_coco_folder([record(1 + number) for number in range(IMAGES)], path, split="val", panoptic=True)


@pytest.fixture(scope="session")
def panoptic_records(folder):
    return get_dataset("coco_folder", root=str(folder), split="val", role="panoptic")[:]


def write_maps(path, records, change=lambda image_id, name: name):
    """Panoptic answers: the truth, but with the names that ``change`` gives."""
    vocabulary = records[0].vocabulary
    ids = dict(zip(vocabulary.names, vocabulary.dataset_ids, strict=True))
    categories = [{"id": ids[name], "name": name, "isthing": 1} for name in ids]
    with PanopticWriter(path, categories) as writer:
        for entry in records:
            truth = true_panoptic(entry)
            segments = [
                {"id": s["id"], "category_id": ids[change(entry.image_id, vocabulary.names[s["category_id"]])]}
                for s in truth.segments
            ]
            writer.add(entry.image_id, PanopticAnswer(truth.segment_map, segments))
    return path


def write_finds(path, records, change=lambda image_id, name: (name, 0.9)):
    """COCO results: the true things with the name and the score that ``change`` gives; None leaves one out."""
    vocabulary = records[0].vocabulary
    ids = dict(zip(vocabulary.names, vocabulary.dataset_ids, strict=True))
    found = []
    for entry in records:
        for thing in (a for a in entry.annotations if a.isthing):
            if (told := change(entry.image_id, vocabulary.names[thing.label])) is not None:
                x1, y1, x2, y2 = thing.box
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": thing.segmentation}
                found.append({"image_id": entry.image_id, "category_id": ids[told[0]], "score": told[1], **box})
    path.write_text(json.dumps(found))
    return path
