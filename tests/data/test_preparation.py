"""Conversions of many files: whole files, resumed runs, checksums."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvplm.data.label_maps import read_labels, write_labels
from mvplm.data.preparation import Converted, convert_all, sha256, whole_file
from mvplm.data.segments import SegmentIds, segment_entries


class Work:
    """Writes its key into a file and counts the calls; fails at the keys in ``bad``."""

    def __init__(self, folder: Path, *bad: str) -> None:
        self.folder, self.bad, self.calls = folder, bad, []

    def __call__(self, key: str) -> Converted:
        self.calls.append(key)
        with whole_file(self.folder / "out" / f"{key}.txt") as part:
            part.write_text(f"<{key}>")
            if key in self.bad:
                raise ValueError(f"cannot convert {key}")
        return Converted({"key": key}, (self.folder / "out" / f"{key}.txt",))


def convert(work: Work, keys: str = "abcd") -> list[dict]:
    return convert_all(list(keys), work, folder=work.folder, name="things", workers=1)


def test_everything_once_in_order_with_sums(tmp_path):
    work = Work(tmp_path)
    assert convert(work) == [{"key": key} for key in "abcd"] and work.calls == list("abcd")
    lines = (tmp_path / "things.sha256").read_text().splitlines()
    assert lines[0] == f"{hashlib.sha256(b'<a>').hexdigest()}  out/a.txt" and len(lines) == 4


def test_a_stopped_run_goes_on(tmp_path):
    with pytest.raises(ValueError, match="cannot convert c"):
        convert(Work(tmp_path, "c"))
    assert (
        sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "b.txt"]
        or (tmp_path / "out" / "d.txt").is_file()
    )
    assert not (tmp_path / "out" / "c.txt").exists() and not (tmp_path / "things.sha256").exists()
    with (tmp_path / ".things.journal.jsonl").open("a") as file:
        file.write(json.dumps({"key": "d"})[:7])  # killed while writing a line
    work = Work(tmp_path)
    assert convert(work) == [{"key": key} for key in "abcd"]
    assert work.calls == ["c", "d"]
    again = Work(tmp_path)
    assert convert(again) == [{"key": key} for key in "abcd"] and again.calls == []


def test_changed_and_lost_files_are_made_anew(tmp_path):
    convert(Work(tmp_path))
    (tmp_path / "out" / "b.txt").write_text("something else")
    (tmp_path / "out" / "d.txt").unlink()
    work = Work(tmp_path)
    convert(work)
    assert work.calls == ["b", "d"] and sha256(tmp_path / "out" / "b.txt") == hashlib.sha256(b"<b>").hexdigest()


def test_a_broken_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), whole_file(path) as part:
        part.write_text("ne")
        raise OSError("disk full")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x.txt"]


@pytest.mark.parametrize(("ending", "largest"), [(".png", 255), (".png", 60000), (".tif", 60000), (".tif", 7)])
def test_label_maps_come_back(tmp_path, ending, largest):
    values = np.arange(12).reshape(3, 4) * (largest // 11)
    write_labels(values, tmp_path / f"map{ending}")
    assert np.array_equal(read_labels(tmp_path / f"map{ending}"), values)


def test_label_maps_that_are_none(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "colour.png")
    with pytest.raises(ValueError, match="colour.png: its pixels are colours"):
        read_labels(tmp_path / "colour.png")
    with pytest.raises(FileNotFoundError, match="label map not found"):
        read_labels(tmp_path / "none.png")
    with pytest.raises(ValueError, match="shape"):
        write_labels(np.zeros((2, 2, 3), int), tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"lie in \[0, 65535\], got \[-1, 0\]"):
        write_labels(np.array([[-1, 0]]), tmp_path / "x.png")


def test_segment_ids_are_near_the_colour_and_differ():
    ids = SegmentIds({3: (1, 2, 3), 4: (1, 2, 3), 5: (0, 0, 0), 6: (255, 255, 255)})
    first = 1 + 2 * 256 + 3 * 65536
    assert [ids.next(category) for category in (3, 3, 4, 5, 6, 6)] == [first, first + 1, first + 2, 1, 256**3 - 1, 2]


def test_segments_without_pixels_are_left_out():
    ids = np.array([[0, 5, 5], [0, 5, 0]])
    assert segment_entries(ids, {5: 1, 6: 2}, crowds=[5]) == [
        {"id": 5, "category_id": 1, "area": 3, "bbox": [1, 0, 2, 2], "iscrowd": 1}
    ]
