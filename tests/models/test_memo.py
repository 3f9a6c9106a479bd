"""Remembering by content: each thing computed once, the oldest forgotten, copies start empty."""

import copy

import torch

from mvplm.models.memo import Memo, content_key
from mvplm.models.vision import STRIDES, TimmEncoder

SIZES = {"channels": (8, 8, 16, 16), "layers": (1, 1, 1, 1)}


class Calls:
    """Doubles numbers and writes down which it was asked for."""

    def __init__(self, values: list[float]) -> None:
        self.values = values
        self.asked: list[list[int]] = []

    def __call__(self, places: list[int]) -> list[tuple[torch.Tensor, ...]]:
        self.asked.append(places)
        return [(torch.tensor([2 * self.values[place]]),) for place in places]


def look_up(memo: Memo, values: list[float]) -> tuple[list[float], list[list[int]]]:
    calls = Calls(values)
    rows = memo.rows([content_key(torch.tensor([value])) for value in values], calls)
    return [row[0].item() for row in rows], calls.asked


def test_everything_is_computed_once_and_equal_keys_share() -> None:
    memo = Memo(1 << 20)
    assert look_up(memo, [1.0, 2.0, 1.0]) == ([2.0, 4.0, 2.0], [[0, 1]])
    assert look_up(memo, [2.0, 3.0]) == ([4.0, 6.0], [[1]])
    assert look_up(memo, [3.0, 1.0]) == ([6.0, 2.0], [])
    assert len(memo) == 3


def test_the_least_recently_used_is_forgotten_beyond_the_budget() -> None:
    memo = Memo(8)  # two float32
    look_up(memo, [1.0, 2.0])
    look_up(memo, [1.0])
    assert look_up(memo, [3.0])[0] == [6.0]
    assert len(memo) == 2 and memo.size == 8
    assert look_up(memo, [1.0])[1] == [] and look_up(memo, [2.0])[1] == [[0]]
    assert look_up(Memo(0), [1.0, 2.0])[0] == [2.0, 4.0]


def test_keys_tell_values_shapes_and_types_apart() -> None:
    given = [torch.zeros(2), torch.zeros(1, 2), torch.zeros(2, dtype=torch.int32), torch.ones(2)]
    assert len({content_key(tensor) for tensor in given}) == 4
    assert content_key(torch.ones(4)[::2]) == content_key(torch.ones(2))


def test_copies_start_empty() -> None:
    memo = Memo(1 << 10, dtype=torch.float16)
    look_up(memo, [1.0])
    other = copy.deepcopy(memo)
    assert len(other) == other.size == 0 and other.budget == memo.budget and other.dtype == torch.float16


def test_a_frozen_encoder_gives_the_same_maps_whether_remembered_or_not() -> None:
    torch.manual_seed(0)
    encoder = TimmEncoder("resnet18", frozen=True, **SIZES)
    images = torch.randn(3, 3, 64, 64)
    plain = encoder(images)
    encoder.memo = Memo(1 << 20, dtype=torch.float16)
    runs = []
    encoder.backbone.register_forward_hook(lambda module, inputs, output: runs.append(len(inputs[0])))
    first, again, mixed = encoder(images), encoder(images), encoder(torch.cat([images[2:], images[:1] + 1]))
    assert runs == [3, 1]
    for stride in STRIDES:
        assert torch.equal(first[stride], again[stride]) and torch.equal(first[stride][2], mixed[stride][0])
        assert first[stride].dtype == torch.float32 and not first[stride].requires_grad
        torch.testing.assert_close(first[stride], plain[stride], atol=2e-3, rtol=2e-3)


def test_other_weights_are_not_answered_from_memory() -> None:
    torch.manual_seed(0)
    encoder = TimmEncoder("resnet18", frozen=True, **SIZES)
    encoder.memo = Memo(1 << 20)
    images = torch.randn(1, 3, 64, 64)
    before = encoder(images)[4]
    other = TimmEncoder("resnet18", frozen=True, **SIZES)
    encoder.load_state_dict(other.state_dict())
    assert not torch.equal(encoder(images)[4], before)
    torch.testing.assert_close(encoder(images)[4], other(images)[4])
