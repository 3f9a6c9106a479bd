"""Parameters by component: formulas, published size, names that can be built."""

import pytest
import torch
from oracles.qwen3vl_seg import tiny_decoder

import mvplm
from mvplm.models.qwen3vl_seg.bases import NAMES, base_model
from mvplm.models.qwen3vl_seg.mask_decoder import BoxGuidedMaskDecoder
from mvplm.models.qwen3vl_seg.parameters import count_parameters, parameter_table

BASES = {
    "2b": (2048, 2_127_532_032, 16_156_678),
    "4b": (2560, 4_437_815_808, 16_943_110),
    "8b": (4096, 8_767_123_696, 19_302_406),
    "30b-a3b": (2048, 31_070_754_032, 16_156_678),
}


def by_formula(channels: int, *, width: int = 256, levels: int = 4, layers: int = 3, ffn: int = 2048) -> list[int]:
    square, stem = width * width, (3, 32, 64, 128)
    return [
        levels * (channels * width + 13 * width + 1),
        levels * square + 18 * square + 7 * width,
        channels * width + width,
        width * 48**2,
        8 * 64 * width + square + 2 * width,
        channels * width + 3 * width,
        layers * (8 * square + 2 * width * ffn + ffn + 15 * width),
        2 * (36 * square + 4 * width),
        sum(9 * before * after + 3 * after for before, after in zip(stem[:-1], stem[1:], strict=True)),
        9 * (width + 128) * width + 3 * width,
        2 * (square + width) + (width + 1) * (width + 1),
        2 * (square + width) + 2 * width,
        width + 1,
    ]


@pytest.mark.parametrize("name", BASES)
def test_every_component_has_the_size_of_its_formula(name):
    channels, base, total = BASES[name]
    model = mvplm.create_model(f"qwen3vl-seg-{name}", meta=True)
    table = model.parameter_table()
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert list(table.components.values()) == by_formula(channels)
    assert (table.base, table.total) == (base, total) and count_parameters(model.mask_decoder) == total
    assert total == 13_010_950 + 1536 * channels


def test_the_published_size_on_the_4b_base():
    table = mvplm.create_model("qwen3vl-seg-4b", meta=True).parameter_table()
    assert 16e6 <= table.total <= 18e6 and table.share <= 0.0042
    text = str(table)
    assert "16,943,110" in text and "4,437,815,808" in text and "0.382%" in text
    assert all(name in text for name in table.components)


def test_the_32b_width_by_formula():
    with torch.device("meta"):
        decoder = BoxGuidedMaskDecoder(5120, 4)
    table = parameter_table(decoder)
    assert table.total == 20_875_270 and table.share is None and "base" not in str(table)


def test_the_tiny_sizes():
    assert count_parameters(tiny_decoder()) == 151_958
    model = mvplm.create_model("qwen3vl-seg-tiny", gate_frame="box")
    assert count_parameters(model.base) == 780_672 and model.mask_decoder.settings.gate_frame == "box"


def test_names_and_what_they_refuse():
    assert set(NAMES) <= set(mvplm.list_models())
    with pytest.raises(ValueError, match="qwen3vl-seg-4b"):
        mvplm.create_model("qwen3vl-seg-4bb")
    with pytest.raises(ValueError, match="takes no tokenizer"):
        mvplm.create_model("qwen3vl-seg-tiny", encoder="weights.pth")
    with pytest.raises(ValueError, match="expected a Qwen3VLConfig"):
        base_model(object())


def test_other_presets_can_be_built_without_memory():
    assert {p.device.type for p in mvplm.create_model("mvplm-tiny", meta=True).parameters()} == {"meta"}
