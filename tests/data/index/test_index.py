"""The index: right entries in any order of the file, made once, made again after a change, shared by processes."""

import json
import logging
import multiprocessing
import os
import pickle
import random
import sqlite3
import threading
from pathlib import Path

import pytest

from mvplm.data.index import IndexPlan, open_index
from mvplm.data.index import build as building
from mvplm.data.index.build import index_place

PLAN = IndexPlan("test")
IMAGES = [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "ä.jpg"}, {"id": 50, "file_name": "c.jpg"}]
CATEGORIES = [{"id": 2, "name": "chat"}, {"id": 9, "name": "château"}]


def boxes() -> list[dict]:
    draw = random.Random(0)
    found = [
        {"id": 1000 + 3 * place, "image_id": draw.choice((7, 3)), "note": "ü" * (place % 3)} for place in range(40)
    ]
    draw.shuffle(found)
    return found


def write(path: Path, **parts) -> Path:
    path.write_text(json.dumps({"info": {"images": [1]}, **parts}, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "boxes.json", images=IMAGES, annotations=boxes(), categories=CATEGORIES)


@pytest.mark.parametrize("order", [("images", "annotations", "categories"), ("categories", "annotations", "images")])
def test_every_item_has_its_children_in_the_order_of_the_file(tmp_path, order):
    parts = {"images": IMAGES, "annotations": boxes(), "categories": CATEGORIES}
    index = open_index(write(tmp_path / "f.json", **{key: parts[key] for key in order}), PLAN)
    assert len(index) == 3 and index.num_children == 40
    for place, image in enumerate(IMAGES):
        entry = index.entry(place)
        assert entry.item == image == index.item(place)
        assert entry.children == [box for box in boxes() if box["image_id"] == image["id"]]
        assert index.place_of(image["id"]) == place and index.file_name(place) == image["file_name"]
    assert list(index.file_names()) == ["b.jpg", "ä.jpg", "c.jpg"] and index.extra("categories") == CATEGORIES
    assert index.place_of(4) is None and index.extra("licenses") == []
    with pytest.raises(IndexError, match="entry 3 of 3"):
        index.entry(3)


def test_it_is_made_once_and_again_when_the_file_changes(file, monkeypatch):
    first = open_index(file, PLAN)
    made = first.index.stat().st_mtime_ns
    monkeypatch.setattr(building, "_fill", lambda *_, **__: pytest.fail("made again"))
    assert open_index(file, PLAN).index.stat().st_mtime_ns == made
    monkeypatch.undo()
    write(file, images=IMAGES[:1], annotations=[], categories=[])
    assert len(open_index(file, PLAN)) == 1
    assert sorted(path.name for path in file.parent.iterdir() if not path.name.endswith(".lock")) == [
        "boxes.json",
        "boxes.json.test.index",
    ]


@pytest.mark.parametrize("junk", [b"", b"no database at all, but long enough to look at " * 50])
def test_a_broken_index_is_made_again(file, junk):
    index_place(file, PLAN).write_bytes(junk)
    assert len(open_index(file, PLAN)) == 3


def test_a_build_that_dies_leaves_nothing_behind(file, monkeypatch):
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "_count", die)
    with pytest.raises(KeyboardInterrupt):
        open_index(file, PLAN)
    assert not index_place(file, PLAN).exists()
    monkeypatch.undo()
    assert len(open_index(file, PLAN)) == 3 and not list(file.parent.glob("*.building"))


def test_entries_are_chosen(tmp_path):
    plan = IndexPlan(
        "few",
        keep_item=lambda image: image["id"] != 7,
        keep_child=lambda box: box["id"] % 2 == 0,
        need_children=True,
    )
    index = open_index(write(tmp_path / "f.json", images=IMAGES, annotations=boxes()), plan)
    kept = [box for box in boxes() if box["image_id"] == 3 and box["id"] % 2 == 0]
    assert kept and len(index) == 1 and index.entry(0).children == kept and index.num_children == len(kept)


def test_a_file_that_is_one_list(tmp_path):
    file = tmp_path / "list.json"
    file.write_text(json.dumps([{"id": "a", "image": "1.jpg"}, {"id": "a"}]))
    index = open_index(file, IndexPlan("list", items=None, children=None, file_name="image"))
    assert [index.item(place) for place in range(2)] == [{"id": "a", "image": "1.jpg"}, {"id": "a"}]
    assert list(index.file_names()) == ["1.jpg", None] and index.entry(1).children == []


def test_what_is_wrong_is_said(tmp_path, caplog):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_index(tmp_path / "nowhere.json", PLAN)
    twice = write(tmp_path / "twice.json", images=[{"id": 5}, {"id": 6}, {"id": 5}], annotations=[])
    with pytest.raises(ValueError, match=r"twice\.json: the id 5 stands twice in images"):
        open_index(twice, PLAN)
    bare = write(tmp_path / "bare.json", images=[{"id": 5}], annotations=[{"id": 1}])
    with pytest.raises(ValueError, match="needs a number or text under 'image_id'"):
        open_index(bare, PLAN)
    lost = write(tmp_path / "lost.json", images=[{"id": 5}], annotations=[{"id": 1, "image_id": 6}])
    with caplog.at_level(logging.WARNING):
        assert open_index(lost, PLAN).num_children == 0
    assert "1 entries of annotations belong to no entry of images" in caplog.text


def test_another_folder_for_the_index(file, tmp_path, monkeypatch):
    monkeypatch.setenv("MVPLM_INDEX", str(tmp_path / "fast" / "disk"))
    index = open_index(file, PLAN)
    assert index.index.parent == tmp_path / "fast" / "disk" and len(index) == 3
    assert not (tmp_path / "boxes.json.test.index").exists()
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("MVPLM_INDEX", str(tmp_path / "taken"))
    with pytest.raises(ValueError, match="cannot write the index of .* set MVPLM_INDEX to a folder with room"):
        open_index(file, PLAN)


def _ids(index, answers) -> None:
    answers.put((os.getpid(), [len(index.entry(place).children) for place in range(3)]))


def test_workers_open_the_files_for_themselves(file):
    index = open_index(file, PLAN)
    counts = [len(index.entry(place).children) for place in range(3)]
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    worker = context.Process(target=_ids, args=(index, answers))
    worker.start()
    assert answers.get(timeout=60)[1] == counts
    worker.join()
    assert [len(index.entry(place).children) for place in range(3)] == counts


def test_threads_and_copies_read_alike(file):
    index = open_index(file, PLAN)
    copy = pickle.loads(pickle.dumps(index))
    whole = [index.entry(place) for place in range(3)]
    found: list = []
    threads = [threading.Thread(target=lambda: found.append([copy.entry(p) for p in range(3)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [whole] * 4


def _open(path: Path, answers) -> None:
    made = []
    original = building._fill
    building._fill = lambda *arguments, **named: (made.append(1), original(*arguments, **named))
    answers.put((len(open_index(path, PLAN)), len(made)))


def test_of_several_processes_one_builds(file):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    workers = [context.Process(target=_open, args=(file, answers)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert [length for length, _ in found] == [3, 3, 3] and sum(made for _, made in found) == 1


def test_an_index_is_never_written_to(file):
    index = open_index(file, PLAN)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        index._handles().database.execute("DELETE FROM items")
