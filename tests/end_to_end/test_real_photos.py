"""Training and evaluation on real COCO photos, a grayscale one among them; skipped where they are not at hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from oracles.tiny import build_tiny, tiny_config, tiny_tokenizer
from oracles.truth_teller import TruthTeller
from PIL import Image

from mvplm.build_training import build_criterion, build_mixture, build_weights
from mvplm.data.catalog import get_dataset, register_dataset, unregister_dataset
from mvplm.engine.step import TrainingStep
from mvplm.perceiver import Perceiver
from mvplm.runs import evaluate_perceiver
from mvplm.structures import Record

TRAINED = {"panoptic": "photos/train", "detection": "photos/train_boxes", "caption": "photos/train_texts"}


def is_gray(record: Record) -> bool:
    with Image.open(record.image) as picture:
        return picture.mode == "L"


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> dict[str, list[Record]]:
    """Two photos for each use, the first grayscale where the split has one with that annotation."""
    if not (shared_data / "coco_mini").is_dir():
        pytest.skip(f"no real photos: {shared_data / 'coco_mini'} is absent")

    def two(name: str, **options: str) -> list[Record]:
        dataset = get_dataset(name, root=shared_data, **options)
        usable = [record for record in dataset if record.annotations or options.get("role") == "caption"]
        gray = next((record for record in usable if is_gray(record)), usable[0])
        return [gray, next(record for record in usable if record.image_id != gray.image_id)]

    refs = get_dataset("coco_mini/refs", root=shared_data)
    single = next(r for r in refs if any(len(e.targets) == 1 for e in r.expressions) and r.annotations[0].segmentation)
    nothing = next(r for r in refs if any(not e.targets for e in r.expressions))
    found = {
        "photos/train": two("coco_mini/train"),
        "photos/train_boxes": two("coco_mini/train", role="detection"),
        "photos/train_texts": two("coco_mini/train", role="caption"),
        "photos/val": two("coco_mini/val"),
        "photos/refs": [single, nothing],
    }
    assert is_gray(found["photos/train_boxes"][0]) and is_gray(found["photos/val"][0])
    return found


@pytest.fixture(scope="module")
def catalog(photos: dict[str, list[Record]]) -> Iterator[None]:
    """The photos as datasets of the catalog."""
    for name, records in photos.items():
        register_dataset(name, lambda root, records=records: records)
    yield
    for name in photos:
        unregister_dataset(name)


@pytest.mark.parametrize("task", TRAINED)
def test_a_training_step(catalog: None, task: str):
    config = tiny_config(
        f"data.sources.photos={{dataset: {TRAINED[task]}, task: {task}, batch_size: 2}}",
        "names={full_limit: 10, sizes: [12, 16]}",
    )
    model = build_tiny(2).model.train()
    _, batch = next(build_mixture(config, tiny_tokenizer()).batches(0))
    losses = TrainingStep(model, build_criterion(config), precision="fp32")(batch)
    total = build_weights(config).total(losses)
    total.backward()
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(batch) == 2 and bool(torch.isfinite(total)) and bool(batch.max_targets) == (task != "caption")
    assert grads and all(bool(torch.isfinite(grad).all()) for grad in grads)


SETS = (
    "eval.sets.panoptic={dataset: photos/val, task: panoptic}",
    "eval.sets.instance={dataset: photos/val, task: instance}",
    "eval.sets.referring={dataset: photos/refs, task: gres}",
)


def test_every_metric_is_computed(catalog: None):
    config = tiny_config(*SETS, "infer.mode=skip")
    metrics = evaluate_perceiver(build_tiny(2, "infer.mode=skip"), config)
    words, sentences = {"panoptic", "semantic", "detection"}, {"referring", "rec", "rec_from_mask", "grec"}
    assert {name.split("/")[0] for name in metrics} == words | sentences
    assert all(0 <= value <= 100 for value in metrics.values())


def test_the_truth_scores_100_on_photos(catalog: None, perceiver: Perceiver):
    metrics = evaluate_perceiver(TruthTeller(perceiver), tiny_config(*SETS))
    # One find, or ten, per picture and class do not reach all of them.
    assert {name.rpartition("_")[2] for name, value in metrics.items() if value != pytest.approx(100)} <= {
        "AR1",
        "AR10",
    }


def test_the_grayscale_photo_is_answered_at_its_own_size(photos: dict[str, list[Record]], perceiver: Perceiver):
    pair = photos["photos/val"]
    files = [record.image for record in pair]
    answers = perceiver.predict(files, classes=["person", "sky"], task="semantic", mode="skip")
    assert [tuple(answer.semantic.class_map.shape) for answer in answers] == [record.size for record in pair]
