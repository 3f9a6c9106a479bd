"""Written predictions are read back as they were, by one process or several, and only when they are whole."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mvplm.data.panoptic_files import PanopticAnswer, PanopticFile, PanopticWriter
from mvplm.data.prediction_files import DetectionFile, ReferringFile, SemanticFile, read_predictions
from mvplm.data.prediction_writers import DetectionWriter, ReferringWriter, SemanticWriter
from mvplm.data.streamed_list import Share
from mvplm.evaluation.expressions import ExpressionAnswer
from mvplm.structures import Expression
from mvplm.structures.masks import decode_mask, encode_mask

SIZE = (3, 5)
MASK = arrays(bool, SIZE)
NUMBER = st.floats(0, 1e4, allow_nan=False, width=32)
IMAGE = st.one_of(st.integers(0, 10**9), st.text(max_size=4))
FEW = settings(max_examples=25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("written")


def left(folder):
    return sorted(path.name for path in folder.iterdir())


@FEW
@given(st.dictionaries(IMAGE, st.lists(st.tuples(NUMBER, NUMBER, MASK), max_size=3), min_size=1, max_size=4))
def test_finds_come_back_to_the_last_bit(folder, finds):
    with DetectionWriter(folder / "d.json") as writer:
        for image_id, rows in finds.items():
            entries = [
                {"category_id": 7, "score": score, "bbox": [x, 0.1 + x, 2.0, 3.0], "segmentation": encode_mask(mask)}
                for score, x, mask in rows
            ]
            writer.write(image_id, entries)
            writer.write(image_id, [*entries, *entries])  # a second time it counts for nothing
    file = read_predictions(folder / "d.json")
    assert isinstance(file, DetectionFile)
    for image_id, rows in finds.items():
        found = [entry.values for entry in file.of(image_id)]
        assert [(f["score"], f["bbox"][0], f["bbox"][1]) for f in found] == [(s, x, 0.1 + x) for s, x, _ in rows]
        assert all((decode_mask(f["segmentation"]) == mask).all() for f, (_, _, mask) in zip(found, rows, strict=True))
    assert not [name for name in left(folder) if name.startswith(".")]


@FEW
@given(st.dictionaries(IMAGE, arrays(np.int64, SIZE, elements=st.integers(-1, 2)), max_size=4))
def test_semantic_maps_come_back(folder, maps):
    with SemanticWriter(folder / "s.json") as writer:
        for image_id, class_map in maps.items():
            writer.write(image_id, class_map, category_ids=(10, 30, 20))
    file = read_predictions(folder / "s.json", empty=SemanticFile)
    assert isinstance(file, SemanticFile)
    for image_id, class_map in maps.items():
        found = np.full(SIZE, -1)
        for entry in file.of(image_id):
            found[decode_mask(entry.values["segmentation"])] = (10, 30, 20).index(entry.values["category_id"])
        assert (found == class_map).all()


@FEW
@given(
    st.lists(
        st.builds(
            ExpressionAnswer,
            masks=st.one_of(st.none(), MASK, arrays(bool, (2, *SIZE))),
            best=st.one_of(st.none(), MASK),
            box=st.one_of(st.none(), st.tuples(NUMBER, NUMBER, NUMBER, NUMBER)),
            status=st.sampled_from(("answered", "no_target", "unparsed")),
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_answers_to_expressions_come_back(folder, answers, numbered):
    asked = [Expression(f"the {i}th", (), id=i if numbered else None) for i in range(len(answers))]
    with ReferringWriter(folder / "e.json") as writer:
        for image_id in (3, "b"):  # ids and sentences are those of one image
            for expression, answer in zip(asked, answers, strict=True):
                writer.write(image_id, expression, answer=answer)
    file = read_predictions(folder / "e.json")
    assert isinstance(file, ReferringFile)
    assert file.masks == (
        any(a.masks is not None or a.best is not None for a in answers)
        or not file.boxes
        or (all(a.box is None for a in answers))
    )
    for image_id in (3, "b"):
        for expression, answer in zip(asked, answers, strict=True):
            values = file[file.key(image_id, expression)].values
            assert values["image_id"] == image_id and values["status"] == answer.status
            assert values["box"] == (None if answer.box is None else list(answer.box))
            for mask, code in ((answer.masks, values["segmentation"]), (answer.best, values["best"])):
                codes = code if isinstance(code, list) else [code]
                masks = [None] if mask is None else [mask] if mask.ndim == 2 else mask
                assert [None if c is None else decode_mask(c).tolist() for c in codes] == [
                    None if m is None else m.tolist() for m in masks
                ]


@FEW
@given(st.lists(arrays(np.int32, SIZE, elements=st.sampled_from((0, 1, 70000))), max_size=3))
def test_panoptic_maps_come_back_and_replace_earlier_ones(folder, maps):
    segments = [{"id": 1, "category_id": 4}, {"id": 70000, "category_id": 5}]
    with PanopticWriter(folder / "p.json", [{"id": 4, "name": "a", "isthing": 1}]) as writer:
        for image_id, segment_map in enumerate(maps):
            writer.add(image_id, PanopticAnswer(segment_map, segments))
            writer.add(image_id, PanopticAnswer(segment_map * 0, []))
    file = read_predictions(folder / "p.json")
    assert isinstance(file, PanopticFile) and len(list((folder / "p").iterdir())) == len(maps)
    for image_id, segment_map in enumerate(maps):
        assert (file.read(image_id, SIZE).segment_map == segment_map).all()
    assert json.loads((folder / "p.json").read_text())["categories"] == [{"id": 4, "name": "a", "isthing": 1}]


def test_several_processes_write_one_list_in_the_order_of_the_data(tmp_path):
    meeting = threading.Barrier(3)

    def work(rank):
        share = Share(rank, 3, meeting.wait)
        with (
            DetectionWriter(tmp_path / "d.json", share=share) as finds,
            PanopticWriter(tmp_path / "p.json", [], share=share) as maps,
        ):
            for place in [*range(rank, 7, 3), 7]:  # every process sees the last image
                finds.write(place, [{"category_id": 1, "score": 0.5, "bbox": [0, 0, 1, 1]}] * 2, place=place)
                maps.add(place, PanopticAnswer(np.full(SIZE, 0), []), file_name=f"{rank}{place}.png", place=place)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert [entry["image_id"] for entry in json.loads((tmp_path / "d.json").read_text())] == [
        i for i in range(8) for _ in range(2)
    ]
    assert read_predictions(tmp_path / "p.json").image_ids == list(range(8))
    assert left(tmp_path) == ["d.json", "p", "p.json"] and len(left(tmp_path / "p")) == 8


def test_a_process_whose_part_is_missing_is_named(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"part-1-d.jsonl is not there: all processes must write to one file"),
        DetectionWriter(tmp_path / "d.json", share=Share(0, 2)) as writer,
    ):
        writer.write(1, [])
    assert "d.json" not in left(tmp_path)


def test_an_interrupted_writer_leaves_what_was_there(tmp_path):
    def write(score, broken):
        with (
            DetectionWriter(tmp_path / "d.json") as finds,
            PanopticWriter(tmp_path / "p.json", []) as maps,
        ):
            finds.write(1, [{"category_id": 1, "score": score, "bbox": [0, 0, 1, 1]}])
            maps.add(1, PanopticAnswer(np.full(SIZE, 0 if score < 1 else 1), [{"id": 1, "category_id": 2}]))
            if broken:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(0.5, broken=True)
    assert left(tmp_path) == []
    write(0.5, broken=False)
    with pytest.raises(KeyboardInterrupt):
        write(1.0, broken=True)
    assert left(tmp_path) == ["d.json", "p", "p.json"]
    assert json.loads((tmp_path / "d.json").read_text())[0]["score"] == 0.5
    assert not read_predictions(tmp_path / "p.json").read(1, SIZE).segment_map.any()
