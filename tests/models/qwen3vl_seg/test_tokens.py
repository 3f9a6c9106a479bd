"""Token orders: blocks of patches back to reading order, images of several sizes in one sequence."""

import pytest
import torch
from oracles.qwen3vl_seg import block_order, patch_rows

from mvplm.models.qwen3vl_seg.tokens import merged_maps, unblock, unblock_batch, unpatchify

GRIDS = [(2, 2), (4, 6), (2, 10), (10, 2), (6, 4)]


def test_the_first_patches_of_a_grid():
    assert block_order(4, 6)[:8] == [0, 1, 6, 7, 2, 3, 8, 9]


@pytest.mark.parametrize("grid", GRIDS)
def test_blocks_return_to_reading_order(grid):
    order = torch.tensor(block_order(*grid))
    read = torch.arange(grid[0] * grid[1] * 3.0).view(-1, 3)
    assert torch.equal(unblock(read[order], grid), read.view(*grid, 3))


def test_another_block_size():
    order = torch.tensor(block_order(6, 9, merge=3))
    assert torch.equal(unblock(order[:, None], (6, 9), merge=3)[..., 0], torch.arange(54).view(6, 9))


def test_a_plain_reshape_would_be_wrong():
    order = torch.tensor(block_order(4, 6))[:, None]
    assert not torch.equal(order.view(4, 6, 1), unblock(order, (4, 6)))


def test_images_of_several_sizes_in_one_sequence():
    starts = [100 * number for number in range(len(GRIDS))]
    parts = [torch.tensor(block_order(*grid)) + start for grid, start in zip(GRIDS, starts, strict=True)]
    maps = unblock_batch(torch.cat(parts)[:, None], GRIDS)
    for found, grid, start in zip(maps, GRIDS, starts, strict=True):
        assert torch.equal(found[0], torch.arange(grid[0] * grid[1]).view(grid) + start)


def test_merged_tokens_are_in_reading_order():
    counts = [height * width // 4 for height, width in GRIDS]
    tokens = torch.cat([torch.arange(count) for count in counts])[:, None]
    for found, (height, width) in zip(merged_maps(tokens, GRIDS), GRIDS, strict=True):
        assert torch.equal(found[0], torch.arange(height * width // 4).view(height // 2, width // 2))


@pytest.mark.parametrize("grid", GRIDS)
def test_the_image_comes_back_exactly(grid):
    image = torch.rand(3, 16 * grid[0], 16 * grid[1]) * 2 - 1
    assert torch.equal(unpatchify(patch_rows(image), grid), image)


def test_the_order_is_that_of_the_processor():
    """The library's own image processor, on a picture that needs no resizing."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    pixels = torch.randint(0, 256, (96, 160, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    half = [0.5, 0.5, 0.5]
    processor = Qwen2VLImageProcessorPil(patch_size=16, merge_size=2, image_mean=half, image_std=half)
    sizes = {"shortest_edge": 32 * 32, "longest_edge": 1024 * 1024}
    found = processor(images=[pixels.numpy()], size=sizes, return_tensors="pt")
    assert found["image_grid_thw"].tolist() == [[1, 6, 10]]
    image = unpatchify(found["pixel_values"], (6, 10))
    assert torch.allclose(image, pixels.permute(2, 0, 1) / 127.5 - 1, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: unblock(torch.zeros(6, 1), (2, 3)), "divisible by 2"),
        (lambda: unblock(torch.zeros(5, 1), (2, 2)), r"expected tokens \(4, C\)"),
        (lambda: unblock_batch(torch.zeros(5, 1), [(2, 2)]), r"expected tokens \(4, C\)"),
        (lambda: merged_maps(torch.zeros(5, 1), [(2, 2)]), r"expected tokens \(1, C\)"),
        (lambda: unpatchify(torch.zeros(4, 100), (2, 2)), "rows of 3"),
    ],
)
def test_what_does_not_fit_is_an_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()
