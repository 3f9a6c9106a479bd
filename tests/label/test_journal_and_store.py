"""The store: nothing lost, nothing twice, torn lines cut, one writer, no mixing."""

import json
import os

import pytest

from mvplm.data.journal import Journal, read_lines
from mvplm.label.store import (
    Caption,
    CaptionerInfo,
    CaptionStore,
    Failure,
    open_failures,
    read_captions,
    read_description,
    shards_of,
)

A, B = CaptionerInfo("a", "models/a", "r1", "What?"), CaptionerInfo("b", "mod:b", "r2", "")


def opened(folder, *infos, dataset=None, **extra) -> CaptionStore:
    return CaptionStore(folder, dataset=dataset or {"name": "d"}, captioners=infos or (A, B), **extra)


def test_every_cut_of_the_last_line_is_recognised(tmp_path):
    path = tmp_path / "x.jsonl"
    whole = b'{"a": 1}\n{"b": "\xc3\xa4"}\n'
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        before = whole[:cut].count(b"\n")
        assert len(list(read_lines(path))) == before
        journal = Journal(path)
        journal.append([{"c": 3}])
        journal.close()
        assert [list(line)[0] for line in read_lines(path)] == ["a", "b"][:before] + ["c"]


def test_a_long_torn_line_is_cut(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"x" * 200_000)
    Journal(path).close()
    assert path.read_bytes() == b'{"a": 1}\n'


@pytest.mark.parametrize("line", [b"oops\n", b"[1]\n", b"\x00\x00\n"])
def test_a_damaged_whole_line_is_named(tmp_path, line):
    (tmp_path / "x.jsonl").write_bytes(b'{"a": 1}\n' + line)
    with pytest.raises(ValueError, match=r"x\.jsonl, line 2"):
        list(read_lines(tmp_path / "x.jsonl"))


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "x.jsonl")
    journal.append([{"a": 1}])
    write = os.write

    def full(file, data):
        write(file, bytes(data[:3]))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mvplm.data.journal.os.write", full)
    with pytest.raises(OSError, match="No space"):
        journal.append([{"b": 2}])
    monkeypatch.undo()
    journal.append([{"c": 3}])
    assert (tmp_path / "x.jsonl").read_text() == '{"a": 1}\n{"c": 3}\n'


