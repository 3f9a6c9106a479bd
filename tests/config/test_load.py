import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvplm.config import Config, SourceConfig, config_hash, load_config, to_yaml
from mvplm.config.base import Section


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_are_the_published_settings():
    config = load_config()
    assert config == Config()
    assert (config.model.query.num, config.model.stuff.num, config.model.llm.hidden_size) == (100, 100, 2048)
    assert (config.optim.lr, config.optim.weight_decay, config.train.steps) == (4e-5, 0.05, 80000)
    assert config.num_image_tokens == 256
    assert config.infer_mode == "caption"


def test_files_inherit_from_bases_relative_to_themselves_and_overrides_win(tmp_path: Path):
    write(tmp_path, "base/root.yaml", "optim: {lr: 1e-3, betas: [0.9, 0.98]}\ntrain: {steps: 5, seed: 3}\n")
    write(tmp_path, "base/middle.yaml", "_BASE_: root.yaml\ntrain: {steps: 7}\n")
    path = write(tmp_path, "top.yaml", "_BASE_: base/middle.yaml\noptim: {clip_norm: 0.1}\n")
    config = load_config(path, ["train.seed=11", "model.encoder.weights=some/file"])
    assert (config.optim.lr, config.optim.betas, config.optim.clip_norm) == (1e-3, [0.9, 0.98], 0.1)
    assert (config.train.steps, config.train.seed, config.model.encoder.weights) == (7, 11, "some/file")


def test_several_bases_apply_in_order(tmp_path: Path):
    write(tmp_path, "a.yaml", "train: {steps: 1, seed: 1}")
    write(tmp_path, "b.yaml", "train: {seed: 2}")
    config = load_config(write(tmp_path, "c.yaml", "_BASE_: [a.yaml, b.yaml]"))
    assert (config.train.steps, config.train.seed) == (1, 2)


def test_preset_lies_below_the_file_and_the_overrides(tmp_path: Path):
    path = write(tmp_path, "a.yaml", "model: {preset: mvplm-tiny, query: {num: 7}}")
    config = load_config(path, ["model.stuff.num=3"])
    assert config.image.size == 192
    assert (config.model.query.num, config.model.stuff.num) == (7, 3)
    assert load_config(path, ["model.preset=mvplm-swin-b-phi-1.5"]).image.size == 1024


def test_named_sources_merge_and_null_removes(tmp_path: Path):
    write(tmp_path, "base.yaml", "data: {sources: {a: {dataset: x, options: {num: 3}}, b: {dataset: y}}}")
    path = write(tmp_path, "top.yaml", "_BASE_: base.yaml\ndata: {sources: {b: null, c: {dataset: z, task: rec}}}")
    config = load_config(path, ["data.sources.a.ratio=2", "data.sources.a.options.seed=4"])
    assert config.data.sources == {
        "a": SourceConfig(dataset="x", options={"num": 3, "seed": 4}, ratio=2),
        "c": SourceConfig(dataset="z", task="rec"),
    }


def test_all_errors_come_at_once_with_their_origin_and_near_matches(tmp_path: Path):
    base = write(tmp_path, "base.yaml", "optim: {lr: fast, weigth_decay: 0.1}")
    path = write(tmp_path, "top.yaml", "_BASE_: base.yaml\nmodel: {query: {fusion: summ}, decoder: 3}\nlos: {word: 1}")
    with pytest.raises(ValueError) as caught:
        load_config(
            path, ["train.steps=0", "train", "optim.betas=[0.9]", "image.mean=[1,a,2]", "model.preset=mvplm-tny"]
        )
    message = str(caught.value)
    assert message.startswith("10 problems in the configuration")
    for part in (
        f"{base}: optim.lr must be a number, got 'fast'",
        f"{base}: unknown key optim.weigth_decay (did you mean 'weight_decay'",
        "model.query.fusion must be one of sum, visual_only, base_only, concat_mlp, got 'summ' (did you mean 'sum'?)",
        f"{path}: model.decoder must be a mapping, got 3",
        f"{path}: unknown key los (did you mean 'loss'",
        "override 'train.steps=0': train.steps must be at least 1, got 0",
        "override 'train' must have the form dotted.key=value",
        "optim.betas needs 2 entries, got 1",
        "image.mean must be a list, each entry a number",
        "override 'model.preset=mvplm-tny': model.preset must be one of mvplm-swin-",
        "got 'mvplm-tny' (did you mean 'mvplm-tiny'",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["image.size=1000"], "image.size (1000) must be a multiple of"),
        (["model.query.fusion=base_only"], "selection is off exactly with 'base_only'"),
        (["model.llm.kind=auto"], "model.llm.path must name"),
        (["model.llm.path=some/model"], "model.llm.path out"),
        (["model.encoder.kind=timm"], "model.encoder.name must name a timm model"),
        (["model.preset=[1]"], "model.preset must be one of"),
        (["names.sizes=[3, 2]"], "names.sizes must be [low, high]"),
        (["names.phrase_negatives=[3, 2]"], "names.phrase_negatives must be [low, high]"),
        (["data.sources.a.task=rec"], "data.sources.a.dataset is missing"),
        (["data.sources.a.dataset=x", "data.sources.a.ratio=0"], "every ratio is 0"),
        (["prompt.max_length=256"], "leave no room in prompt.max_length"),
        (["model.decoder.heads=7"], "must be a multiple of model.decoder.heads (7)"),
        (["prompt.max_length=4096"], "larger than model.llm.context"),
    ],
)
def test_settings_that_do_not_go_together(overrides: list[str], part: str):
    with pytest.raises(ValueError) as caught:
        load_config(None, overrides)
    assert part in str(caught.value)


