"""Refinement of a store, its report, and training records with the captions that are left."""

import json
import pickle
import random
import tracemalloc

import pytest

from mvplm.data.captions import RefineSettings
from mvplm.data.captions.refined import RefinedCaptions, refined_line, with_captions
from mvplm.data.catalog import get_dataset
from mvplm.data.unify import UnifySettings, unify
from mvplm.label.refine import refine_store
from mvplm.label.settings import build_settings, read_settings
from mvplm.label.store import Caption, CaptionerInfo, CaptionStore

GOOD = "A man rides a brown horse on a wide beach."
OTHER = "Two small dogs sleep beside a red sofa."
LONG = " ".join(" ".join(f"w{i}x{j}" for j in range(10)) + "." for i in range(15))
TEXTS = {
    0: {"a": GOOD, "b": GOOD, "c": OTHER},
    1: {"a": f"{OTHER} It might rain.", "b": "A dog.", "c": "Perhaps it is a dog on a long red sofa."},
    2: {"a": "dog dog dog dog dog dog dog", "b": "", "c": "**"},
    10: {"a": LONG, "b": GOOD, "c": OTHER},
}


@pytest.fixture
def folder(tmp_path):
    infos = [CaptionerInfo(name, f"models/{name}", "r|1", "What?") for name in "abc"]
    with CaptionStore(tmp_path, dataset={"name": "scenes/val"}, captioners=infos) as store:
        for name in "abc":
            store.add([Caption(image_id, name, texts[name]) for image_id, texts in reversed(TEXTS.items())])
    return tmp_path


def test_every_reason_is_counted_and_shown(folder):
    told = refine_store(folder).to_dict()
    assert json.loads(json.dumps(told)) == json.loads((folder / "refine.json").read_text())
    assert told["rejected"] == {"empty": 2, "hedging": 1, "length": 1, "entropy": 1, "duplicate": 1}
    assert (told["captions"], told["kept"], told["images"], told["images_with_captions"]) == (12, 6, 4, 3)
    assert told["captioners"]["a"]["changed"] == {"sentence dropped": 1, "cut": 1}
    assert told["captioners"]["b"]["rejected"]["duplicate"] == 1 and told["captioners"]["c"]["kept"] == 2
    assert [e["image_id"] for e in told["examples"]["empty"]] == [2, 2]
    assert told["examples"]["sentence dropped"][0]["became"] == OTHER
    page = (folder / "refine.md").read_text()
    assert all(f"## {reason}" in page for reason in (*told["rejected"], "sentence dropped", "cut"))
    assert "| a | 4 | 3 | 0 | 0 | 0 | 1 | 0 | 1 | 1 |" in page and "r\\|1" in page


def test_the_captions_as_written_stay_and_refining_again_replaces(folder):
    raw = (folder / "captions" / "000000.jsonl").read_bytes()
    refine_store(folder)
    first = (folder / "refined.jsonl").read_bytes()
    rejected = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    assert {(e["image_id"], e["captioner"], e["rule"]) for e in rejected} >= {
        (0, "b", "duplicate"),
        (2, "a", "entropy"),
    }
    refine_store(folder, settings=RefineSettings(min_words=0, min_entropy=0, min_evenness=0))
    assert len(RefinedCaptions(folder)) == 4 and RefinedCaptions(folder)[1] == (OTHER, "A dog.")
    refine_store(folder)
    assert (folder / "refined.jsonl").read_bytes() == first
    assert (folder / "captions" / "000000.jsonl").read_bytes() == raw


def test_tokens_are_counted_when_asked(folder):
    refine_store(folder, count_tokens=lambda text: 21 * len(text.split()))
    assert RefinedCaptions(folder)[0] == ()
    assert [e["rule"] for e in map(json.loads, (folder / "rejected.jsonl").read_text().splitlines())].count(
        "length"
    ) > 3


def test_settings_of_a_file_and_of_the_command_line(tmp_path):
    (tmp_path / "s.yaml").write_text("min_words: 4\nhedges: [maybe]\nmin_entropy: 1\n")
    given = read_settings(tmp_path / "s.yaml", ["min_words=5"])
    assert build_settings(given, RefineSettings) == [RefineSettings(hedges=("maybe",), min_words=5, min_entropy=1)]
    for items, message in {
        "min_word=3": "unknown setting 'min_word'; did you mean 'min_words'",
        "min_words=2.5": "min_words must be a whole number",
        "min_words=true": "min_words must be a whole number",
        "hedges=maybe": "hedges must be a list of texts",
        "hedges=[1]": "hedges must be a list of texts",
        "min_entropy=much": "min_entropy must be a number",
        "max_words=-1": "max_words must not be negative",
    }.items():
        with pytest.raises(ValueError, match=message):
            build_settings(read_settings(None, [items]), RefineSettings)
    (tmp_path / "s.yaml").write_text("[1, 2]")
    with pytest.raises(ValueError, match="must be a mapping"):
        read_settings(tmp_path / "s.yaml", [])
    with pytest.raises(FileNotFoundError):
        read_settings(tmp_path / "none.yaml", [])


def test_records_get_the_refined_captions_and_keep_their_own_where_there_are_none(folder):
    refine_store(folder)
    plain, labelled = get_dataset("scenes/val", num=12), get_dataset("scenes/val", num=12, captions_dir=str(folder))
    assert labelled[0].captions == (GOOD, OTHER) and labelled[1].captions == (OTHER,)
    assert labelled[2].captions == plain[2].captions and labelled[3].captions == plain[3].captions
    assert labelled[10].captions[1:] == (GOOD, OTHER) and LONG.startswith(labelled[10].captions[0])
    assert labelled.vocabulary == plain.vocabulary and len(labelled) == 12
    assert pickle.loads(pickle.dumps(labelled))[0].captions == (GOOD, OTHER)


@pytest.mark.parametrize("task", ["panoptic", "gres", "caption"])
def test_training_draws_one_of_them_at_each_visit(folder, task):
    refine_store(folder)
    record = get_dataset("scenes/val", num=1, captions_dir=folder)[0]
    drawn = {
        unify(
            record, task=task, rng=random.Random(visit), settings=UnifySettings(), training=True
        ).conversation.response
        for visit in range(20)
    }
    assert drawn == {GOOD, OTHER}


def test_captions_of_another_data_set_are_noticed(folder, tmp_path_factory):
    with pytest.raises(FileNotFoundError, match="run mvplm label refine"):
        get_dataset("scenes/val", captions_dir=folder)
    refine_store(folder)
    with pytest.raises(ValueError, match="no caption for any of the first 3 pictures"):
        with_captions(get_dataset("scenes/val", num=7)[3:6], folder)
    with pytest.raises(ValueError, match="did you mean 'captions_dir'"):
        get_dataset("scenes/val", caption_dir=folder)
    (folder / "refined.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(ValueError, match="line 1 is no line of refined captions"):
        RefinedCaptions(folder)


def test_texts_stay_on_disk(tmp_path):
    ids = [place if place % 2 else f'x", "captions": {place}' for place in range(3000)]
    text = "word " * 400
    with (tmp_path / "refined.jsonl").open("w") as file:
        file.writelines(refined_line(i, [{"captioner": "a", "text": f"{i} {text}"}]) for i in ids)
    tracemalloc.start()
    captions = RefinedCaptions(tmp_path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 200_000 < 3000 * len(text)
    for image_id in (ids[0], ids[1], ids[2999], ids[2998]):
        assert captions[image_id] == (f"{image_id} {text}",)
    assert captions[4] == () and captions["1"] == ()
