"""fp16 with its loss scale, activation checkpointing, and frozen parts that stay in evaluation mode."""

import pytest
import torch
from engine.test_trainer import make, no_norm
from engine.toy import ToyMixture, make_model
from torch import nn

from mvplm.engine import CheckpointHook, Hook, checkpoint_activations
from mvplm.engine.loss_scale import LossScale


def test_fp16_trains_like_fp32_with_fp32_weights(tmp_path):
    half = make(precision="fp16", model=no_norm(), hooks=[CheckpointHook(tmp_path, every=4)])
    half.train()
    plain = make(model=no_norm())
    plain.train()
    for one, two in zip(half.model.parameters(), plain.model.parameters(), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, two, rtol=0.1, atol=0.06)
    again = make(precision="fp16", model=no_norm())
    again.train(resume_from=tmp_path / "step_000004")
    assert all(torch.equal(a, b) for a, b in zip(half.model.parameters(), again.model.parameters(), strict=True))


@pytest.mark.parametrize("native", [True, False])
def test_who_trains_in_an_emulated_precision_is_told(native: bool, monkeypatch, caplog):
    monkeypatch.setattr("mvplm.engine.environment.native_bf16", lambda device: native)
    for precision in ("bf16", "fp32"):
        make(precision=precision, model=no_norm(), steps=1).train()
    told = [record.getMessage() for record in caplog.records if "is emulated" in record.getMessage()]
    assert len(told) == (0 if native else 1) and all("train.precision=fp32" in message for message in told)


def test_an_overflow_skips_the_step_and_halves_the_scale():
    class Watch(Hook):
        def after_step(self, trainer):
            scales.append(float(trainer._scale.value))

    scales: list[float] = [2.0**16]
    trainer = make(precision="fp16", hooks=[Watch()], mixture=ToyMixture(bad_steps=[3]), model=no_norm())
    summary = trainer.train()
    halved = [later / earlier for earlier, later in zip(scales, scales[1:], strict=False)]
    assert set(halved) == {1.0, 0.5} and halved.count(0.5) == summary.skipped and halved[3] == 0.5
    assert all(bool(torch.isfinite(parameter).all()) for parameter in trainer.model.parameters())


def test_the_scale_grows_after_good_steps_and_comes_back():
    scale = LossScale(torch.device("cpu"), enabled=True)
    for _ in range(2000):
        scale.update(torch.tensor(False))
    assert float(scale.value) == 2.0**17 and scale.state() == {"value": 2.0**17, "good": 0.0}
    other = LossScale(torch.device("cpu"), enabled=True)
    other.restore({"value": 8.0, "good": 3.0})
    assert float(other.scaled(torch.tensor(2.0))) == 16
    gradients = [torch.tensor([8.0, 16.0])]
    other.unscale(gradients)
    assert gradients[0].tolist() == [1, 2]
    plain = LossScale(torch.device("cpu"), enabled=False)
    plain.update(torch.tensor(True))
    assert float(plain.scaled(torch.tensor(2.0))) == 2


def kept_and_gradients(module: nn.Module, inputs: torch.Tensor) -> tuple[int, list[torch.Tensor]]:
    sizes: list[int] = []

    def pack(tensor):
        sizes.append(tensor.numel())
        return tensor

    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = module(inputs).square().mean()
    loss.backward()
    return sum(sizes), [parameter.grad for parameter in module.parameters()]


def test_recomputed_activations_save_memory_and_change_nothing():
    def build() -> nn.Sequential:
        torch.manual_seed(1)
        return nn.Sequential(
            *[nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Dropout(0.3), nn.Linear(64, 16)) for _ in range(3)]
        )

    plain, sparing = build(), build()
    checkpoint_activations(list(sparing))
    inputs = torch.randn(32, 16)
    most, wanted = kept_and_gradients(plain, inputs)
    fewer, found = kept_and_gradients(sparing, inputs)
    assert fewer < most / 3
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))
    plain.eval(), sparing.eval()
    assert torch.equal(plain(inputs), sparing(inputs))
    assert sparing.state_dict().keys() == plain.state_dict().keys()


def test_a_frozen_encoder_stays_in_evaluation_mode_through_a_run():
    from oracles.tiny import build_tiny

    encoder = build_tiny(0, "model.encoder.train=false").model.encoder
    before = {name: value.clone() for name, value in encoder.state_dict().items()}

    class Watch(Hook):
        def after_step(self, trainer):
            seen.append(any(part.training for part in trainer.model.seen.modules()))
            with trainer.evaluation_model():
                pass
            seen.append(any(part.training for part in trainer.model.seen.modules()))

    def look(module, _):
        module.seen(torch.randn(2, 3, 64, 64))

    seen: list[bool] = []
    model = make_model()
    model.seen = encoder
    model.register_forward_pre_hook(look)
    make(model=model, hooks=[Watch()], steps=2).train()
    assert seen == [False] * 4 and model.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_fp16_is_refused_with_sharded_weights(monkeypatch: pytest.MonkeyPatch):
    from mvplm.engine import trainer
    from mvplm.engine.parallel import Sharded

    monkeypatch.setattr(trainer, "spread", lambda device, processes: Sharded(device, processes))
    with pytest.raises(ValueError, match="fp16 does not go with sharded weights"):
        make(precision="fp16")
