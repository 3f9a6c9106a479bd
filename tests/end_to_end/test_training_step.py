"""One training step of every task: finite losses with the right names, finite gradients where they belong."""

from collections.abc import Mapping

import pytest
import torch
from oracles.tiny import build_tiny, tiny_config, tiny_tokenizer
from torch import Tensor

from mvplm.build_training import build_criterion, build_mixture, build_weights
from mvplm.engine.step import TrainingStep
from mvplm.perceiver import Perceiver

SOURCES = {
    "panoptic": "panoptic",
    "instance": "panoptic",
    "semantic": "panoptic",
    "detection": "detection",
    "grounding": "grounding",
    "res": "referring",
    "gres": "referring",
    "rec": "referring",
    "caption": "caption",
}
WORDS, MASKS, BOXES = {"word"}, {"mask_bce", "mask_dice"}, {"box_l1", "box_giou"}
EXPECTED = {
    "panoptic": WORDS | MASKS | BOXES,
    "instance": WORDS | MASKS | BOXES,
    "semantic": WORDS | MASKS | BOXES,
    "detection": WORDS | BOXES,
    "grounding": WORDS | BOXES,
    "res": {"sentence"} | MASKS | BOXES,
    "gres": {"sentence"} | MASKS | BOXES,
    "rec": {"sentence"} | MASKS | BOXES,
    "caption": set(),
}


@pytest.fixture(scope="module")
def trained() -> Perceiver:
    """A perceiver of this file alone, because training changes the running statistics of the norms."""
    return build_tiny(1)


def one_step(perceiver: Perceiver, task: str, *, precision: str = "fp32") -> Mapping[str, Tensor]:
    """Losses of the first micro-batch of three scenes; gradients stay on the parameters."""
    config = tiny_config(
        f"data.sources.it={{dataset: scenes/train, options: {{role: {SOURCES[task]}, num: 9, size: 96}}, task: {task}, "
        "batch_size: 3}",
        "response.caption_dropout=0.3",
    )
    model = perceiver.model.train()
    model.zero_grad(set_to_none=True)
    _, batch = next(build_mixture(config, tiny_tokenizer()).batches(0))
    assert (len(batch), batch.task) == (3, task)
    torch.manual_seed(5)
    losses = TrainingStep(model, build_criterion(config), precision=precision)(batch)
    build_weights(config).total(losses).backward()
    return losses


def finite(losses: Mapping[str, Tensor], perceiver: Perceiver) -> bool:
    grads = [parameter.grad for parameter in perceiver.model.parameters() if parameter.grad is not None]
    return all(bool(torch.isfinite(value).all()) for value in (*losses.values(), *grads))


@pytest.mark.parametrize("task", SOURCES)
def test_losses_and_gradients_are_finite(trained: Perceiver, task: str):
    losses = one_step(trained, task)
    assert all(value.ndim == 0 for value in losses.values()) and finite(losses, trained)
    assert {name.partition(".")[0] for name in losses} == EXPECTED[task] | {"lm"}
    sets = {name.partition(".")[2] for name in losses} - {""}
    if task == "caption":
        assert not sets
    else:
        assert {"initial", "layer1", "selection"} <= sets
        assert any(name.startswith("dn") for name in sets) == (EXPECTED[task] >= WORDS)


@pytest.mark.parametrize("task", ["panoptic", "gres", "detection", "caption"])
def test_gradients_reach_the_parts_that_the_task_trains(trained: Perceiver, task: str):
    one_step(trained, task)

    def moved(prefix: str) -> bool:
        grads = [value.grad for name, value in trained.model.named_parameters() if name.startswith(prefix)]
        assert grads
        return any(grad is not None and bool(grad.any()) for grad in grads)

    assert moved("encoder.") and moved("connector.") and moved("llm.")
    assert moved("heads.word.") == (task in ("panoptic", "detection"))
    assert moved("heads.sentence.") == (task == "gres")
    assert moved("heads.mask.") == (task in ("panoptic", "gres"))
    assert moved("stuff.") == (task == "panoptic")
    assert moved("decoder.") == moved("query.") == moved("heads.box.") == (task != "caption")


def test_the_same_seed_gives_the_same_losses():
    first, second = (one_step(build_tiny(1), "panoptic") for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_bfloat16_is_finite_and_close():
    half = build_tiny(1)
    losses = one_step(half, "panoptic", precision="bf16")
    assert finite(losses, half)
    exact = one_step(build_tiny(1), "panoptic")
    assert all(value.dtype == torch.float32 for value in losses.values())
    assert losses["lm"].item() == pytest.approx(exact["lm"].item(), rel=0.05)
