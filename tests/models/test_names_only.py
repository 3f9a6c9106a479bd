"""A language model that reads names alone gives the answers of one that reads the whole prompt, and reads them once."""

import numpy as np
import pytest
import torch
from oracles.tiny import NAMES, build_tiny, tiny_config
from torch import Tensor

from mvplm.perceiver import Perceiver

COMMON = ("prompt.order=instruction_first", "model.query.fusion=visual_only", "response.kind=none")
ALONE = (*COMMON, "model.llm.reads=names")


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (60, 50, 3), dtype=np.uint8)


def same(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("question", [{"classes": list(NAMES)}, {"text": "the star left of the green circle"}])
def test_answers_are_those_of_the_whole_prompt(question: dict) -> None:
    whole, alone = build_tiny(0, *COMMON), build_tiny(0, *ALONE)
    alone.model.load_state_dict(whole.model.state_dict())
    first, second = whole.predict(picture(1), **question), alone.predict(picture(1), **question)
    same(torch.as_tensor(first.instances.boxes), torch.as_tensor(second.instances.boxes))
    same(torch.as_tensor(first.instances.scores), torch.as_tensor(second.instances.scores))


def readings(perceiver: Perceiver) -> list[int]:
    """Rows of every run of the language model from now on."""
    rows: list[int] = []
    perceiver.model.llm.model.register_forward_hook(
        lambda module, args, kwargs, output: rows.append(len(kwargs["inputs_embeds"])), with_kwargs=True
    )
    return rows


def test_a_frozen_model_reads_a_list_once() -> None:
    perceiver = build_tiny(0, *ALONE, "model.llm.train=false")
    rows = readings(perceiver)
    pictures = [picture(seed) for seed in range(3)]
    first = perceiver.predict(pictures, classes=list(NAMES))
    assert rows and set(rows) == {1}
    rows.clear()
    again = perceiver.predict(pictures, classes=list(NAMES))
    assert not rows
    perceiver.predict(pictures, classes=list(NAMES[:2]))
    assert rows
    assert all(np.array_equal(a.instances.boxes, b.instances.boxes) for a, b in zip(first, again, strict=True))


def test_what_it_needs_is_said() -> None:
    with pytest.raises(ValueError, match="so prompt.order must be 'instruction_first', not 'image_first'"):
        tiny_config("model.llm.reads=names", *COMMON[1:])
    with pytest.raises(ValueError, match="so model.query.fusion must be 'visual_only'"):
        tiny_config("model.llm.reads=names", COMMON[0], COMMON[2])
    with pytest.raises(ValueError, match=r"so data.sources.a.response must be 'none', not 'caption'"):
        tiny_config(*ALONE, "data.sources.a={dataset: scenes/train, task: panoptic, response: caption}")
    with pytest.raises(ValueError, match=r"data.sources.a cannot train on captions"):
        tiny_config(*ALONE, "data.sources.a={dataset: scenes/train, task: caption}")


@pytest.mark.parametrize(("task", "response"), [("gres", "none"), ("instance", "caption")])
def test_looks_need_names_and_no_caption(task: str, response: str) -> None:
    source = f"data.sources.a={{dataset: scenes/train, task: {task}, response: {response}, windows: 4}}"
    with pytest.raises(ValueError, match=r"data.sources.a.windows is 4, which mirrors and crops pictures"):
        tiny_config(source)
