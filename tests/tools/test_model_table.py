"""The tables of parameters and multiply-adds."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

FILE = Path(__file__).resolve().parents[2] / "tools" / "model_table.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("model_table", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_part_is_described_and_the_parts_add_up(tool):
    from mvplm.complexity import count_parameters

    model, counted = tool.build_on_meta("mvplm-tiny"), tool.multiply_adds("mvplm-tiny")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    rows = [line.split("|")[1:6] for line in tool.model_table(model, counted).splitlines() if line.startswith("| `")]
    assert [row[0].strip(" `") for row in rows] == list(tool.ROLES) == list(counted)
    assert all(row[1].strip() for row in rows)
    assert sum(int(row[2].replace(",", "")) for row in rows) == count_parameters(model)
    assert all(count > 0 for part, count in counted.items() if part != "stuff") and counted["stuff"] == 0


def test_the_count_agrees_with_fvcore_where_it_can_run(tool):
    from fvcore.nn import FlopCountAnalysis
    from oracles.tiny import tiny_tokenizer

    import mvplm
    from mvplm.complexity import Question, count_multiply_adds

    torch.manual_seed(0)
    small = {"model__llm": {"hidden_size": 32, "layers": 1, "heads": 4, "ffn": 48}}
    model = mvplm.create_model("mvplm-tiny", tokenizer=tiny_tokenizer(), **small).eval()
    counted = count_multiply_adds(
        lambda: mvplm.create_model("mvplm-tiny", tokenizer=tiny_tokenizer(), **small), Question(64, text_tokens=60)
    )
    maps = model.encoder(torch.zeros(1, 3, 64, 64))

    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = model.encoder

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return list(self.encoder(images).values())

    modules = {"encoder": (Listed(), torch.zeros(1, 3, 64, 64)), "connector": (model.connector, maps[32])}
    for part, (module, given) in modules.items():
        analysis = FlopCountAnalysis(module, given).unsupported_ops_warnings(False).tracer_warnings("none")
        kinds = analysis.by_operator()
        assert sum(kinds[kind] for kind in ("conv", "linear", "addmm", "matmul")) == counted[part]


def test_the_work_of_known_layers(tool):
    from oracles.tiny import build_tiny, tiny_config

    from mvplm.complexity import Question, count_multiply_adds

    assert tiny_config().image.size == 64
    few, many = (
        count_multiply_adds(lambda: build_tiny().model, Question(64, names=names, text_tokens=60)) for names in (2, 5)
    )
    width, tokens, hidden = 48, 64 + 16 + 4 + 1, 48
    assert few["encoder"] == many["encoder"]
    # Three names more: pooled over 64 positions and projected twice.
    assert many["text"] - few["text"] == 3 * (64 * hidden + hidden * width + width * width)
    assert many["selector"] - few["selector"] == 3 * tokens * width


def test_tables_are_written_between_their_lines(tool, tmp_path):
    file = tmp_path / "ZOO.md"
    file.write_text(f"before\n{tool.BEGIN}\nold\n{tool.END}\nafter\n")
    tool.write_between(file, "new")
    assert file.read_text() == f"before\n{tool.BEGIN}\n\nnew\n\n{tool.END}\nafter\n"
    file.write_text("nothing here")
    with pytest.raises(ValueError, match="needs a line"):
        tool.write_between(file, "new")


def test_an_unknown_name_is_an_error_with_the_choices(tool, capsys):
    assert tool.main(["mvplm-tinny"]) == 2
    assert "mvplm-tiny" in capsys.readouterr().err
