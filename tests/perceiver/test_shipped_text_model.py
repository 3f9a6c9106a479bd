"""The shipped model that writes masks as text looks at the picture it is asked about."""

import pytest
import torch
from torchvision.ops import box_iou

import mvplm
from mvplm import Perceiver
from mvplm.data.scenes import SceneDataset

NAME = "text4seg-tiny-scenes"


@pytest.fixture(scope="module")
def perceiver() -> Perceiver:
    return mvplm.load(NAME, device="cpu")


def test_it_finds_what_it_is_asked_for_more_often_than_chance(perceiver: Perceiver):
    records = list(SceneDataset("val", num=16, seed=7, role="referring"))
    found, true = [], []
    for record in records:
        asked = next((e for e in record.expressions if len(e.targets) == 1), None)
        if asked is None:
            continue
        answer = perceiver.predict(record.image, text=asked.text)
        assert answer.written is not None and answer.written.status in ("ok", "no_target")
        boxes = torch.zeros(1, 4) if answer.instances is None or not len(answer.instances) else answer.instances.boxes
        found.append(boxes[0])
        true.append(torch.tensor(record.annotations[asked.targets[0]].box))
    overlaps = box_iou(torch.stack(found).float(), torch.stack(true).float())
    own = float(overlaps.diagonal().mean())
    others = float((overlaps.sum() - overlaps.diagonal().sum()) / (overlaps.numel() - len(found)))
    assert own > 2.5 * others and own > 0.15


def test_it_answers_lists_of_words_with_masks(perceiver: Perceiver):
    record = SceneDataset("val", num=1, seed=7)[0]
    answer = perceiver.predict(record.image, classes=["star", "ring", "circle"], task="instance")
    assert answer.written is not None and answer.written.status in ("ok", "no_target")
    assert answer.instances is not None and answer.instances.masks.shape[1:] == record.size
    assert set(answer.instances.labels) <= {"star", "ring", "circle"}
