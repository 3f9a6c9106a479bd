"""Pictures in two datasets, and those of the RefCOCO family that are never trained on."""

import json
import pickle
from pathlib import Path

import pytest

from mvplm.build_training import build_mixture
from mvplm.cli.app import main
from mvplm.config import load_config
from mvplm.data.catalog import register_dataset, unregister_dataset
from mvplm.data.datasets.base import RecordSequence, picture_key
from mvplm.data.leaks import Overlap, find_leaks, held_out_pictures
from mvplm.data.views import pictures, without_pictures
from mvplm.structures import Record


class Named(RecordSequence):
    """Records with file names and nothing behind them."""

    def __init__(self, *names: str, collection: str = "") -> None:
        self.names = names
        self.collection = collection

    def __len__(self) -> int:
        return len(self.names)

    def record(self, index: int) -> Record:
        return Record(index, self.names[index], (4, 4))

    def picture(self, index: int) -> str:
        return self.names[index]


COCO = ("COCO_train2014_000000000009.jpg", "000000000010.jpg")


def test_equal_numbers_of_other_collections_are_other_pictures():
    assert (
        picture_key("patch8/objects365_v1_00000009.jpg", collection="objects365") == "objects365:objects365_v1_00000009"
    )
    other = Named("objects365_v1_00000009.jpg", "objects365_v1_00000011.jpg", collection="objects365")
    assert without_pictures(other, pictures(Named(*COCO))) is other
    assert len(without_pictures(other, {"objects365:objects365_v1_00000009"})) == 1


def test_overlaps_of_every_two():
    sets = {"a": Named(*COCO), "b": Named("000000000010.jpg", "9.jpg", "77.jpg"), "c": Named("10.jpg", collection="vg")}
    assert find_leaks(sets) == [Overlap("a", "b", ("10", "9")), Overlap("a", "c", ()), Overlap("b", "c", ())]
    with pytest.raises(ValueError, match="two or more datasets, got 1"):
        find_leaks({"a": Named(*COCO)})
    with pytest.raises(ValueError, match="dataset 'b' has no pictures on disk"):
        find_leaks({"a": Named(*COCO), "b": []})


@pytest.fixture
def refs(tmp_path: Path) -> Path:
    """Refs of two sets, with neither instances nor pictures."""
    places = {"refer/refcoco/refs(unc).p": (9, 11), "refer_seg/refcocog/refs(umd).p": (30,)}
    for place, held_out in places.items():
        file = tmp_path / place
        file.parent.mkdir(parents=True)
        entries = [{"image_id": number, "split": "testB"} for number in held_out] + [{"image_id": 10, "split": "train"}]
        file.write_bytes(pickle.dumps(entries, protocol=2))
    (tmp_path / "grefcoco").mkdir()
    entries = [{"image_id": 31, "split": "val"}, {"image_id": 32, "split": "train"}]
    (tmp_path / "grefcoco" / "grefs(unc).json").write_text(json.dumps(entries))
    return tmp_path


def test_the_files_of_the_refs_are_enough(refs, tmp_path_factory):
    assert held_out_pictures(refs) == {"9", "11", "30", "31"}
    assert held_out_pictures(tmp_path_factory.mktemp("empty")) == set()
    file = refs / "refer" / "refcoco" / "refs(unc).p"
    file.write_bytes(pickle.dumps([{"image_id": 3}]))
    with pytest.raises(ValueError, match="malformed ref .* needs image_id and split"):
        held_out_pictures(refs)
    file.write_bytes(b"no pickle")
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p is"):
        held_out_pictures(refs)


@pytest.fixture
def registered():
    sets = {"leaky/train": Named(*COCO, "12.jpg"), "leaky/val": Named("12.jpg"), "leaky/other": Named("13.jpg")}
    for name, records in sets.items():
        register_dataset(name, lambda root, records=records: records)
    yield
    for name in sets:
        unregister_dataset(name)


def test_training_never_sees_them(refs, registered, monkeypatch, small_tokenizer):
    monkeypatch.setenv("MVPLM_DATASETS", str(refs))

    def kept(*overrides: str) -> set[str]:
        source = "data.sources.it={dataset: leaky/train, task: instance}"
        config = load_config(None, ["model.preset=mvplm-tiny", source, *overrides])
        return pictures(build_mixture(config, small_tokenizer).mixture.sources["it"].dataset)

    assert kept() == {"10", "12"}
    assert kept("data.exclude_eval_images=false") == {"9", "10", "12"}


def test_the_command_prints_overlaps_and_ends_with_1(registered, capsys):
    assert main(["data", "leaks", "leaky/train", "leaky/val"]) == 1
    assert "leaky/train and leaky/val: 1 pictures in both (12)" in capsys.readouterr().out
    assert main(["data", "leaks", "leaky/val", "leaky/other"]) == 0
    assert "0 pictures in both" in capsys.readouterr().out
    assert main(["data", "leaks", "leaky/val"]) == 2