def test_short_writes_are_completed(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr("mvplm.data.journal.os.write", lambda file, data: write(file, bytes(data[:2])))
    Journal(tmp_path / "x.jsonl").append([{"a": "long enough"}])
    assert list(read_lines(tmp_path / "x.jsonl")) == [{"a": "long enough"}]


def test_captions_come_back_with_what_made_them(tmp_path):
    with opened(tmp_path) as store:
        store.add([Caption(1, "a", "one — ä"), Caption("1", "a", "other id"), Caption(1, "b", "")])
    with opened(tmp_path) as store:
        assert store.done == {"a": {(1, 0), ("1", 0)}, "b": {(1, 0)}}
    assert [c.text for c in read_captions(tmp_path)] == ["one — ä", "other id", ""]
    known = read_description(tmp_path)["captioners"]["a"]
    assert (known["model"], known["revision"], known["prompt"]) == ("models/a", "r1", "What?")
    line = json.loads((shards_of(tmp_path)[0]).read_text().splitlines()[0])
    assert line == {"image_id": 1, "captioner": "a", "text": "one — ä", "version": A.version}


def test_nothing_is_written_twice(tmp_path):
    with opened(tmp_path) as store:
        store.add([Caption(1, "a", "x")])
        for again in ([Caption(1, "a", "y")], [Caption(2, "a", "y"), Caption(2, "a", "z")]):
            with pytest.raises(ValueError, match="captioned image . already"):
                store.add(again)
    assert [c.text for c in read_captions(tmp_path)] == ["x"]
    shard = shards_of(tmp_path)[0]
    shard.write_bytes(shard.read_bytes() * 2)
    with pytest.raises(ValueError, match="a captioned image 1 twice"):
        opened(tmp_path)


def test_samples_are_kept_apart_and_a_store_without_them_goes_on(tmp_path):
    with opened(tmp_path) as store:
        store.add([Caption(1, "a", "x")])
    before = shards_of(tmp_path)[0].read_text()
    assert "sample" not in before
    with opened(tmp_path) as store:
        store.add([Caption(1, "a", "y", 1), Caption(1, "a", "z", 2)])
        with pytest.raises(ValueError, match="captioned image 1 already \\(sample 2\\)"):
            store.add([Caption(1, "a", "again", 2)])
        store.note([Failure(1, "a", "captioner", "x", 3), Failure(1, "a", "captioner", "x", 2)])
    text = shards_of(tmp_path)[0].read_text()
    assert text.startswith(before) and [json.loads(line).get("sample") for line in text.splitlines()] == [None, 1, 2]
    assert [(c.text, c.sample) for c in read_captions(tmp_path)] == [("x", 0), ("y", 1), ("z", 2)]
    assert [f.sample for f in open_failures(tmp_path)] == [3]


def test_what_further_captions_are_drawn_with_may_be_added_but_not_changed(tmp_path):
    def info(**decoding):
        return CaptionerInfo("a", "models/a", "r1", "What?", {"greedy": True, **decoding})

    warm, hot = ({"temperature": value} for value in (0.7, 1.2))
    for told in (info(), info(drawn=warm), info(), info(drawn=warm)):
        opened(tmp_path, told).__exit__()
    assert read_description(tmp_path)["captioners"]["a"]["decoding"] == {"greedy": True, "drawn": warm}
    for other in (info(drawn=hot), info(dtype="float16")):
        with pytest.raises(ValueError, match="had decoding"):
            opened(tmp_path, other)


def test_shards_follow_one_another(tmp_path):
    for start in range(0, 10, 2):
        with opened(tmp_path, shard_lines=3) as store:
            for place in (start, start + 1):
                store.add([Caption(place, "a", "x")])
    assert [len(list(read_lines(path))) for path in shards_of(tmp_path)] == [3, 3, 3, 1]
    assert [c.image_id for c in read_captions(tmp_path)] == list(range(10))


def test_one_writer_at_a_time(tmp_path):
    with opened(tmp_path), pytest.raises(ValueError, match="another process is writing"):
        opened(tmp_path)
    opened(tmp_path).__exit__()


def test_other_data_and_other_captioners_are_refused(tmp_path):
    opened(tmp_path).__exit__()
    with pytest.raises(ValueError, match="take another folder"):
        opened(tmp_path, dataset={"name": "e"})
    with pytest.raises(ValueError, match="had prompt 'What\\?', now it is 'Why\\?'.*NAME=SPEC"):
        opened(tmp_path, CaptionerInfo("a", "models/a", "r1", "Why?"))
    with pytest.raises(ValueError, match="two captioners are called 'a'"):
        opened(tmp_path, A, A)
    opened(tmp_path, CaptionerInfo("f", "m:f", "source-1", "")).__exit__()
    opened(tmp_path, CaptionerInfo("f", "m:f", "source-2", "")).__exit__()
    corrected = read_description(tmp_path)["captioners"]["f"]
    assert corrected["revision"] == "source-2" and len(corrected["earlier"]) == 1
    opened(tmp_path, CaptionerInfo("c", "models/c", "", "")).__exit__()
    assert list(read_description(tmp_path)["captioners"]) == ["a", "b", "f", "c"]


def test_failures_stay_open_until_there_is_a_caption(tmp_path):
    with opened(tmp_path) as store:
        store.note(
            [Failure(1, "a", "image", "bad"), Failure(2, "a", "captioner", "x"), Failure(1, "a", "image", "still")]
        )
        assert [f.error for f in open_failures(tmp_path)] == ["still", "x"]
        store.add([Caption(1, "a", "now")])
    assert open_failures(tmp_path) == [Failure(2, "a", "captioner", "x")]


def test_a_folder_without_captions(tmp_path):
    with pytest.raises(FileNotFoundError, match="mvplm label writes it"):
        read_description(tmp_path)
    (tmp_path / "store.json").write_text('{"format": 9}')
    with pytest.raises(ValueError, match="format 1"):
        read_description(tmp_path)
