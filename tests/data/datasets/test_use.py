"""Records of the public sets are what samples and evaluators want."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import dataset_trees as trees

from mvplm.data.catalog import get_dataset
from mvplm.data.datasets.category_tables import category_table
from mvplm.data.mapper import SampleMapper
from mvplm.data.unify.settings import NameSampling
from mvplm.data.unify.words import word_candidates
from mvplm.data.views import pictures, prepared
from mvplm.evaluation.evaluators import DetectionEvaluator, SemanticEvaluator, make_evaluator
from mvplm.evaluation.truth import scored_classes, true_objects, true_semantic
from mvplm.structures import Instances, Perception, SemanticMap

COCO = [dict(row) for row in category_table("coco_panoptic_133")]
GROWN = {
    "coco_2017_val": lambda root: trees.coco_tree(root, COCO),
    "coco_2017_val_panoptic": lambda root: trees.coco_tree(root, COCO),
    "ade20k_sem_seg_val": trees.ade_release,
    "cityscapes_fine_sem_seg_val": trees.cityscapes_release,
    "openvocab_pascal20_sem_seg_val": trees.voc_tree,
    "lvis_v1_val": trees.lvis_tree,
}
TASKS = {"coco_2017_val": "instance", "coco_2017_val_panoptic": "panoptic", "lvis_v1_val": "instance"}


@pytest.mark.parametrize("name", GROWN)
@pytest.mark.parametrize("training", [True, False])
def test_samples(tmp_path, small_tokenizer, name, training):
    GROWN[name](tmp_path)
    record = prepared(get_dataset(name, root=tmp_path))[0]
    mapper = SampleMapper(
        small_tokenizer,
        image_size=32,
        num_image_tokens=4,
        task=TASKS.get(name, "semantic"),
        training=training,
        max_length=4096,
    )
    sample = mapper(record)
    wanted = [record.vocabulary.names[a.label] for a in record.annotations if not a.iscrowd]
    assert sample.image.shape == (3, 16, 32) and sample.original_size == (10, 20)
    assert sorted(sample.names[label] for label in sample.target.labels.tolist()) == sorted(wanted)
    assert sample.target.masks.flatten(1).any(1).all()
    assert "road, route" not in sample.names


def answer(record, class_map: np.ndarray) -> dict[str, Perception]:
    size, names = record.size, record.vocabulary.names
    return {
        "semantic": Perception(size, "semantic", list(names), semantic=SemanticMap(torch.from_numpy(class_map), names))
    }


def test_void_is_not_scored(tmp_path):
    trees.ade_release(tmp_path)
    (record,) = get_dataset("ade20k_sem_seg_val", root=tmp_path)
    truth = true_semantic(record)
    assert (truth[9] == -1).all() and (truth[:9] >= 0).all()
    evaluator = SemanticEvaluator(record.vocabulary)
    evaluator.update(record, answer(record, np.where(truth < 0, 3, truth)))
    assert evaluator.compute()["semantic/mIoU"] == pytest.approx(100)


def found(record, *rows: tuple[str, tuple[float, ...], float]) -> dict[str, Perception]:
    names = record.vocabulary.names
    instances = Instances(
        torch.tensor([row[1] for row in rows], dtype=torch.float32),
        torch.tensor([row[2] for row in rows]),
        [row[0] for row in rows],
        torch.tensor([names.index(row[0]) for row in rows]),
        None,
    )
    return {"detection": Perception(record.size, "detection", list(names), instances)}


def test_lvis_judges_only_what_it_knows(tmp_path):
    """Finds of a class nobody looked for, and further ones of a class not marked completely, are neither right nor
    wrong; finds of an absent class are wrong."""
    trees.lvis_tree(tmp_path)
    (record,) = get_dataset("lvis_v1_val", root=tmp_path, role="detection")
    assert scored_classes(record) == {0, 1, 2, 3} and len(true_objects(record)) == 3
    right = [("aerosol can", (1, 1, 4, 3), 0.5), ("bow (weapon)", (12, 1, 18, 5), 0.5)]
    more = [("bow (weapon)", (2, 5, 8, 9), 0.9), ("tag", (2, 5, 8, 9), 0.9)]
    wrong = [("aerosol can", (10, 6, 14, 9), 0.9)]
    scores = {}
    for name, rows in {"right": right, "more": right + more, "wrong": right + wrong}.items():
        evaluator = DetectionEvaluator(record.vocabulary, task="detection")
        evaluator.update(record, found(record, *rows))
        scores[name] = evaluator.compute()["detection/box_AP"]
    assert scores["right"] == scores["more"] == pytest.approx(100) and scores["wrong"] == pytest.approx(75)
    exhaustive = DetectionEvaluator(record.vocabulary, task="detection")
    exhaustive.update(replace(record, exhaustive=True, absent=()), found(record, *right, *more))
    assert exhaustive.compute()["detection/box_AP"] == pytest.approx(100)


def test_lvis_counts_300_finds_a_picture(tmp_path):
    """101 false finds above the right ones: COCO's count of 100 would not see the right ones any more."""
    trees.lvis_tree(tmp_path)
    records = get_dataset("lvis_v1_val", root=tmp_path, role="detection", num=1)
    record = records[0]
    assert records.detection_rules == prepared(records, merged=True).detection_rules
    assert records.detection_rules.max_detections == 300
    rows = [("aerosol can", (10, 6, 14, 9), 0.9)] * 101 + [("aerosol can", (1, 1, 4, 3), 0.5)]
    scores = []
    for rules in (None, records.detection_rules):
        evaluator = make_evaluator("detection", record.vocabulary, rules=rules)
        evaluator.update(record, found(record, *rows))
        scores.append(evaluator.compute()["detection/box_AP"])
    assert scores[0] == 0 < scores[1]


def test_lvis_asks_only_for_names_that_are_surely_absent(tmp_path):
    trees.lvis_tree(tmp_path)
    (record,) = get_dataset("lvis_v1_val", root=tmp_path)
    sampling = NameSampling(full_probability=1.0)
    candidates = word_candidates(record, task="instance", rng=random.Random(0), sampling=sampling, training=True)
    assert [(c.name, len(c.annotations)) for c in candidates] == [
        ("aerosol can", 1),
        ("alcohol", 0),
        ("bow (weapon)", 1),
        ("apple", 0),
    ]
    with pytest.raises(ValueError, match="absent .* outside the vocabulary of 5"):
        replace(record, absent=(5,))


@pytest.mark.parametrize(
    ("name", "collection"),
    [
        ("coco_2017_val", ""),
        ("lvis_v1_val", ""),
        ("ade20k_sem_seg_val", "ade20k:"),
        ("cityscapes_fine_sem_seg_val", "cityscapes:"),
        ("openvocab_pascal20_sem_seg_val", "pascal_voc:"),
    ],
)
def test_pictures_of_other_collections_are_not_taken_for_cocos(tmp_path, name, collection):
    GROWN[name](tmp_path)
    records = get_dataset(name, root=tmp_path, num=1)
    (key,) = pictures(records)
    assert records.image_id(0) == records[0].image_id
    assert key.startswith(collection) if collection else key.isdecimal()
