"""Questions and answers as files: what ms-swift reads says what the records say."""

import json
from pathlib import Path

import pytest

from mvplm.structures.masks import decode_mask
from mvplm.text4seg.export import export_msswift
from mvplm.textmask import get_codec

OPTIONS = {"role": "referring", "num": 2, "seed": 1, "size": 96}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_files_hold_the_same_answers_and_the_command_names_them(tmp_path: Path):
    counts = export_msswift("scenes/train", tmp_path, form="refer.general", grid=32, options=OPTIONS)
    records, swift = lines(tmp_path / "records.jsonl"), lines(tmp_path / "msswift.jsonl")
    assert counts["written"] == len(records) == len(swift) > 4
    codec = get_codec("bsd_bricks", grid=32)
    for record, line in zip(records, swift, strict=True):
        assert set(line) == {"messages", "images"}
        assert line["messages"][0]["content"] == "<image>" + record["messages"][0]["content"]
        assert line["messages"][1] == record["messages"][1]
        assert Path(line["images"][0]).is_file()
        result = codec.decode(record["messages"][1]["content"], (record["height"], record["width"]))
        assert len(result) == len(record["instances"])
        assert (result.status == "no_target") == (not record["instances"])
        for instance in record["instances"]:
            assert decode_mask(instance["rle"]).any()
            assert len(instance["box_px"]) == 4
    assert len({record["id"] for record in records}) == len(records)
    assert len((tmp_path / "new_tokens.txt").read_text().split()) == 132
    command = (tmp_path / "launch.sh").read_text()
    assert "msswift.jsonl" in command
    assert "--lora_rank 128" in command


def test_plain_text_needs_no_tokens_and_vanished_targets_are_told(tmp_path: Path):
    counts = export_msswift(
        "scenes/train", tmp_path, form="refer.single", codec="isd_rrle", grid=4, options={**OPTIONS, "num": 6}
    )
    assert not (tmp_path / "new_tokens.txt").exists()
    assert counts["vanished"] == 0, "cells keep the last trace of a target"
    assert lines(tmp_path / "msswift.jsonl")


def test_a_data_set_without_what_the_form_needs_says_so(tmp_path: Path):
    with pytest.raises(ValueError, match="needs a list of names"):
        export_msswift("scenes/train", tmp_path, form="semantic.all", options={**OPTIONS, "role": "grounding"})
