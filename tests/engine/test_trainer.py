"""The loop: skipping, stopping, accumulation, precision, hooks."""

import io
import os
import signal
from contextlib import redirect_stderr

import pytest
import torch
from engine.toy import ToyMixture, Weights, criterion, make_model
from rich.console import Console

from mvplm.engine import (
    CheckpointHook,
    CheckpointStore,
    CurvesHook,
    EvalHook,
    Hook,
    MetricsWriter,
    NonFiniteLossError,
    NoteHook,
    OptimizerSettings,
    ProgressHook,
    Trainer,
    TrainerSettings,
    describe_environment,
    read_metrics,
    seed_everything,
    step_seed,
)


def make(*, hooks=(), model=None, mixture=None, optimizer=None, crit=criterion, **settings) -> Trainer:
    values = {"steps": 6, "device": "cpu", "log_every": 2, **settings}
    return Trainer(
        model or make_model(),
        crit,
        weights=Weights(),
        mixture=mixture or ToyMixture(),
        settings=TrainerSettings(**values),
        optimizer=optimizer or OptimizerSettings(lr=1e-2),
        hooks=hooks,
    )


class Recorder(Hook):
    def __init__(self):
        self.totals, self.losses, self.calls, self.skipped = [], [], [], 0

    def before_train(self, trainer):
        self.calls.append("before")

    def after_step(self, trainer):
        self.calls.append(trainer.step)

    def on_log(self, trainer, record):
        self.totals += record.totals
        self.losses.append(record.losses)
        self.skipped = record.skipped

    def after_train(self, trainer):
        self.calls.append("after")

    def close(self):
        self.calls.append("close")


def test_hooks_are_called_in_order_and_the_mixture_is_closed():
    recorder, mixture = Recorder(), ToyMixture()
    summary = make(hooks=[recorder], mixture=mixture, steps=3).train()
    assert recorder.calls == ["before", 1, 2, 3, "after", "close"] and mixture.closed
    assert summary.step == 3 and summary.interrupted is None and summary.skipped == 0
    assert len(recorder.totals) == 3
    assert recorder.losses[0].keys() == {"word", "box_l1"} and recorder.losses[1].keys() == {"lm"}


def test_first_step_equals_a_hand_written_one():
    trainer = make(steps=1, accumulation=2, clip_norm=0.5, optimizer=OptimizerSettings(lr=1e-2, warmup_ratio=0.0))
    reference = make_model()
    trainer.train()
    matrices = {"encoder.weight", "word.weight", "caption.weight"}
    trainable = {name: p for name, p in reference.named_parameters() if p.requires_grad}
    decaying = {"params": [p for name, p in trainable.items() if name in matrices]}
    others = {"params": [p for name, p in trainable.items() if name not in matrices], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([decaying, others], lr=1e-2, weight_decay=0.05)
    batches = ToyMixture().batches(0)
    for micro_step in range(2):
        _, batch = next(batches)
        seed_everything(step_seed(0, micro_step))
        (Weights().total(criterion(reference(batch), batch)) / 2).backward()
    torch.nn.utils.clip_grad_norm_([p for p in reference.parameters() if p.requires_grad], 0.5)
    optimizer.step()
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(trainer.model.state_dict()[name], value, rtol=1e-5, atol=1e-7)


def test_a_non_finite_step_is_skipped_and_counted():
    class Watch(Hook):
        before = None

        def after_step(self, trainer):
            weights = [p.detach().clone() for p in trainer.model.parameters()]
            if trainer.step == 4:
                self.unchanged = all(torch.equal(a, b) for a, b in zip(self.before, weights, strict=True))
            self.before = weights

    watch, recorder = Watch(), Recorder()
    summary = make(hooks=[watch, recorder], mixture=ToyMixture(bad_steps=[3]), model=no_norm()).train()
    assert watch.unchanged and summary.skipped == recorder.skipped == 1 and summary.step == 6
    assert [i for i, value in enumerate(recorder.totals) if value != value] == [3]


def no_norm():
    """The toy without batch norm, whose running statistics a NaN image would poison."""
    model = make_model()
    model.norm = torch.nn.Identity()
    return model


@pytest.mark.parametrize(("limit", "stops_at"), [(0, 2), (1, 2), (3, 4)])
def test_too_many_in_a_row_stop_with_losses_and_ids(limit, stops_at):
    trainer = make(mixture=ToyMixture(bad_steps=[1, 2, 3, 4]), model=no_norm(), nonfinite_limit=limit)
    with pytest.raises(NonFiniteLossError) as error:
        trainer.train()
    message = str(error.value)
    assert f"at step {stops_at}" in message and f"'{stops_at - 1}-0'" in message and "nan" in message
    assert ("'lm'" if stops_at == 3 else "'word'") in message


def test_bf16_runs_with_fp32_losses_and_weights():
    trainer = make(precision="bf16", steps=3)
    trainer.train()
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())
    plain = make(steps=3)
    plain.train()
    difference = (plain.model.word.weight - trainer.model.word.weight).abs().max()
    assert 0 < difference < 0.05


