"""``torch.compile`` in a perceiver: the parts are traced, and the answers stay."""

import pytest
import torch
from oracles.tiny import noise_picture, tiny_perceiver
from torch._dynamo.testing import CompileCounter


@pytest.mark.parametrize("question", [{"classes": ["ring", "star"], "task": "instance"}, {"text": "the ring"}])
def test_compiled_parts_give_the_same_answers(question, loose):
    plain, compiled, counter = tiny_perceiver(), tiny_perceiver(), CompileCounter()
    assert compiled.compile(backend=counter) is compiled
    picture = noise_picture(48, 40, seed=4)
    one, other = (each.predict(picture, mode="skip", settings=loose, **question) for each in (plain, compiled))
    assert len(one.instances.scores) == len(other.instances.scores) > 0
    torch.testing.assert_close(other.instances.scores, one.instances.scores, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.instances.boxes, one.instances.boxes, rtol=1e-3, atol=1e-2)
    assert counter.frame_count >= 3
