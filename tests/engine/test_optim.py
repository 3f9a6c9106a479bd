"""Parameter groups, schedule goldens, optimiser state."""

import pytest
import torch
from engine.toy import make_model
from torch import nn

from mvplm.engine import OptimizerSettings, Schedule, build_optimizer, format_groups, freeze, parameter_groups
from mvplm.engine.optim import optimizer_tensors, restore_optimizer, set_learning_rate


# Golden G50.
@pytest.mark.parametrize(
    ("steps", "peak", "step", "expected"),
    [
        (80000, 4e-5, 0, 0.0),
        (80000, 4e-5, 1200, 2e-5),
        (80000, 4e-5, 2400, 4e-5),
        (80000, 4e-5, 41200, 2e-5),
        (80000, 4e-5, 60000, 6.2055e-6),
        (80000, 4e-5, 80000, 0.0),
        (4650, 2e-3, 70, 1e-3),
        (4650, 2e-3, 140, 2e-3),
        (4650, 2e-3, 2395, 1e-3),
    ],
)
def test_cosine_goldens(steps, peak, step, expected):
    assert peak * Schedule(steps, 0.03).factor(step) == pytest.approx(expected, rel=1e-5, abs=1e-15)


def test_warmup_is_rounded_up_and_other_kinds_end_right():
    assert (Schedule(80000, 0.03).warmup_steps, Schedule(4650, 0.03).warmup_steps) == (2400, 140)
    assert Schedule(100, 0.0, "linear").factor(25) == 0.75
    assert Schedule(100, 0.1, "constant").factor(100) == 1.0 and Schedule(100, 0.1, "constant").factor(5) == 0.5
    assert Schedule(10, 0.0).factor(11) == 0.0


def test_decay_only_on_matrices_and_convolutions():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.attention = nn.MultiheadAttention(8, 2)
            self.norm = nn.LayerNorm(8)
            self.embedding = nn.Embedding(4, 8)
            self.tied = nn.Linear(8, 4, bias=False)
            self.tied.weight = self.embedding.weight
            self.level_table = nn.Parameter(torch.zeros(4, 8))

    groups = parameter_groups(Net(), OptimizerSettings(weight_decay=0.1))
    decaying = {name for g in groups if g.weight_decay for name in g.names}
    assert decaying == {"conv.weight", "attention.in_proj_weight", "attention.out_proj.weight"}
    names = [name for g in groups for name in g.names]
    assert len(names) == len(set(names)) == len(list(Net().named_parameters()))


def test_longest_prefix_scales_the_rate_and_frozen_is_left_out():
    model = make_model()
    settings = OptimizerSettings(lr=1.0, lr_scales={"enc": 0.5, "encoder.weight": 0.25})
    groups = parameter_groups(model, settings)
    optimizer = build_optimizer(groups, settings)
    set_learning_rate(optimizer, 2.0)
    rates = {n: group["lr"] for g, group in zip(groups, optimizer.param_groups, strict=True) for n in g.names}
    assert rates["encoder.weight"] == 0.5 and rates["encoder.bias"] == 1.0 and rates["word.weight"] == 2.0
    assert not any(name.startswith("frozen") for name in rates)
    table = format_groups(model, groups, lr=1.0)
    assert "frozen" in table and "encoder.weight decay" in table and len({len(row) for row in table.splitlines()}) == 1


def test_frozen_prefixes_are_not_trained():
    model = make_model()
    freeze(model, [])
    assert model.word.weight.requires_grad
    freeze(model, ["word.", "encoder.w"])
    kept = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not kept & {"word.weight", "word.bias", "encoder.weight"} and {"encoder.bias", "slots"} <= kept
    with pytest.raises(ValueError, match="freeze: no parameter starts with 'wrd.'; did you mean 'word.'"):
        freeze(model, ["wrd."])


def test_unknown_prefix_names_the_near_match():
    with pytest.raises(ValueError, match="no parameter starts with 'encodr.'; did you mean 'encoder.'"):
        parameter_groups(make_model(), OptimizerSettings(lr_scales={"encodr.": 0.5}))
    with pytest.raises(ValueError, match="no trainable parameter"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False), OptimizerSettings())


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0},
        {"weight_decay": -1},
        {"warmup_ratio": 2},
        {"ema_decay": 1.0},
        {"lr_scales": {"a": 0}},
        {"schedule": "cosin"},
    ],
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OptimizerSettings(**wrong)


def test_optimizer_state_round_trip_and_mismatch():
    model, settings = make_model(), OptimizerSettings()
    groups = parameter_groups(model, settings)
    optimizer = build_optimizer(groups, settings)
    for p in model.word.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    saved = {k: v.clone() for k, v in optimizer_tensors(optimizer, groups).items()}
    assert {k.rsplit("/", 1)[0] for k in saved} == {"word.weight", "word.bias"}
    fresh = build_optimizer(groups, settings)
    restore_optimizer(fresh, groups, tensors=saved)
    again = optimizer_tensors(fresh, groups)
    assert again.keys() == saved.keys() and all(torch.equal(again[k], saved[k]) for k in saved)
    with pytest.raises(ValueError, match="'other.weight', which is not trained"):
        restore_optimizer(fresh, groups, tensors={"other.weight/exp_avg": torch.zeros(1)})
    with pytest.raises(ValueError, match="shape"):
        restore_optimizer(fresh, groups, tensors={"word.weight/exp_avg": torch.zeros(2, 2)})
