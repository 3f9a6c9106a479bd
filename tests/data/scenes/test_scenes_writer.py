"""Files written from scenes: pycocotools reads them, the PNGs agree with the annotations and the records."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mvplm.data.scenes import SHAPE_VOCABULARY, WORLD_VERSION, SceneDataset, world_hash, write_coco


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("scenes"), num=5, seed=3, split="val")


def test_instances_load_with_pycocotools_and_match_the_records(folder, capsys):
    coco = COCO(str(folder / "annotations" / "instances_val.json"))
    dataset = SceneDataset("val", num=5, seed=3)
    assert len(coco.imgs) == 5 and len(coco.cats) == sum(SHAPE_VOCABULARY.isthing)
    for record in dataset:
        entries = coco.loadAnns(coco.getAnnIds(imgIds=[record.image_id + 1]))
        things = [a for a in record.annotations if a.isthing]
        assert len(entries) == len(things)
        for entry, annotation in zip(entries, things, strict=True):
            mask = coco.annToMask(entry)
            x, y, width, height = entry["bbox"]
            assert (x, y, x + width, y + height) == annotation.box
            assert mask.sum() == entry["area"]
            assert coco.cats[entry["category_id"]]["name"] == SHAPE_VOCABULARY.names[annotation.label]
            assert entry["phrase"] == annotation.phrase


def test_panoptic_pngs_agree_with_the_json(folder):
    panoptic = json.loads((folder / "annotations" / "panoptic_val.json").read_text())
    instances = COCO(str(folder / "annotations" / "instances_val.json"))
    isthing = {category["id"]: category["isthing"] for category in panoptic["categories"]}
    assert panoptic["info"]["version"] == WORLD_VERSION and panoptic["info"]["world_hash"] == world_hash()
    for entry in panoptic["annotations"]:
        pixels = np.asarray(Image.open(folder / "panoptic_val" / entry["file_name"])).astype(int)
        ids = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
        segments = entry["segments_info"]
        assert set(np.unique(ids)) == {segment["id"] for segment in segments}
        masks = [instances.annToMask(a) for a in instances.imgToAnns[entry["image_id"]]]
        for place, segment in enumerate(segments):
            mask = ids == segment["id"]
            rows, columns = np.nonzero(mask)
            assert segment["area"] == mask.sum()
            box = [columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()]
            assert segment["bbox"] == box
            if isthing[segment["category_id"]]:
                assert np.array_equal(masks[place], mask)


def test_images_captions_and_expressions_are_the_records_own(folder):
    captions = json.loads((folder / "annotations" / "captions_val.json").read_text())
    refs = json.loads((folder / "refs_val.json").read_text())
    instances = COCO(str(folder / "annotations" / "instances_val.json"))
    for record in SceneDataset("val", num=5, seed=3):
        image_id = record.image_id + 1
        name = next(image["file_name"] for image in captions["images"] if image["id"] == image_id)
        assert np.array_equal(np.asarray(Image.open(folder / "images" / "val" / name)), record.image)
        written = [a["caption"] for a in captions["annotations"] if a["image_id"] == image_id]
        assert written == list(record.captions)
        mine = [ref for ref in refs if ref["image_id"] == image_id]
        assert [ref["expression"] for ref in mine] == [e.text for e in record.expressions]
        for ref, expression in zip(mine, record.expressions, strict=True):
            assert ref["kind"] == expression.kind and ref["no_target"] == (not expression.targets)
            assert (folder / ref["image"]).is_file()
            corners = [list(record.annotations[target].box) for target in expression.targets]
            assert ref["boxes"] == corners
            for ann_id, (x1, y1, x2, y2) in zip(ref["ann_ids"], corners, strict=True):
                assert instances.anns[ann_id]["bbox"] == [x1, y1, x2 - x1, y2 - y1]


def test_writing_refuses_nonsense(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        write_coco(tmp_path, num=0)
    with pytest.raises(ValueError, match="choices: train, val, heldout"):
        write_coco(tmp_path, num=1, split="test")
