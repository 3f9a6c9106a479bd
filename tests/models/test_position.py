"""Sine embeddings of map cells and boxes: golden numbers."""

import torch

from mvplm.models.position import box_position_embedding, map_position_embedding


# Golden G5.
def test_map_of_4_by_8() -> None:
    rows, columns = torch.tensor([4]), torch.tensor([8])
    embedding = map_position_embedding(rows, columns, shape=(4, 8), width=256)
    assert embedding.shape == (1, 32, 256)
    torch.testing.assert_close(embedding[0, 0, :4], torch.tensor([1, 0, 0.977918, 0.208991]), rtol=0, atol=2e-6)
    torch.testing.assert_close(
        embedding[0, 0, 128:132], torch.tensor([0.707107, 0.707107, 0.628892, 0.777493]), rtol=0, atol=2e-6
    )
    assert abs(embedding.sum().item() - 4004.6460) < 0.01


def test_padding_stretches_the_valid_part() -> None:
    padded = map_position_embedding(torch.tensor([2]), torch.tensor([3]), shape=(4, 4), width=16)
    tight = map_position_embedding(torch.tensor([2]), torch.tensor([3]), shape=(2, 3), width=16)
    torch.testing.assert_close(padded.view(4, 4, 16)[:2, :3], tight.view(2, 3, 16))


# Golden G6.
def test_box() -> None:
    embedding = box_position_embedding(torch.tensor([0.25, 0.5, 0.125, 0.75]), 256)
    expected = {
        0: [0, -1, 0.408751, -0.912646],
        128: [1, 0, 0.977918, 0.208991],
        256: [0.707107, 0.707107, 0.628892, 0.777493],
        384: [-1, 0, -0.807067, -0.590459],
    }
    assert embedding.shape == (512,)
    for start, values in expected.items():
        got = embedding[start : start + 4]
        torch.testing.assert_close(got, torch.tensor(values, dtype=torch.float32), rtol=0, atol=2e-6)
    torch.testing.assert_close(embedding.square().sum(), torch.tensor(256.0))


def test_float32_whatever_comes_in() -> None:
    boxes = torch.rand(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(box_position_embedding(boxes, 32), box_position_embedding(boxes, 32).float())
        assert box_position_embedding(boxes.bfloat16(), 32).dtype == torch.float32
