"""Any set, written as a COCO folder and read again, is the same."""

from dataclasses import replace

import numpy as np
import pytest
from oracles import dataset_trees as trees

from mvplm.data.catalog import get_dataset
from mvplm.data.check import check_dataset
from mvplm.data.coco_writer import write_coco_folder
from mvplm.data.datasets.category_tables import category_table
from mvplm.structures.masks import decode_mask

COCO = [dict(row) for row in category_table("coco_panoptic_133")]


def told(record, *, ids: bool) -> list[tuple]:
    """Everything of the annotations, masks as pixels."""
    names = record.vocabulary.names
    return [
        (
            names[a.label],
            a.box,
            a.isthing,
            a.iscrowd,
            a.id if ids else None,
            None if a.segmentation is None else decode_mask(a.segmentation, record.size).tobytes(),
        )
        for a in record.annotations
    ]


def there_and_back(records, folder, *, role: str, panoptic: bool = False):
    write_coco_folder(records, folder, split="a", panoptic=panoptic)
    assert check_dataset("coco_folder", root=folder, split="a").ok
    again = get_dataset("coco_folder", root=folder, split="a", role=role, clean_names=False)
    assert len(again) == len(records)
    for old, new in zip(records, again, strict=True):
        assert (new.image_id, new.size, new.captions) == (old.image_id, old.size, old.captions)
        assert told(new, ids=panoptic) == told(old, ids=panoptic)
    return again


def test_instances_of_coco(tmp_path):
    trees.coco_tree(tmp_path, COCO)
    again = there_and_back(get_dataset("coco_2017_val", root=tmp_path), tmp_path / "out", role="instance")
    assert again[0].annotations[0].segmentation == trees.POLYGON
    assert again[0].annotations[2].segmentation == trees.runs(trees.PEOPLE)


def test_panoptic_maps_of_coco(tmp_path):
    trees.coco_tree(tmp_path, COCO)
    records = get_dataset("coco_2017_val_panoptic", root=tmp_path)
    assert there_and_back(records, tmp_path / "out", role="panoptic", panoptic=True).vocabulary == records.vocabulary


def test_class_maps_and_boxes(tmp_path):
    trees.cityscapes_release(tmp_path)
    cityscapes = get_dataset("cityscapes_fine_sem_seg_val", root=tmp_path)
    there_and_back(cityscapes, tmp_path / "city", role="panoptic", panoptic=True)
    trees.odinw_tree(tmp_path / "fish")
    there_and_back(get_dataset("odinw_folder", root=tmp_path / "fish"), tmp_path / "out", role="detection")


def test_scenes_in_memory(tmp_path):
    records = get_dataset("scenes/val", num=2, role="panoptic")
    write_coco_folder(records, tmp_path, split="a", panoptic=True)
    again = get_dataset("coco_folder", root=tmp_path, split="a", role="panoptic")
    assert [told(r, ids=False) for r in again] == [told(r, ids=False) for r in records]


def test_real_photos(shared_data, tmp_path):
    if not (shared_data / "coco_mini").is_dir():
        pytest.skip(f"no real photos: {shared_data / 'coco_mini'} is absent")
    records = get_dataset("coco_mini/val", root=shared_data, num=3)
    there_and_back(records, tmp_path / "maps", role="panoptic", panoptic=True)
    there_and_back(
        get_dataset("coco_mini/train", root=shared_data, role="instance", num=5), tmp_path / "b", role="instance"
    )


def test_what_cannot_be_written(tmp_path, small_record):
    record = small_record(1)
    with pytest.raises(ValueError, match="no record"):
        write_coco_folder([], tmp_path, split="a")
    with pytest.raises(ValueError, match="one list of names"):
        write_coco_folder([replace(record, vocabulary=None)], tmp_path, split="a")
    with pytest.raises(ValueError, match="image 1: masks overlap"):
        write_coco_folder([replace(record, annotations=record.annotations * 2)], tmp_path, split="a", panoptic=True)
    with pytest.raises(ValueError, match="needs masks"):
        write_coco_folder([small_record(1, masks=False)], tmp_path, split="a", panoptic=True)
    write_coco_folder([small_record(1, masks=False)], tmp_path, split="a")
    again = get_dataset("coco_folder", root=tmp_path, split="a", role="instance")
    assert [a.box for a in again[0].annotations] == [(10, 20, 30, 50)]
    assert np.array_equal(np.unique(again[0].size), [60, 80])
