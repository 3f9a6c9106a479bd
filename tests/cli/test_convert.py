"""``mvplm convert`` from the command line."""

from pathlib import Path

import pytest
import torch
from oracles.swin_layouts import family_swin

from mvplm.cli.app import main

SMALL = "model.pixel_decoder={width: 32, mask_width: 32, layers: 1, heads: 4, points: 2, ffn: 48}"


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--help"]) == 0
    told = capsys.readouterr().out
    assert "Example: mvplm convert --from swin-timm" in told and "openseed" in told


def test_a_report_is_printed_and_the_result_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(family_swin(), tmp_path / "swin.pth")
    out = tmp_path / "out"
    assert main(["convert", "--from", "swin-timm", str(tmp_path / "swin.pth"), SMALL, "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "Loaded from swin-timm" in told.out and "computed from the sizes" in told.out
    assert "partial.yaml" in told.err
    assert (out / "model.safetensors").is_file()


def test_what_goes_wrong_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*given: str) -> str:
        assert main(["convert", *given, "--out", str(tmp_path / "out")]) == 2
        return capsys.readouterr().err

    file = tmp_path / "swin.pth"
    assert "there is no file or directory" in told("--from", "swin-timm", str(file))
    torch.save({**family_swin(), "layers.0.gate": torch.ones(1)}, file)
    assert "did you mean 'swin-timm'" in told("--from", "swin-tim", str(file))
    assert "1 unexpected: layers.0.gate" in told("--from", "swin-timm", str(file))
    file.write_bytes(b"broken")
    assert "swin.pth cannot be read" in told("--from", "swin-timm", str(file))
