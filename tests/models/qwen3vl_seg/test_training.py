"""Training of the whole model: where gradients go, what is trained, and that four pictures can be learned by heart."""

import os

import numpy as np
import pytest
import torch
from oracles.box_perceivers import box_config, tiny_box_perceiver

from mvplm.data.box_questions import BoxQuestionMaker
from mvplm.data.guided_boxes import BoxMix
from mvplm.data.guided_mapper import GuidedCollate, GuidedMapper
from mvplm.engine.optim import parameter_groups
from mvplm.losses.guided import GuidedCriterion, GuidedWeights
from mvplm.qwen3vl_seg.build import BoxMaskSystem
from mvplm.qwen3vl_seg.build_training import guided_optimizer_settings, set_trained, vision_prefix
from mvplm.qwen3vl_seg.runs import load_start
from mvplm.structures import Annotation, Expression, Record, Vocabulary
from mvplm.structures.masks import encode_mask

SIZES = ((96, 128), (128, 96), (64, 160), (100, 90))
REQUEST = "MVPLM_SLOW_TESTS"


def picture(place: int) -> Record:
    """A bright ellipse or rectangle on noise."""
    height, width = SIZES[place]
    rng = np.random.default_rng(place)
    image = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    top, left, tall, wide = height // 4, width // 5, height // 2, width // 2
    inside = (y >= top) & (y < top + tall) & (x >= left) & (x < left + wide)
    if place % 2:
        inside &= ((y - top - tall / 2) / tall) ** 2 + ((x - left - wide / 2) / wide) ** 2 < 0.25
    image[inside] += np.uint8(120)
    rows, columns = inside.any(1).nonzero()[0], inside.any(0).nonzero()[0]
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Record(
        place,
        image,
        (height, width),
        vocabulary=Vocabulary(("thing", "other")),
        annotations=(Annotation(box, label=0, segmentation=encode_mask(inside)),),
        expressions=(Expression("the thing", (0,)), Expression("nothing", ())),
    )


def batch_of(
    system: BoxMaskSystem, *, form: str = "general", expression: int = 0, boxes: BoxMix | None = None, epoch=0
):
    mapper = GuidedMapper(
        BoxQuestionMaker(form, training=False), system.tokenizer, task="gres", boxes=boxes or BoxMix(1, 0, 0)
    )
    samples = [mapper(picture(place), index=place, epoch=epoch, expression=expression) for place in range(4)]
    return GuidedCollate(system.collate(box_config()))(samples)


def losses_of(system: BoxMaskSystem, **options):
    batch = batch_of(system, **options)
    return GuidedCriterion(crop=8)(system.model(batch), batch)


def test_masks_teach_the_decoder_the_vision_tower_and_the_mask_token():
    system = tiny_box_perceiver().system
    losses = losses_of(system)
    (losses["mask_bce"] + losses["mask_dice"]).backward()
    without = {name for name, p in system.model.mask_decoder.named_parameters() if p.grad is None}
    assert without == {"iou.weight", "iou.bias"}
    base = system.model.base
    assert base.get_input_embeddings().weight.grad[system.mask_id].abs().max() > 0
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in base.model.visual.merger.parameters())
    assert all(p.grad is not None for p in base.model.visual.deepstack_merger_list.parameters())
    losses_of(system)["iou"].backward()
    assert system.model.mask_decoder.iou.weight.grad.abs().max() > 0


def test_text_alone_leaves_the_decoder_an_exact_zero():
    system = tiny_box_perceiver().system
    losses = losses_of(system, expression=1)
    assert {name for name, value in losses.items() if value.item()} == {"lm"}
    GuidedWeights().total(losses).backward()
    assert all(not p.grad.any() for p in system.model.mask_decoder.parameters())


@pytest.mark.parametrize("vision", [None, 0.0, 0.01])
def test_every_trained_weight_is_in_one_group_and_nothing_else_is_trained(vision):
    scale = "null" if vision is None else vision
    config = box_config("box_mask.lora.rank=2", f"box_mask.vision_lr_scale={scale}", "optim.lr=1.0e-4")
    model = tiny_box_perceiver("box_mask.lora.rank=2").system.model
    set_trained(model, config)
    settings = guided_optimizer_settings(config, model)
    groups = parameter_groups(model, settings)
    names = [name for group in groups for name in group.names]
    assert len(names) == len(set(names))
    assert set(names) == {name for name, p in model.named_parameters() if p.requires_grad}
    tower = vision_prefix(model)
    kinds = {"decoder" if n.startswith("mask_decoder.") else "vision" if n.startswith(tower) else "rest" for n in names}
    assert kinds == ({"decoder", "vision", "rest"} if vision else {"decoder", "rest"})
    rest = [name for name in names if not name.startswith(("mask_decoder.", tower))]
    assert all("lora_" in name or "trainable_tokens" in name for name in rest)
    for group in groups:
        inside = [name.startswith(tower) for name in group.names]
        assert group.lr_scale == (0.01 if vision and all(inside) else 1.0) and len(set(inside)) == 1
        decays = all(name.startswith("mask_decoder.") for name in group.names) and group.label.endswith(" decay")
        assert (group.weight_decay > 0) == (decays and not group.label.endswith("no decay"))


def test_a_full_training_does_not_start_from_unmerged_adapters(tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "model.safetensors"
    save_file({"base.base_model.model.x.lora_A.default.weight": torch.zeros(2)}, str(file))
    model = tiny_box_perceiver().system.model
    with pytest.raises(ValueError, match="adapters that were not merged"):
        load_start(model, box_config(f"train.init_from={tmp_path}"))


def mean_iou(system: BoxMaskSystem, boxes: BoxMix) -> float:
    batch = batch_of(system, boxes=boxes, epoch=1000)
    with torch.no_grad():
        output = system.model(batch)
    ious = []
    for place, (decoded, target) in enumerate(zip(output.decoded, batch.targets, strict=True)):
        found, true = decoded.masks(SIZES[place]), target.masks
        ious.append(((found & true).sum() / (found | true).sum()).item())
    return sum(ious) / len(ious)


@pytest.mark.skipif(not os.environ.get(REQUEST), reason=f"trains for a minute; set {REQUEST}=1 to run it")
def test_four_pictures_are_learned_by_heart():
    system = tiny_box_perceiver().system
    optimizer = torch.optim.AdamW(system.model.parameters(), lr=1e-3)
    totals = []
    for step in range(60):
        losses = losses_of(system, boxes=BoxMix(1, 0, 0) if step % 2 else BoxMix(0, 1, 0), epoch=step)
        GuidedWeights().total(losses).backward()
        torch.nn.utils.clip_grad_norm_(system.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        totals.append(2 * losses["mask_bce"].item() + losses["mask_dice"].item())
    assert totals[0] > 5 * totals[-1]
    assert mean_iou(system, BoxMix(1, 0, 0)) >= 0.93
    assert mean_iou(system, BoxMix(0, 1, 0)) >= 0.90
