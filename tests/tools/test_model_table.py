"""The table of parameters."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "tools" / "model_table.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("model_table", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_part_is_described_and_the_parts_add_up(tool):
    model = tool.build_on_meta("mvplm-tiny")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    rows = [line.split("|")[1:5] for line in tool.model_table(model).splitlines() if line.startswith("| `")]
    assert [row[0].strip(" `") for row in rows] == list(tool.ROLES)
    assert all(row[1].strip() for row in rows)
    assert sum(int(row[2].replace(",", "")) for row in rows) == tool.count_parameters(model)


def test_an_unknown_name_is_an_error_with_the_choices(tool, capsys):
    assert tool.main(["mvplm-tinny"]) == 2
    assert "mvplm-tiny" in capsys.readouterr().err
