"""What only training needs goes from one leg to the next."""

import copy
from pathlib import Path

import pytest
import torch
from oracles.small_vlms import text_mask_parts
from torch import nn

from mvplm.models.text_mask.cells import CellTeacher
from mvplm.models.text_mask.looking import LookingTeacher
from mvplm.text4seg.teachers import TEACHER_FILE, load_teacher, save_teacher


def looking(*, steps: int, weight: float = 1.0) -> LookingTeacher:
    model = copy.deepcopy(text_mask_parts("llava").model.model)
    return LookingTeacher(model, image_id=1, box_weight=weight, steps=steps)


def test_the_next_leg_goes_on_with_the_steps_of_the_one_before(tmp_path: Path):
    first = CellTeacher(copy.deepcopy(text_mask_parts("llava").model.model), steps=7)
    save_teacher(first, tmp_path)
    second = looking(steps=7)
    own = copy.deepcopy(second.asked.state_dict())
    load_teacher(second, tmp_path)
    assert torch.equal(second.steps.weight, first.steps.weight) and torch.equal(second.steps.bias, first.steps.bias)
    assert torch.equal(second.asked.weight, own["weight"])
    save_teacher(second, tmp_path)
    third = looking(steps=7)
    load_teacher(third, tmp_path)
    assert torch.equal(third.asked.weight, second.asked.weight)


def test_a_leg_without_that_hint_leaves_it(tmp_path: Path):
    save_teacher(looking(steps=7), tmp_path)
    load_teacher(looking(steps=7, weight=0.0), tmp_path)


def test_steps_of_another_codec_are_refused(tmp_path: Path):
    save_teacher(looking(steps=7), tmp_path)
    with pytest.raises(ValueError, match=r"teacher.safetensors.*(?s:.)*legs need one codec"):
        load_teacher(looking(steps=9), tmp_path)


def test_what_a_leg_does_not_need_is_handed_on(tmp_path: Path):
    first, last = tmp_path / "first", tmp_path / "last"
    first.mkdir()
    last.mkdir()
    teacher = looking(steps=7)
    save_teacher(teacher, first)
    save_teacher(nn.Linear(2, 2), last, before=first)
    third = looking(steps=7)
    load_teacher(third, last)
    assert torch.equal(third.asked.weight, teacher.asked.weight)


def test_nothing_is_left_without_a_teacher_and_nothing_is_taken(tmp_path: Path):
    plain = nn.Linear(2, 2)
    save_teacher(plain, tmp_path)
    assert not (tmp_path / TEACHER_FILE).exists()
    load_teacher(plain, tmp_path)
