"""The estimate of a run: counts that agree with a real step, and numbers a person can check by hand."""

import pytest
import torch
from oracles.tiny import tiny_config, tiny_tokenizer

from mvplm.activation_memory import StepShape, _batch, _Ledger, count_activations
from mvplm.build import build_model
from mvplm.build_training import build_criterion
from mvplm.dry_run import estimate, format_estimate

SHAPE = StepShape(size=64, tokens=60, response=8, names=5, objects=3)
SOURCES = (
    "data.sources.maps={dataset: scenes/train, options: {role: panoptic, num: 40, size: 96}, task: panoptic, ratio: 2, "
    "batch_size: 4}",
    "data.sources.boxes={dataset: objects365_that_is_not_here, task: detection, nominal_records: 1000, batch_size: 2}",
)


def real_bytes(samples: int, shape: StepShape) -> float:
    """What a step with values and the real matcher keeps."""
    torch.manual_seed(0)
    model = build_model(tiny_config(), tiny_tokenizer()).train()
    batch = _batch(model, shape, samples=samples)
    for target in batch.targets or []:
        target.masks[:, 8:40, 8:40] = True
        target.boxes[:] = torch.tensor([0.4, 0.4, 0.5, 0.5])
    ledger = _Ledger(model)
    with ledger.counting([]):
        if shape.captions_only:
            model.caption_loss(batch)
        else:
            build_criterion(tiny_config())(model(batch), batch)
    return ledger.total


@pytest.mark.parametrize("captions", [False, True])
def test_counting_without_values_agrees_with_a_real_step(captions: bool):
    shape = StepShape(**{**SHAPE.__dict__, "captions_only": captions})
    model = build_model(tiny_config(), tiny_tokenizer())
    counted = count_activations(model, build_criterion(tiny_config()), shape=shape)
    assert counted.of(2) == pytest.approx(real_bytes(2, shape), rel=0.03)
    assert counted.of(5) == pytest.approx(real_bytes(5, shape), rel=0.05)


def test_checkpointing_keeps_less():
    def counted(checkpointed: bool) -> float:
        model = build_model(tiny_config(), tiny_tokenizer())
        return count_activations(model, build_criterion(tiny_config()), shape=SHAPE, checkpointed=checkpointed).of(4)

    assert 0 < counted(True) < 0.9 * counted(False)


def test_the_estimate_of_a_run_can_be_checked_by_hand():
    config = tiny_config(
        *SOURCES, "optim.ema_decay=0.9", "model.encoder.train=false", "train={steps: 30, grad_accumulation: 2}"
    )
    run = estimate(config, processes=2)
    model = build_model(config, tiny_tokenizer())
    total = sum(p.numel() for p in model.parameters())
    assert abs(sum(part.values for part in run.parts) - total) / total < 0.4  # the tokenizer of scenes has more rows
    trained = sum(part.trained for part in run.parts)
    encoder = next(part for part in run.parts if part.name == "encoder")
    assert encoder.trained == 0 < encoder.values
    assert (run.gradients, run.optimizer, run.average) == (4 * trained, 8 * trained, 4 * trained)
    assert run.checkpoint == 2 * run.weights + 8 * trained and run.checkpoints == 3
    maps, boxes = run.sources
    assert (maps.records, maps.nominal, boxes.records, boxes.nominal) == (40, False, 1000, True)
    # 30 steps x 2 micro-batches x 2 processes = 120 micro-batches, two thirds of them of four maps.
    assert maps.samples == pytest.approx(80 * 4) and maps.epochs == pytest.approx(8)
    assert boxes.samples == pytest.approx(40 * 2) and boxes.epochs == pytest.approx(0.08) and boxes.tokens is None
    assert maps.tokens is not None and 30 < maps.tokens < 512
    assert run.samples_per_step == round((2 * 4 + 2) / 3 * 4)
    assert run.fits(24) and not run.fits(run.memory / 2**30 / 2)
    text = format_estimate(run, gib=24)
    for part in (
        "trained",
        "fits a GPU of 24 GiB",
        "66.7 %",
        "8.00 epochs of 40",
        "published number",
        "per checkpoint",
    ):
        assert part in text
    assert "tokens not measured" in text and "objects365_that_is_not_here cannot be opened" in text
    assert "does not fit a GPU of 0.1 GiB" in format_estimate(run, gib=0.1)
