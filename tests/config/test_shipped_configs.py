"""The configuration files of the project: they load, and they say what they are."""

from functools import cache
from pathlib import Path

import pytest

from mvplm.config import Config, load_config

FOLDER = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.parent.name not in ("accelerate", "eval", "suites"))
HEADER = ("Source:", "Score:", "Cost:", "Command:")


@cache
def read(path: Path) -> Config:
    """The configuration of a file, read once for all tests, which leave it as it is."""
    return load_config(path)


def loaded(name: str) -> Config:
    return read(FOLDER / name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_it_loads_and_its_header_is_complete(path: Path):
    config = read(path)
    assert config.data.sources and (config.model.preset or config.system != "mvplm")
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert [word for word in HEADER if not any(word in line for line in header)] == []
    assert any(str(path.relative_to(FOLDER.parent)) in line for line in header), "the command names another file"


def test_no_two_files_share_an_output_directory():
    outputs = [read(path).train.output for path in FILES]
    assert len(set(outputs)) == len(outputs) > 5


def test_ablations_differ_in_one_choice_and_nothing_else():
    from dataclasses import asdict

    reference = asdict(loaded("quick/ablations/fusion_sum.yaml"))
    for path in (FOLDER / "quick" / "ablations").glob("*.yaml"):
        config = asdict(read(path))
        if config["model"]["query"]["fusion"] == "visual_only":
            # Without base queries there is no rate for them.
            config["optim"]["lr_scales"] = {"query.": 0.2, **config["optim"]["lr_scales"]}
        for key in ("image", "names", "optim", "match", "loss", "data", "eval"):
            assert config[key] == reference[key], f"{path.name}: {key}"
        assert {**config["train"], "output": ""} == {**reference["train"], "output": ""}


def test_the_overfit_run_is_scored_on_its_training_photos():
    config = loaded("quick/coco_overfit.yaml")
    source, scored = config.data.sources["panoptic"], config.eval.sets["overfit"]
    assert (source.dataset, source.options) == (scored.dataset, scored.options)
    assert source.options["num"] == 16


def shares(config: Config) -> dict[str, float]:
    """Per cent of the micro-batches by source."""
    total = sum(source.ratio for source in config.data.sources.values())
    return {name: 100 * source.ratio / total for name, source in config.data.sources.items()}


def test_the_recipes_are_those_of_the_paper():
    first, second = loaded("mvplm/stage1_connector.yaml"), loaded("mvplm/stage2_joint.yaml")
    assert (first.optim.lr, first.optim.weight_decay, first.train.steps) == (2e-3, 0.0, 4650)
    assert 8 * first.data.sources["captions"].batch_size * first.train.grad_accumulation == 128
    assert (second.optim.lr, second.optim.weight_decay, second.train.steps) == (4e-5, 0.05, 80_000)
    assert {8 * source.batch_size * second.train.grad_accumulation for source in second.data.sources.values()} == {64}
    for config in (first, second):
        assert (config.optim.schedule, config.optim.warmup_ratio, config.image.size) == ("cosine", 0.03, 1024)
    mix = shares(second)
    groups = [("coco",), ("refcoco", "refcoco+", "refcocog"), ("objects365",), ("gqa", "flickr30k")]
    assert [round(sum(mix[name] for name in group), 1) for group in groups] == [33.3, 33.3, 16.7, 16.7]
    released = shares(loaded("mvplm/stage2_release.yaml"))
    assert [round(sum(released[name] for name in group), 1) for group in groups] == [28.6, 28.6, 14.3, 28.6]


def test_the_paper_s_ablations_change_one_thing():
    folder = FOLDER / "mvplm" / "ablations"
    assert len(list(folder.glob("*.yaml"))) == 10
    for path in folder.glob("*.yaml"):
        body = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert len(body) == 3, f"{path.name} has {len(body)} lines"
        config = load_config(path)
        assert config.train.steps == (56_000 if path.name.startswith("table6") else 9_000)
    mixes = [shares(load_config(folder / f"table6_{name}.yaml")) for name in ("c_r", "c_r_o", "c_r_o_g")]
    assert [round(mix["coco"], 1) for mix in mixes] == [50.0, 40.0, 33.3]
    assert load_config(folder / "table8_300_queries.yaml").model.query.num == 300
    assert not load_config(folder / "table9_no_selection.yaml").model.select.enabled
