"""The shipped model with a mask decoder turns boxes that it is given into masks."""

import torch

import mvplm
from mvplm.data.scenes import SceneDataset
from mvplm.structures.masks import decode_mask

NAME = "qwen3vl-seg-tiny-scenes"


def test_masks_of_true_boxes_are_better_than_the_boxes():
    perceiver = mvplm.load(NAME, device="cpu")
    masked, boxed = [], []
    for record in SceneDataset("val", num=4, seed=7, role="referring"):
        things = [thing for thing in record.annotations if thing.segmentation is not None][:3]
        answer = perceiver.predict(record.image, text="a thing", boxes=[list(thing.box) for thing in things])
        assert answer.instances is not None and len(answer.instances) == len(things)
        for thing, found in zip(things, answer.instances.masks, strict=True):
            true = torch.from_numpy(decode_mask(thing.segmentation, record.size)).bool()
            box = torch.zeros_like(true)
            left, top, right, bottom = (round(edge) for edge in thing.box)
            box[top:bottom, left:right] = True
            masked.append(float((found & true).sum() / (found | true).sum()))
            boxed.append(float((box & true).sum() / (box | true).sum()))
    mean = sum(masked) / len(masked)
    assert mean > 0.7 and mean > sum(boxed) / len(boxed) + 0.1
