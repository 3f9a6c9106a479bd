"""Whole runs of models that write masks: train, resume to the bit, evaluate, predict; the same commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.text_mask_runs import SETTINGS, run_config, save_base
from safetensors.torch import load_file

import mvplm
from mvplm import pretrained
from mvplm.cli.app import build_app
from mvplm.config import Config, config_hash, load_config
from mvplm.engine import Hook, read_metrics
from mvplm.export import export_run, origin_of
from mvplm.runs import run_evaluation, run_training
from mvplm.text4seg.build import build_text_mask, read_base, read_processor
from mvplm.text4seg.perceiver import TextPerceiver
from mvplm.text4seg.runs import load_text_for_evaluation
from mvplm.text4seg.teachers import build_learner


class Interrupted(Exception):
    """Raised in the middle of a run."""


class StopAt(Hook):
    """Breaks a run after a step, as a crash would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer) -> None:
        """Break."""
        if trainer.step == self.step:
            raise Interrupted


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("text") / "run"
    run_training(run_config(out))
    return out


def totals(out: Path) -> dict[int, float]:
    found: dict[int, float] = {}
    for line in read_metrics(out / "metrics.jsonl"):
        if "totals" in line:
            found |= dict(enumerate(line["totals"], start=line["first_step"]))
    return found


def test_the_loss_falls(run: Path):
    losses = totals(run)
    assert sorted(losses) == [1, 2, 3, 4, 5, 6]
    assert losses[6] < losses[1]


def test_a_resumed_run_ends_with_the_same_bits(run: Path, tmp_path: Path):
    with pytest.raises(Interrupted):
        run_training(run_config(tmp_path), hooks=(StopAt(5),))
    torch.rand(3)
    run_training(run_config(tmp_path), resume=True)
    assert totals(tmp_path) == totals(run)
    one, two = (load_file(out / "checkpoints" / "step_000006" / "model.safetensors") for out in (run, tmp_path))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_checkpoint_and_the_saved_model_measure_the_same(run: Path, tmp_path: Path):
    config = run_config(run)
    metrics = run_evaluation(config, out=tmp_path / "a", show=False)
    assert {"referring/all/cIoU", "grec/N-acc", "rec/Acc@0.5"} <= set(metrics)
    counts = json.loads((tmp_path / "a" / "metrics.json").read_text())["data"]["sets"]["referring"]["counts"]
    assert counts["written/ok"] + counts["written/no_target"] == counts["expressions"] > 0
    config.text_mask.constrained = False
    run_evaluation(config, out=tmp_path / "free", show=False)
    config.text_mask.constrained = True
    free = json.loads((tmp_path / "free" / "metrics.json").read_text())["data"]["sets"]["referring"]["counts"]
    assert sum(value for name, value in free.items() if name.startswith("written/")) == counts["expressions"]
    assert free["written/ok"] < counts["expressions"]
    assert run_evaluation(config, weights=run / "model", out=tmp_path / "b", show=False) == metrics


def test_a_run_becomes_a_model_that_is_loaded_by_name(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pretrained, "_ASSETS", tmp_path)
    folder = export_run(run, tmp_path / "tiny-writer")
    assert pretrained.shipped_models() == ["tiny-writer"]
    shipped = mvplm.load("tiny-writer", device="cpu")
    assert isinstance(shipped, TextPerceiver)
    assert torch.equal(read_base("tiny-writer").lm_head.weight, shipped.model.model.lm_head.weight)
    kept = load_file(run / "checkpoints" / "step_000006" / "model.safetensors")
    assert all(torch.equal(value, kept[name]) for name, value in shipped.model.state_dict().items() if name in kept)
    assert str(run) not in (folder / "config.yaml").read_text()
    provenance = json.loads((folder / "provenance.json").read_text())
    trained = load_config(run / "checkpoints" / "step_000006" / "config.yaml")
    assert provenance["step"] == 6 and provenance["config_hash"] == config_hash(trained)
    with pytest.raises(ValueError, match="keeps no vocabulary: leave 'scenes/val' out"):
        export_run(run, tmp_path / "other", vocabulary="scenes/val")


@pytest.mark.parametrize(
    ("began", "words"),
    [
        ("train.init_from=null", "trained from scratch"),
        ("train.init_from=outputs/first/model", "trained further from first"),
        ("train.init_from=outputs/first/checkpoints/step_000006", "trained further from first"),
        ("train.init_from=tiny-scenes", "trained further from tiny-scenes"),
        ("train.init_from=model", "trained further from model"),
        ("text_mask.base=Qwen/Qwen3-VL-2B-Instruct", "trained further from Qwen3-VL-2B-Instruct"),
    ],
)
def test_a_model_tells_which_run_it_was_trained_further_from(began: str, words: str, tmp_path: Path):
    assert origin_of(run_config(tmp_path, began)) == words