def test_null_removes_an_entry_of_a_plain_mapping(tmp_path: Path):
    write(tmp_path, "base.yaml", "optim: {lr_scales: {query.: 0.2, text.: 0.5}}")
    path = write(tmp_path, "top.yaml", "_BASE_: base.yaml\noptim: {lr_scales: {query.: null, llm.: 0.1}}")
    assert load_config(path).optim.lr_scales == {"text.": 0.5, "llm.": 0.1}
    kwargs = load_config(path, ["model.encoder.kwargs={x: null}"]).model.encoder.kwargs
    assert kwargs["x"] is None  # where anything may stand, null is a value


@pytest.mark.parametrize("value", ["true", "1.5", "null", "[1]", "{a: 1}", "word"])
def test_a_whole_number_is_nothing_else(value: str):
    with pytest.raises(ValueError, match="train.steps must be a whole number"):
        load_config(None, [f"train.steps={value}"])


@pytest.mark.parametrize("value", [".nan", ".inf"])
def test_numbers_are_finite(value: str):
    with pytest.raises(ValueError, match="optim.lr must be finite"):
        load_config(None, [f"optim.lr={value}"])


def test_circles_and_missing_files_are_named(tmp_path: Path):
    write(tmp_path, "a.yaml", "_BASE_: b.yaml")
    write(tmp_path, "b.yaml", "_BASE_: [a.yaml, gone.yaml]")
    with pytest.raises(ValueError) as caught:
        load_config(tmp_path / "a.yaml")
    message = str(caught.value)
    assert "_BASE_ runs in a circle" in message and "a.yaml -> " in message
    assert "gone.yaml: no such config file" in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("train: [", "not readable as YAML"),
        ("- a\n- b", "a config must be a mapping"),
        ("train: {seed: 1, seed: 2}", "duplicate key"),
        ("x: !!python/object/apply:os.system ['true']", "not readable as YAML"),
        ("train: {output: '${oc.env:HOME}'}", "train.output: interpolation"),
        ("train: {output: '???'}", "'???' is not a value"),
        ("_BASE_: 3", "_BASE_ must be a path or a list of paths"),
    ],
)
def test_broken_or_unsafe_files(tmp_path: Path, text: str, part: str):
    with pytest.raises(ValueError) as caught:
        load_config(write(tmp_path, "a.yaml", text))
    assert part in str(caught.value)


def test_an_override_cannot_read_the_environment():
    os.environ.setdefault("HOME", "/")
    with pytest.raises(ValueError, match="interpolation"):
        load_config(None, ["train.output=${oc.env:HOME}"])


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("query.num=30", "'model.query'"),
        ("num_points=3", "'match.num_points' or 'loss.num_points'"),
        ("zzz=1", "key zzz;"),
    ],
)
def test_a_key_in_the_wrong_place_is_found_elsewhere(override: str, hint: str):
    with pytest.raises(ValueError) as caught:
        load_config(None, [override])
    assert hint in str(caught.value)


def test_an_empty_file_is_the_defaults(tmp_path: Path):
    assert load_config(write(tmp_path, "a.yaml", "")) == Config()


def test_yaml_round_trip(tmp_path: Path):
    config = load_config(
        None,
        ["model.preset=mvplm-tiny", "data.sources.a={dataset: x, options: {k: [1, {z: 2.5}]}}", "train.output='é: b'"],
    )
    assert load_config(write(tmp_path, "a.yaml", to_yaml(config))) == config


