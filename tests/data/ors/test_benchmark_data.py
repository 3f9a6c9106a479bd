"""ORS-Bench in the catalog, and the buckets of one's own samples."""

import json
from pathlib import Path

import numpy as np
import pytest

from mvplm.data.catalog import get_dataset
from mvplm.data.datasets.ors import BUCKETS, PARTS
from mvplm.data.leaks import find_leaks
from mvplm.data.ors.buckets import BucketRules, assign_buckets, covered, ood_of
from mvplm.data.ors.texts import CATEGORY_PROMPT
from mvplm.structures.masks import decode_mask, encode_mask

SIZE = (100, 100)


def instance(label: str, rows: int) -> dict:
    mask = np.zeros(SIZE, bool)
    mask[:rows] = True
    return {"label": label, "bbox": [0, 0, 100, rows], "mask_rle": encode_mask(mask)}


def sample(name: str, **changed) -> dict:
    plain = {
        **{"id": name, "image": "a.jpg", "height": 100, "width": 100, "instruction": "the dog", "kind": "phrasal"},
        **{"ood": None, "instances": [instance("dog", 30)], "source": "drawn"},
    }
    return plain | changed


def write(path: Path, *samples: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in samples), encoding="utf-8")
    return path


def picture(path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (100, 100)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(
        tmp_path / "ors_bench" / "a.jsonl",
        sample("1"),
        sample("2", image="inner/b.jpg", kind="category_multi", instruction=CATEGORY_PROMPT.format(text="dog")),
        sample("3", instruction="nothing", instances=[], kind="descriptive"),
    )
    write(
        tmp_path / "ors_bench" / "b.jsonl",
        sample("4", image="coco/c.jpg", ood="risk"),
        sample("5", instances=[instance("dog", 10), instance("cat", 20)], kind="category_multi"),
    )
    for place in ("ors_bench/a.jpg", "ors_bench/images/inner/b.jpg", "coco/c.jpg"):
        picture(tmp_path / place)
    return tmp_path


def test_samples_of_a_picture_are_one_record(root: Path):
    records = get_dataset("ors_bench", root=root)
    first, second, third = records
    assert [record.image_id for record in records] == ["a.jpg", "inner/b.jpg", "coco/c.jpg"]
    assert [e.text for e in first.expressions] == ["the dog", "nothing", "the dog"]
    assert [e.targets for e in first.expressions] == [(0,), (), (1, 2)]
    assert [e.kind for e in first.expressions] == ["phrasal", "descriptive", "category_multi"]
    assert [e.id for e in first.expressions] == [0, 2, 1_000_001]
    assert second.expressions[0].text == "dog", "the prompt around a category is taken off"
    assert third.expressions[0].kind == "ood_risk"
    assert decode_mask(first.annotations[2].segmentation, first.size).sum() == 2000
    assert first.annotations[2].phrase == "cat" and first.annotations[2].box == (0, 0, 100, 20)
    assert records.picture_keys() == ["a", "b", "c"] and set(records.files.hashes()) == {"a.jsonl", "b.jsonl"}
    assert all(Path(record.image).is_file() for record in records)


@pytest.mark.parametrize(
    ("part", "count"),
    [("id", 4), ("ood", 1), ("phrasal", 1), ("category_multi", 2), ("descriptive", 1), ("ood_risk", 1)],
)
def test_parts(root: Path, part: str, count: int):
    records = get_dataset(f"ors_bench/{part}", root=root)
    assert sum(len(record.expressions) for record in records) == count
    assert records[0].source == f"ors_bench/{part}"


def test_every_part_has_a_name_in_the_catalog(root: Path):
    for part in PARTS:
        try:
            assert len(get_dataset(f"ors_bench/{part}", root=root))
        except ValueError as error:
            assert f"has no sample of part {part!r}" in str(error)
    assert set(BUCKETS) < set(PARTS) and len(BUCKETS) == 10


def test_a_folder_of_its_own(root: Path, tmp_path: Path):
    folder = root / "ors_bench"
    assert len(get_dataset("ors_folder", root=folder, part="phrasal")) == 1
    assert len(get_dataset("ors_folder", root=folder, num=2)) == 2
    elsewhere = get_dataset("ors_folder", root=folder, images=str(root / "coco"))
    with pytest.raises(FileNotFoundError, match="picture a.jpg is in none of"):
        elsewhere[0]
    leak = find_leaks({"bench": get_dataset("ors_bench", root=root), "mine": get_dataset("ors_folder", root=folder)})
    assert leak[0].keys == ("a", "b", "c")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "phrase"}, "unknown kind in .*line 1 'phrase'; did you mean 'phrasal'"),
        ({"ood": "areas"}, "unknown ood in .*line 1 'areas'; did you mean 'area'"),
        ({"instances": [{"label": "dog"}]}, "an instance needs label, bbox with 4 numbers, and mask_rle"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, changed: dict, message: str):
    write(tmp_path / "x.jsonl", sample("1", **changed))
    with pytest.raises(ValueError, match=message):
        get_dataset("ors_folder", root=tmp_path)


