"""What can be asked about: every form of picture, one or many, encoded once however much is asked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.tiny import count_calls
from PIL import Image

from mvplm.perceiver import Perceiver
from mvplm.structures import Perception


def same(first: Perception, second: Perception, *, within: float = 0.0) -> None:
    """Equal answers: names exactly, numbers within a tolerance."""
    assert (first.size, first.task, first.query) == (second.size, second.task, second.query)
    assert first.instances.labels == second.instances.labels
    assert torch.equal(first.instances.class_index, second.instances.class_index)
    for name in ("boxes", "scores"):
        one, two = getattr(first.instances, name), getattr(second.instances, name)
        torch.testing.assert_close(one, two, rtol=0, atol=within)
    assert (first.instances.masks is None) == (second.instances.masks is None)
    if first.instances.masks is not None:
        assert first.instances.masks.shape == second.instances.masks.shape
        different = (first.instances.masks != second.instances.masks).sum()
        assert different <= within * first.instances.masks.numel()


FORMS = {
    "str path": lambda array, path: str(path),
    "path": lambda array, path: path,
    "PIL": lambda array, path: Image.fromarray(array),
    "uint8 tensor": lambda array, path: torch.from_numpy(array).permute(2, 0, 1),
    "float tensor": lambda array, path: torch.from_numpy(array).permute(2, 0, 1) / 255,
    "double tensor": lambda array, path: torch.from_numpy(array).permute(2, 0, 1).double() / 255,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_picture_gives_the_same_answer(perceiver: Perceiver, picture, tmp_path: Path, form: str):
    path = tmp_path / "a.png"
    Image.fromarray(picture).save(path)
    before = picture.copy()
    expected = perceiver.predict(picture, classes=["star", "ring"], mode="skip")
    answer = perceiver.predict(FORMS[form](picture, path), classes=["star", "ring"], mode="skip")
    same(answer, expected)
    assert len(answer.instances) and np.array_equal(answer._image, picture) and np.array_equal(picture, before)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8 or uint16"),
        (torch.zeros(2, 3, 4, 4), r"\(3, H, W\)"),
        (torch.full((3, 4, 4), 2.0), r"\[0, 1\]"),
        (7, "path, bytes, PIL image, array or tensor, got int"),
    ],
)
def test_other_forms_are_refused(perceiver: Perceiver, bad, message: str):
    with pytest.raises(ValueError, match=message):
        perceiver.predict(bad, classes=["star"])


def test_a_file_that_is_no_picture_is_named(perceiver: Perceiver, picture, tmp_path: Path):
    (tmp_path / "fake.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"fake\.png"):
        perceiver.predict([picture, tmp_path / "fake.png"], classes=["star"])
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        perceiver.predict(tmp_path / "gone.png", classes=["star"])


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_in_gives_a_list_out(perceiver: Perceiver, pictures, kind):
    together = perceiver.predict(kind(pictures), classes=["star", "ring"], mode="skip", batch_size=3)
    assert isinstance(together, list) and [answer.size for answer in together] == [p.shape[:2] for p in pictures]
    for picture, answer in zip(pictures, together, strict=True):
        same(answer, perceiver.predict(picture, classes=["star", "ring"], mode="skip"), within=1e-3)
    (alone,) = perceiver.predict(kind([pictures[0]]), classes=["star"], mode="skip")
    assert isinstance(alone, Perception)
    assert perceiver.predict([], classes=["star"]) == []


@pytest.mark.parametrize(("batch_size", "expected"), [(1, [1, 1, 1]), (2, [2, 1]), (8, [3]), (None, [2, 1])])
def test_batch_size_decides_how_many_go_together(perceiver: Perceiver, pictures, batch_size, expected):
    sizes, counting = count_calls(perceiver.model.encoder)
    with counting:
        answers = perceiver.predict(pictures, classes=["star"], mode="skip", batch_size=batch_size)
    assert sizes == expected and len(answers) == 3


def test_a_class_list_per_image(perceiver: Perceiver, pictures):
    lists = [["star"], ["ring", "green circle", "a blue thing"], ["star", "ring"]]
    answers = perceiver.predict(pictures, classes=lists, mode="skip", batch_size=3)
    for picture, names, answer in zip(pictures, lists, answers, strict=True):
        assert answer.query == names and set(answer.instances.labels) == set(names)
        same(answer, perceiver.predict(picture, classes=names, mode="skip"), within=1e-3)


def test_a_list_of_texts_gives_a_list_per_image_and_encodes_once(perceiver: Perceiver, pictures, loose):
    texts = ["the left one", "a green circle under the star", "sand"]
    sizes, counting = count_calls(perceiver.model.encoder)
    with counting:
        one = perceiver.predict(pictures[0], text=texts, mode="skip", settings=loose)
        assert sizes == [1]
        many = perceiver.predict(pictures, text=texts, mode="skip", settings=loose, batch_size=3)
        assert sizes == [1, 3]
    assert [answer.query for answer in one] == [[text] for text in texts]
    assert [[answer.query[0] for answer in row] for row in many] == [texts] * 3
    assert [row[0].size for row in many] == [picture.shape[:2] for picture in pictures]
    assert all(len(answer.instances) for answer in one)
    for answer, again in zip(one, many[0], strict=True):
        same(again, answer, within=1e-3)
    for text, answer in zip(texts, one, strict=True):
        alone = perceiver.predict(pictures[0], text=text, mode="skip", settings=loose)
        same(alone, answer, within=1e-3)
        assert alone.presence == pytest.approx(answer.presence, abs=1e-5)
    (only,) = perceiver.predict(pictures[0], text=["sand"], mode="skip")
    assert isinstance(only, Perception)


def test_set_image_encodes_once_for_any_number_of_questions(perceiver: Perceiver, picture, loose):
    sizes, counting = count_calls(perceiver.model.encoder)
    with counting:
        assert perceiver.set_image(picture) is perceiver
        words = perceiver.predict(classes=["star", "ring"], mode="skip")
        maps = perceiver.predict(classes=["star", "sky"], task="panoptic", mode="caption", settings=loose)
        sentences = perceiver.predict(text=["the left one", "sand"], mode="skip", settings=loose)
        assert sizes == [1]
    same(words, perceiver.predict(picture, classes=["star", "ring"], mode="skip"))
    assert maps.panoptic.segment_map.shape == picture.shape[:2]
    assert [answer.query for answer in sentences] == [["the left one"], ["sand"]]
    assert np.array_equal(words._image, picture)


def test_asking_without_any_image(perceiver: Perceiver):
    fresh = Perceiver(perceiver.model, perceiver.tokenizer, config=perceiver.config, settings=perceiver.settings)
    with pytest.raises(ValueError, match=r"give an image, or call set_image\(\) first"):
        fresh.predict(classes=["star"])


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused(perceiver: Perceiver, picture, batch_size: int):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}"):
        perceiver.predict(picture, classes=["star"], batch_size=batch_size)
