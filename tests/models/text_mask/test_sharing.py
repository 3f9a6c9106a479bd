"""Rows that show one picture: it is encoded once, and nothing else changes."""

import torch
from oracles.small_vlms import Parts, picture, text_mask_parts

from mvplm.data.written import WrittenCollate
from mvplm.models.text_mask.model import answer_loss
from mvplm.models.text_mask.sharing import can_share, share_pictures
from mvplm.structures.written import PICTURE_ROWS, Turn, WrittenBatch, WrittenSample


def batch_of(parts: Parts, samples: list[WrittenSample], *, shares: bool) -> WrittenBatch:
    frame = parts.collate.frame
    return WrittenCollate(parts.processor, parts.model.tokenizer, frame=frame, shares=shares)(samples)


def test_rows_of_one_picture_are_those_of_a_picture_each():
    parts = text_mask_parts("llava")
    model = parts.model.model
    share_pictures(model)
    first, second = picture(32, 32), picture(32, 32, seed=1)
    samples = [
        WrittenSample(image, 0, "refer.general", (Turn(question, (60, 61)),))
        for image, question in ((first, "the ring"), (second, "a red star"), (first, "the star left of the ring"))
    ]
    whole, shared = (batch_of(parts, samples, shares=shares) for shares in (False, True))
    assert PICTURE_ROWS not in whole.inputs and shared.inputs[PICTURE_ROWS].tolist() == [0, 1, 0]
    assert len(whole.inputs["pixel_values"]) == 3 and len(shared.inputs["pixel_values"]) == 2
    seen = []
    model.model.vision_tower.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    losses = []
    for batch in (whole, shared):
        model.zero_grad()
        loss = answer_loss(model, batch.to("cpu"))
        loss.backward()
        losses.append((loss.detach(), model.model.multi_modal_projector.linear_1.weight.grad.clone()))
    assert seen == [3, 2]
    for one, other in zip(*losses, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_pictures_of_their_own_and_other_families_stay_as_they_are():
    parts = text_mask_parts("llava")
    samples = [
        WrittenSample(picture(32, 32, seed=i), i, "refer.general", (Turn("the ring", (60, 61)),)) for i in range(2)
    ]
    assert PICTURE_ROWS not in batch_of(parts, samples, shares=True).inputs
    assert can_share(parts.model.model) and not can_share(text_mask_parts("qwen3_vl").model.model)
