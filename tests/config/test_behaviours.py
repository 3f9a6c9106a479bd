"""Named behaviours: every value of the released column, overriding, storing, and settings that only go together."""

from pathlib import Path

import pytest

from mvplm.config import Config, load_config, to_yaml

RELEASED = {
    "image.pad_value": "128",
    "boxes.frame": "padded",
    "model.decoder.mask_padding": False,
    "model.encoder.train_droppath": 0.3,
    "model.connector.conv2_repeats": 2,
    "model.connector.norm": "batch_per_process",
    "model.llm.lm_head_bias": False,
    "model.llm.embedding_rows": 50297,
    "prompt.style": "released",
    "response.kind": "trailing",
    "response.token": "<seg>",
    "model.text.hidden": "layer_mean",
    "model.text.pool_suffix": True,
    "model.text.proj": "linear",
    "model.text.no_object": "background_name",
    "model.classifier.word": "softmax_ce",
    "model.select.enabled": True,
    "model.select.score": "bare",
    "model.query.base": "none",
    "model.query.fusion": "visual_only",
    "model.query.num": 100,
    "model.stuff.num": 100,
    "model.stuff.detach": True,
    "model.stuff.box_loss": False,
    "model.decoder.level_order": "coarse_to_fine",
    "model.decoder.anchor_scale": "coarse_small",
    "model.decoder.double_norm": True,
    "model.decoder.loop_box_input": "raw",
    "match.split": "cost_1e4",
    "match.sentence_cost": False,
    "loss.sentence_scale": 0.1,
    "model.dn.overflow": "skip",
    "post.box_score": "class_times_mask",
    "post.gres_fallback_top1": True,
    "post.things_before_top_k": False,
    "eval.res_protocol": "merged",
    "infer.mode": "skip",
    "names.synonyms": "joined",
    "data.exclude_eval_images": False,
    "optim.weight_decay": 0.0,
}
PAPER = {
    "image.pad_value": "mean",
    "boxes.frame": "valid",
    "model.decoder.mask_padding": True,
    "model.encoder.train_droppath": 0.0,
    "model.connector.conv2_repeats": 1,
    "model.connector.norm": "batch",
    "model.llm.lm_head_bias": True,
    "model.llm.embedding_rows": 51200,
    "prompt.style": "paper",
    "response.kind": "caption",
    "response.token": "<PER>",
    "model.text.hidden": "last",
    "model.text.pool_suffix": False,
    "model.text.proj": "mlp2",
    "model.text.no_object": "learned",
    "model.select.score": "head",
    "model.query.base": "summary",
    "model.query.expand": "slots",
    "model.query.fusion": "sum",
    "model.stuff.detach": False,
    "model.decoder.level_order": "fine_to_coarse",
    "model.decoder.anchor_scale": "fine_small",
    "model.decoder.double_norm": False,
    "model.decoder.loop_box_input": "normed",
    "match.split": "partition",
    "match.sentence_cost": True,
    "loss.sentence_scale": 1.0,
    "model.dn.overflow": "subsample",
    "post.box_score": "class",
    "post.gres_fallback_top1": False,
    "eval.res_protocol": "per_sentence",
    "names.synonyms": "first",
    "data.exclude_eval_images": True,
    "optim.weight_decay": 0.05,
}


def value(config: Config, key: str) -> object:
    found: object = config
    for part in key.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize(("name", "column"), [("paper", PAPER), ("released", RELEASED)])
def test_a_behaviour_is_its_column(name: str, column: dict[str, object]):
    config = load_config(None, [f"behaviour={name}"])
    assert {key: value(config, key) for key in column} == column


def test_the_paper_is_the_default():
    assert load_config(None, ["behaviour=paper"]) == load_config() == Config()


def test_a_preset_keeps_its_sizes_and_every_key_can_be_overridden(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("behaviour: released\nmodel: {preset: mvplm-tiny, select: {score: head}}\n", encoding="utf-8")
    config = load_config(path, ["loss.sentence_scale=0.5", "image.pad_value=mean"])
    assert (config.model.llm.embedding_rows, config.model.query.num, config.model.stuff.num) == (0, 40, 12)
    assert config.model.select.score == "head" and config.loss.sentence_scale == 0.5
    assert config.image.pad_value == "mean" and config.model.decoder.double_norm is True
    assert load_config(None, ["behaviour=released", "image.pad_value=128"]).image.pad_value == "128"


def test_resolved_values_are_stored(tmp_path: Path):
    config = load_config(None, ["behaviour=released", "model.decoder.double_norm=false"])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(path) == config
    assert "conv2_repeats: 2" in to_yaml(config) and "double_norm: false" in to_yaml(config)


def test_an_unknown_behaviour_lists_the_choices():
    with pytest.raises(ValueError, match=r"behaviour must be one of paper, released, got 'releasd'.*'released'"):
        load_config(None, ["behaviour=releasd"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["prompt.style=released"], "prompt.style 'released' and response.token '<seg>' go together"),
        (["behaviour=released", "model.query.base=summary"], "response.token '<seg>' and model.query.base 'none'"),
        (["behaviour=released", "model.query.fusion=sum"], "fusion must be 'visual_only', not 'sum'"),
        (["behaviour=released", "response.kind=caption"], "response.kind 'caption' does not go with prompt.style"),
        (["response.kind=trailing"], "response.kind 'trailing' does not go with prompt.style 'paper'"),
        (["data.sources.a={dataset: x, response: trailing}"], "data.sources.a.response 'trailing' does not go"),
        (["behaviour=released", "infer.mode=caption"], "infer.mode 'caption' needs a summary token"),
        (["model.decoder.mask_padding=false"], "mask_padding is false, so boxes.frame must be 'padded'"),
    ],
)
def test_what_only_goes_together(overrides: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        load_config(None, overrides)
