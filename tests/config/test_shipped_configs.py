"""The configuration files of the project: they load, and they say what they are."""

from pathlib import Path

import pytest

from mvplm.config import Config, load_config

FOLDER = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(FOLDER.rglob("*.yaml"))
HEADER = ("Source:", "Score:", "Cost:", "Command:")


def loaded(name: str) -> Config:
    return load_config(FOLDER / name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_it_loads_and_its_header_is_complete(path: Path):
    config = load_config(path)
    assert config.data.sources and config.model.preset
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert [word for word in HEADER if not any(word in line for line in header)] == []
    assert any(str(path.relative_to(FOLDER.parent)) in line for line in header), "the command names another file"


def test_no_two_files_share_an_output_directory():
    outputs = [load_config(path).train.output for path in FILES]
    assert len(set(outputs)) == len(outputs) > 5


def test_ablations_differ_in_one_choice_and_nothing_else():
    from dataclasses import asdict

    reference = asdict(loaded("quick/ablations/fusion_sum.yaml"))
    for path in (FOLDER / "quick" / "ablations").glob("*.yaml"):
        config = asdict(load_config(path))
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