def test_a_saved_model_can_be_the_base_of_another(run: Path):
    folder = run / "model"
    model, kept = read_base(folder), load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items() if name in kept)
    assert "<seg>" in read_processor(folder).tokenizer.get_vocab()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


def lora_config(output: Path, base: Path, *overrides: str) -> Config:
    return run_config(output, f"text_mask.base={base}", "text_mask.lora={rank: 4, alpha: 8, dropout: 0.1}", *overrides)


def weights(out: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / f"step_{step:06d}" / "model.safetensors")


def test_checkpoints_of_adapters_hold_what_was_trained(base: Path, tmp_path: Path):
    config = lora_config(tmp_path / "run", base, "train.steps=2")
    run_training(config)
    stored = weights(tmp_path / "run", 2)
    assert all("lora_" in name or "trainable_tokens" in name for name in stored)
    assert any(value.abs().max() > 0 for name, value in stored.items() if "lora_B" in name)
    assert sum(value.numel() for value in stored.values()) < 0.5 * sum(
        value.numel() for value in load_file(base / "model.safetensors").values()
    )
    saved = tmp_path / "run" / "model"
    assert (saved / "adapter").is_dir()
    metrics = run_evaluation(config, out=tmp_path / "a", show=False)
    assert metrics and run_evaluation(config, weights=saved, out=tmp_path / "b", show=False) == metrics


def test_a_run_with_adapters_goes_on_to_the_bit(base: Path, tmp_path: Path):
    whole = lora_config(tmp_path / "whole", base, "train.steps=4", "train.checkpoint_every=2")
    run_training(whole)
    broken = lora_config(tmp_path / "broken", base, "train.steps=4", "train.checkpoint_every=2")
    with pytest.raises(Interrupted):
        run_training(broken, hooks=(StopAt(3),))
    torch.rand(3)
    run_training(broken, resume=True)
    one, two = weights(tmp_path / "whole", 4), weights(tmp_path / "broken", 4)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert totals(tmp_path / "broken") == totals(tmp_path / "whole")


def test_the_same_commands_predict_and_evaluate(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from omegaconf import OmegaConf
    from PIL import Image
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (80, 96), (90, 120, 30)).save("photo.png")
    OmegaConf.save(OmegaConf.from_dotlist(list(SETTINGS)), "run.yaml")
    app, runner = build_app(debug=True), CliRunner()
    asked = ["predict", "photo.png", "--text", "the red star", "--model", str(run / "model"), "--out", "found"]
    assert runner.invoke(app, asked, catch_exceptions=False).exit_code == 0
    answer = json.loads(Path("found/photo.json").read_text())
    assert {"status", "text", "repairs"} <= set(answer["written"])
    measured = ["evaluate", "--config-file", "run.yaml", "--weights", str(run / "model"), "--out", "measured"]
    assert runner.invoke(app, measured, catch_exceptions=False).exit_code == 0
    assert "referring/all/cIoU" in Path("measured/metrics.json").read_text()


@pytest.mark.parametrize("kind", ["qwen3_vl", "llava"])
def test_a_vision_encoder_learns_to_see_first_and_answers_go_on_from_there(kind: str, tmp_path: Path):
    small = f"text_mask.small.kind={kind}"
    names = "{dataset: scenes/train, options: {role: referring, vocabulary: names, num: 8, size: 96}, task: detection, "
    names += "form: detect, batch_size: 2}"
    taught = tmp_path / "taught"
    learned = ("text_mask.learns=cells", "text_mask.lenders=1")
    settings = (*learned, f"data.sources.names={names}", "data.sources.refer.ratio=0")
    run_training(run_config(taught, *settings, small, "train.steps=3"))
    losses = totals(taught)
    assert losses[3] < losses[1]
    start = (f"train.init_from={taught / 'model'}", "train.steps=1", "optim.lr=1e-12")
    run_training(run_config(tmp_path / "run", small, *start))
    seen = dict(read_base(taught / "model").named_parameters())
    kept = load_file(tmp_path / "run" / "checkpoints" / "step_000001" / "model.safetensors")
    pairs = [(value, kept[f"model.{name}"]) for name, value in seen.items() if f"model.{name}" in kept]
    assert len(pairs) > 20 and all(torch.allclose(one, two, atol=1e-6) for one, two in pairs)