@settings(max_examples=15)
@given(
    lr=st.floats(0, 1e3),
    steps=st.integers(1, 10**9),
    text=st.text(st.characters(codec="utf-8", exclude_characters="$?"), max_size=20),
)
def test_any_value_survives_the_round_trip(tmp_path_factory: pytest.TempPathFactory, lr: float, steps: int, text: str):
    config = Config()
    config.optim.lr, config.train.steps, config.train.output = lr, steps, text
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(path) == config


def test_retired_keys_of_earlier_runs_are_passed_over_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = write(tmp_path, "a.yaml", "names: {full_limit: 7}\nmodel: {dn: {sentence: true}}")
    config = load_config(path)
    assert config == load_config(None, ["names.full_limit=7"])
    assert "model.dn.sentence has no effect" in caplog.text


def test_hash_follows_values_but_not_the_output_directory():
    first = config_hash(load_config())
    assert first == config_hash(load_config(None, ["train.output=elsewhere"]))
    assert first != config_hash(load_config(None, ["train.seed=1"]))
    assert len(first) == 12


def sections(kind: type[Section]):
    yield kind
    for spec in dataclasses.fields(kind):
        if dataclasses.is_dataclass(spec.type):
            yield from sections(spec.type)


@pytest.mark.parametrize("kind", [*sections(Config), SourceConfig], ids=lambda kind: kind.__name__)
def test_every_section_refuses_values_outside_its_choices(kind: type[Section]):
    limited = [spec for spec in dataclasses.fields(kind) if "choices" in spec.metadata]
    for spec in limited:
        with pytest.raises(ValueError, match=f"{spec.name} must be one of"):
            kind(**{spec.name: "nonsense"})
    assert kind() == kind()


def test_every_setting_is_described_in_its_section():
    for kind in [*sections(Config), SourceConfig]:
        described = kind.__doc__ or ""
        missing = [spec.name for spec in dataclasses.fields(kind) if spec.name not in described]
        assert not missing, f"{kind.__name__} does not describe {missing}"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (("text_mask.bins=48",), "text_mask.bins are steps of a canvas's box"),
        (("text_mask.codec=isd_rrle", "text_mask.whole_numbers=true"), "text_mask.whole_numbers is about boxes"),
        (("system=mvplm", "data.sources.a.pictures=false"), "data.sources.a.pictures needs system 'text4seg'"),
        (("system=mvplm", "data.sources.a.max_length=99"), "data.sources.a.max_length needs system 'text4seg'"),
        (("text_mask.learns=cells", "data.sources.a.pictures=false"), "is about nothing else than pictures"),
    ],
)
def test_settings_of_written_masks_that_would_do_nothing_are_refused(given, complaint):
    source = "data.sources.a={dataset: scenes/train, task: gres}"
    load_config(None, ["system=text4seg", source])
    with pytest.raises(ValueError, match=complaint):
        load_config(None, ["system=text4seg", source, *given])


def test_cells_are_not_learned_with_adapters():
    asked = ["system=text4seg", "text_mask.learns=cells", "text_mask.lora.rank=4"]
    with pytest.raises(ValueError, match="text_mask.learns 'cells' trains a vision encoder"):
        load_config(None, asked)


def test_pictures_lend_objects_where_cells_are_learned():
    load_config(None, ["system=text4seg", "text_mask.learns=cells", "text_mask.lenders=1"])
    with pytest.raises(ValueError, match="text_mask.lenders is for pictures that are learned cell by cell"):
        load_config(None, ["system=text4seg", "text_mask.lenders=1"])


def test_hints_where_to_look_need_the_question_in_front():
    with pytest.raises(ValueError, match="text_mask.looking needs text_mask.prompt_order 'text_first'"):
        load_config(None, ["system=text4seg", "text_mask.looking=1.0"])
    for hint in ("box_hints", "word_hints"):
        with pytest.raises(ValueError, match=f"text_mask.{hint} needs text_mask.looking"):
            load_config(None, ["system=text4seg", f"text_mask.{hint}=1.0"])
    asking = ["system=text4seg", "text_mask.looking=1.0", "text_mask.prompt_order=text_first"]
    load_config(None, asking)
    with pytest.raises(ValueError, match="leave text_mask.looking at 0"):
        load_config(None, [*asking, "text_mask.learns=cells"])


def test_sketches_are_those_of_canvases_and_come_with_boxes():
    asking = ["system=text4seg", "text_mask.looking=1.0", "text_mask.prompt_order=text_first", "text_mask.mask_hints=1"]
    load_config(None, [*asking, "text_mask.box_hints=1.0", "text_mask.codec=canvas"])
    for missing in ("text_mask.codec=canvas", "text_mask.box_hints=1.0"):
        with pytest.raises(ValueError, match="text_mask.mask_hints needs text_mask.box_hints, and text_mask.codec"):
            load_config(None, [*asking, missing])
