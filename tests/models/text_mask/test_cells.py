"""Visual tokens learn what their cells show."""

import copy

import pytest
import torch
from oracles.small_vlms import picture, vlm_parts
from torch.nn.functional import log_softmax

from mvplm.models.text_mask.cells import CellTeacher
from mvplm.structures.cells import CellBatch


def batch(family: str = "qwen3_vl") -> CellBatch:
    parts = vlm_parts(family)
    tokens = {"qwen3_vl": "<|vision_start|><|image_pad|><|vision_end|>"}.get(family, "<|image_pad|>")
    found = parts["processor"](images=[picture(32, 32).permute(1, 2, 0).numpy()], text=[tokens], return_tensors="pt")
    inputs = {name: found[name] for name in ("pixel_values", "image_grid_thw") if name in found}
    length = int((found["input_ids"] == parts["model"].config.image_token_id).sum())
    words = torch.tensor([[3, 4], [5, -1], [6, -1], [3, 5]]).repeat(length // 4, 1)
    shown = torch.tensor([True, True, False, True]).repeat(length // 4)
    boxes = torch.rand(length, 4, generator=torch.Generator().manual_seed(0))
    return CellBatch(inputs, words, shown, boxes, (8 * boxes).round().long(), boxes > 0.5, [1])


def teacher_of(family: str = "qwen3_vl") -> CellTeacher:
    torch.manual_seed(0)
    return CellTeacher(copy.deepcopy(vlm_parts(family)["model"]), steps=9)


@pytest.mark.parametrize("family", ["qwen3_vl", "llava"])
def test_the_loss_is_that_of_a_loop(family: str):
    teacher, given = teacher_of(family).eval(), batch(family)
    with torch.no_grad():
        features = teacher.model.get_image_features(**given.inputs).pooler_output
        rows = torch.cat([part.flatten(0, -2) for part in features])
        words, weights, edges = 0.0, 0.0, []
        truth = (given.words, given.shown, given.boxes, given.steps, given.quarters)
        for row, ids, shown, box, at, quarters in zip(rows, *truth, strict=True):
            unit = row / (row.pow(2).mean() + torch.finfo(torch.float32).eps).sqrt()
            told = [i for i in ids.tolist() if i >= 0]
            weight = 1.0 if shown else 0.3
            spoken = sorted({i for i in given.words.flatten().tolist() if i >= 0})
            scores = log_softmax(unit @ teacher.model.get_output_embeddings().weight[spoken].T, 0)
            words -= weight * float(scores[[spoken.index(i) for i in told]].mean())
            weights += weight
            if shown:
                steps = log_softmax(teacher.steps(unit).reshape(4, 9), 1)
                spelled = sum(float(steps[edge, step]) for edge, step in enumerate(at.tolist())) / 4
                sure = torch.sigmoid(teacher.quarters(unit))
                covered = float(torch.where(quarters, sure, 1 - sure).log().mean())
                edges.append(5 * float((teacher.box(unit) - box).abs().mean()) - spelled / 2 - covered)
        table = teacher.model.get_input_embeddings().weight[spoken]
        size = float((rows.pow(2).mean().sqrt() / table.pow(2).mean().sqrt()).log() ** 2)
        expected = 2 * words / weights + sum(edges) / len(edges) + size
        assert float(teacher.caption_loss(given)) == pytest.approx(expected, 1e-4)


def test_sketches_are_told_of_what_is_shown():
    model = copy.deepcopy(vlm_parts("qwen3_vl")["model"])
    plain = CellTeacher(model, steps=9).eval()
    teacher = CellTeacher(model, steps=9, drawing=(0.7, (1, 2))).eval()
    teacher.load_state_dict(plain.state_dict(), strict=False)
    given = batch()
    given.sketches = given.boxes[:, :2] > 0.5
    with torch.no_grad():
        features = torch.cat(list(model.get_image_features(**given.inputs).pooler_output))
        unit = features / (features.pow(2).mean(1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()
        sure = torch.sigmoid(teacher.drawing.sketch(unit))[given.shown]
        loss = -torch.where(given.sketches[given.shown], sure, 1 - sure).log().sum(1).mean()
        difference = teacher.caption_loss(given) - plain.caption_loss(given)
    assert float(difference) == pytest.approx(0.7 * float(loss), rel=1e-4)
    given.sketches = None
    with pytest.raises(ValueError, match="what objects look like on canvases"):
        teacher.caption_loss(given)


def test_only_what_sees_and_the_words_are_trained():
    teacher = teacher_of()
    teacher.caption_loss(batch()).backward()
    trained = {name for name, parameter in teacher.named_parameters() if parameter.requires_grad}
    assert any("visual" in name for name in trained) and {"box.weight", "steps.weight"} <= trained
    assert not any("layers" in name and "language_model" in name for name in trained)
    with_gradient = {name for name, p in teacher.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert "model.model.language_model.embed_tokens.weight" in with_gradient
    assert any("patch_embed" in name for name in with_gradient)


def test_tokens_learn_what_they_show():
    teacher, given = teacher_of(), batch()
    optimizer = torch.optim.AdamW([p for p in teacher.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = teacher.caption_loss(given)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]