def test_evaluation_uses_the_average_and_restores_modes_and_weights():
    seen = []

    def evaluate(model):
        assert not model.training and not torch.is_grad_enabled()
        seen.append(model.word.weight.detach().clone())
        torch.rand(5)
        return {"panoptic/PQ": 50.0}

    model = make_model()
    optimizer = OptimizerSettings(lr=1e-2, ema_decay=0.99)
    with_eval = make(model=model, hooks=[EvalHook(evaluate, every=4)], optimizer=optimizer)
    with_eval.train()
    without = make(optimizer=optimizer)
    without.train()
    assert len(seen) == 2 and not torch.equal(seen[1], model.word.weight)
    assert torch.equal(seen[1], with_eval.average.state_dict()["word.weight"])
    assert torch.equal(without.model.word.weight, model.word.weight)
    model.frozen.eval()
    with with_eval.evaluation_model():
        assert not model.training
    assert model.training and model.word.training and not model.frozen.training


def test_files_of_a_run(tmp_path):
    drawn = []

    def draw(metrics, output):
        drawn.append((metrics, output))

    hooks = [
        MetricsWriter(tmp_path / "metrics.jsonl"),
        EvalHook(lambda model: {"panoptic/PQ": 12.5}, every=3),
        CheckpointHook(tmp_path / "checkpoints", every=4),
        NoteHook(tmp_path / "config.yaml", "first"),
        CurvesHook(tmp_path / "metrics.jsonl", tmp_path / "curves.png", every=4, draw=draw),
    ]
    make(hooks=hooks).train()
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("train", 2), ("eval", 3), ("train", 4), ("train", 6), ("eval", 6),
    ]  # fmt: skip
    assert lines[1]["panoptic/PQ"] == 12.5 and len(lines[0]["totals"]) == 2 and lines[0]["loss"] > 0
    assert drawn == [(tmp_path / "metrics.jsonl", tmp_path / "curves.png")] * 2
    assert CheckpointStore(tmp_path / "checkpoints").steps() == [4, 6]
    before = (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(ValueError, match="already holds step_000006"):
        make(hooks=[NoteHook(tmp_path / "config.yaml", "second"), *hooks]).train()
    assert (tmp_path / "metrics.jsonl").read_text() == before
    assert (tmp_path / "config.yaml").read_text() == "first"
    resumed = make(hooks=hooks)
    assert resumed.train(resume_from=tmp_path).step == 6 and resumed.start_step == 6
    make(hooks=[CheckpointHook(tmp_path / "checkpoints", every=9, overwrite=True)], steps=2).train()
    assert CheckpointStore(tmp_path / "checkpoints").steps() == [2]


def test_default_curves_draw_a_picture(tmp_path):
    path = tmp_path / "metrics.jsonl"
    make(hooks=[MetricsWriter(path), CurvesHook(path, tmp_path / "curves.png")]).train()
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_changed_settings_are_told_at_resume(tmp_path, caplog):
    make(hooks=[CheckpointHook(tmp_path, every=3)], steps=3).train()
    make(steps=4, seed=1, hooks=[]).train(resume_from=tmp_path)
    assert "resuming with seed=1, the checkpoint was made with 0" in caplog.text
    assert "steps=4" in caplog.text and "betas" not in caplog.text
    with pytest.raises(ValueError, match="ema_decay=None"):
        make(optimizer=OptimizerSettings(ema_decay=0.9)).train(resume_from=tmp_path)


def test_second_signal_aborts_and_handlers_are_put_back():
    class Press(Hook):
        def after_step(self, trainer):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt, match="second SIGINT"):
        make(hooks=[Press(), recorder]).train()
    assert recorder.calls == ["before", "close"] and signal.getsignal(signal.SIGINT) is before


def test_time_limit_stops_cleanly():
    recorder = Recorder()
    summary = make(hooks=[recorder], max_seconds=1e-6).train()
    assert summary.step == 1 and summary.interrupted is None and recorder.calls[-2:] == ["after", "close"]


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_on_terminal_and_in_logs(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
    make(hooks=[ProgressHook(console=console), EvalHook(lambda model: {"PQ": 1.0}, every=6)]).train()
    text = console.file.getvalue()
    assert "loss" in text and "it/s" in text and "data wait" in text and "PQ 1.00" in text
    assert ("step 2/6" in text) is not terminal


def test_missing_tensorboard_only_warns(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    make(hooks=[MetricsWriter(tmp_path / "m.jsonl", tensorboard=tmp_path / "tb")], steps=2).train()
    assert "TensorBoard is not installed" in caplog.text and len(read_metrics(tmp_path / "m.jsonl")) == 1


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"precision": "fp23"}, {"device": "gpu"}, {"clip_norm": -1.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainerSettings(**{"steps": 1, **wrong})


def test_environment_names_what_matters():
    rows = describe_environment()
    assert rows["torch"] == torch.__version__ and {"python", "device", "bf16", "torch threads"} <= rows.keys()


def test_flags_are_restored_after_training():
    with redirect_stderr(io.StringIO()):
        make(steps=1, deterministic=True).train()
    assert not torch.are_deterministic_algorithms_enabled()