def test_a_run_first_learns_what_is_asked_for(tmp_path: Path):
    taught = tmp_path / "taught"
    settings = (
        "text_mask.prompt_order=text_first",
        "text_mask.learns=asked",
        "train.freeze=[model.model.visual.blocks]",
    )
    run_training(run_config(taught, *settings, "train.steps=3", "train.checkpoint_every=1", "optim.ema_decay=0"))
    assert all(0 < loss < 2 for loss in totals(taught).values())
    first, last = (load_file(taught / "checkpoints" / f"step_00000{step}" / "model.safetensors") for step in (2, 3))
    moved = {name for name, value in first.items() if not torch.equal(value, last[name])}
    assert "asked.weight" in moved and any("language_model.layers.0" in name for name in moved)
    assert not any("visual.blocks" in name or "language_model.layers.1" in name for name in moved)
    assert (taught / "model" / "model" / "model.safetensors").is_file()


def test_answers_without_pictures_are_learned_beside_what_is_asked_for(tmp_path: Path):
    settings = (
        "text_mask.prompt_order=text_first",
        "text_mask.learns=asked",
        "text_mask.box_hints=0.1",
        "text_mask.looking=1.0",
        "text_mask.mask_hints=0.1",
        "data.sources.texts={dataset: scenes/train, options: {role: referring, num: 8, seed: 7, size: 96}, task: gres, "
        "pictures: false, batch_size: 2, max_length: 300}",
        "train={steps: 3, checkpoint_every: 1}",
    )
    run_training(run_config(tmp_path, *settings))
    first, last = (load_file(tmp_path / "checkpoints" / f"step_00000{step}" / "model.safetensors") for step in (2, 3))
    moved = {name for name, value in first.items() if not torch.equal(value, last[name])}
    losses = totals(tmp_path)
    assert losses[3] > 4 > 2.5 > min(losses.values()), "a step of each kind, texts at the end"
    assert any("language_model.layers.1" in name for name in moved), "only texts reach the upper half"
    assert "drawing.number.weight" in moved and "asked.weight" not in moved


def test_some_tokens_of_answers_count_more():
    settings = ("text_mask.prompt_order=text_first", "text_mask.looking=1.0", "text_mask.small.kind=llava")
    weights = ("text_mask.edge_weight=3.0", "text_mask.opening_weight=5.0")
    config = run_config(Path("unused"), *settings, *weights, "text_mask.bins=20")
    torch.manual_seed(0)
    system = build_text_mask(config)
    counts, encode = build_learner(system, config).counts, system.tokenizer.encode
    answers = {text: counts[encode(text)].tolist() for text in ("<ref>", "No object", "7", "star")}
    opening = system.tokenizer.tokenizer.encode("<ref>star", add_special_tokens=False)[0]
    assert float(counts[opening]) == 5.0 and set(answers["<ref>"]) == {1.0}, "the tag, not what spells it"
    assert answers["No object"][0] == 5.0 and set(answers["No object"][1:]) == {1.0}
    assert answers["7"] == [3.0] and set(answers["star"]) == {1.0}
    plain = run_config(Path("unused"), *settings, *weights, "text_mask.codec=isd_rrle")
    assert set(build_learner(build_text_mask(plain), plain).counts.tolist()) == {1.0}


def test_a_run_with_hints_where_to_look_reads_pictures_with_the_question_in_mind(tmp_path: Path):
    settings = (
        "text_mask.prompt_order=text_first",
        "text_mask.looking=1.0",
        "train.steps=3",
        "train.checkpoint_every=3",
    )
    run_training(run_config(tmp_path / "run", *settings))
    losses = totals(tmp_path / "run")
    assert losses[3] < losses[1]
    kept = load_file(tmp_path / "run" / "checkpoints" / "step_000003" / "model.safetensors")
    assert "asked.weight" in kept
    assert "asked.weight" not in load_file(tmp_path / "run" / "model" / "model" / "model.safetensors")
    resumed = load_text_for_evaluation(run_config(tmp_path / "run", *settings), None)
    saved = mvplm.load(tmp_path / "run" / "model")
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    for perceiver in (resumed, saved):
        first, second = perceiver.predict(picture, text=["the red ring", "the star"])
        again = perceiver.set_image(picture).predict(text="the star")
        assert second.written.text == again.written.text
        assert first.written.status in ("ok", "no_target", "truncated", "repaired")