def test_other_wrong_files(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no samples \(\*.jsonl\)"):
        get_dataset("ors_folder", root=tmp_path)
    (tmp_path / "x.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(ValueError, match="line 1 has no height, image, instances, instruction, kind, width"):
        get_dataset("ors_folder", root=tmp_path)
    (tmp_path / "x.jsonl").write_text("[\n")
    with pytest.raises(ValueError, match="line 1 is not JSON"):
        get_dataset("ors_folder", root=tmp_path)
    with pytest.raises(ValueError, match="unknown part 'idd'"):
        get_dataset("ors_folder", root=tmp_path, part="idd")


@pytest.mark.parametrize(
    ("labels", "rows", "expected"),
    [
        (["dog"], 30, None),
        (["Dogs"], 30, None),
        (["cat"], 30, "category"),
        (["rare"], 30, "category"),
        (["seldom"], 30, None),
        (["dog", "cat"], 30, "category"),
        (["dog"], 71, "area"),
        (["dog"], 70, None),
        (["cat"], 71, "category"),
        ([], 0, None),
    ],
)
def test_buckets_by_rule(labels: list[str], rows: int, expected: str | None):
    counts = {"dog": 19_996, "rare": 1, "seldom": 3}
    one = sample("1", instances=[instance(label, rows) for label in labels])
    assert ood_of(one, counts, total=20_000, rules=BucketRules()) == expected


def test_a_bucket_that_is_said_stays_and_small_objects_are_out():
    one = sample("1", ood="lighting", instances=[instance("cat", 30)])
    assert ood_of(one, {"dog": 1}, total=1, rules=BucketRules()) == "lighting"
    small = sample("2")
    mask = np.zeros(SIZE, bool)
    mask[0, :19] = True
    small["instances"][0]["mask_rle"] = encode_mask(mask)
    assert ood_of(small, {"dog": 1}, total=1, rules=BucketRules()) == "area"
    mask[0, :20] = True
    small["instances"][0]["mask_rle"] = encode_mask(mask)
    assert covered(small) == 0.002 and ood_of(small, {"dog": 1}, total=1, rules=BucketRules()) is None
    overlapping = sample("3", instances=[instance("dog", 50), instance("dog", 40)])
    assert covered(overlapping) == 0.5


def test_files_get_their_buckets(tmp_path: Path):
    mine = write(tmp_path / "mine.jsonl", sample("1"), sample("2", instances=[instance("cat", 30)]))
    training = write(tmp_path / "train.jsonl", sample("t"))
    summary = assign_buckets(mine, [training], out=tmp_path / "out" / "mine.jsonl")
    assert summary.buckets == {"phrasal": 1, "ood_category": 1} and summary.unseen == {"cat"}
    written = [json.loads(line) for line in (tmp_path / "out" / "mine.jsonl").read_text().splitlines()]
    assert [one["ood"] for one in written] == [None, "category"]
    with pytest.raises(ValueError, match="the training samples have no instances"):
        assign_buckets(mine, [write(tmp_path / "none.jsonl")], out=tmp_path / "x")
    with pytest.raises(ValueError, match="0 <= min_area <= max_area <= 1"):
        BucketRules(min_area=0.8)
