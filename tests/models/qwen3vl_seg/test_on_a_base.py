"""The decoder on what a Qwen3-VL gives: the vision tower's own outputs, split and ordered."""

import pytest
import torch
from oracles.qwen3vl_seg import patch_rows, random_boxes

import mvplm
from mvplm.models.qwen3vl_seg import DecoderInput
from mvplm.models.qwen3vl_seg.tokens import merged_maps, unblock, unpatchify

GRIDS = [(4, 6), (6, 2)]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return mvplm.create_model("qwen3vl-seg-tiny").eval()


def seen(model, images):
    """The vision tower's outputs for normalised images (3, H, W)."""
    grids = torch.tensor([[1, image.shape[1] // 16, image.shape[2] // 16] for image in images])
    rows = torch.cat([patch_rows(image) for image in images])
    return model.base.model.visual(rows, grid_thw=grids)


@pytest.mark.parametrize("cell", [(0, 0), (0, 2), (1, 1)])
@torch.no_grad()
def test_a_bright_cell_is_where_the_map_changes_most(model, cell):
    """One 32 x 32 cell is made bright: merged maps change most there, and un-merged ones once they are un-blocked."""
    row, column = cell
    dark = torch.zeros(3, 64, 96)
    bright = dark.clone()
    bright[:, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = 1
    before, after = seen(model, [dark]), seen(model, [bright])
    merged = merged_maps((after.pooler_output - before.pooler_output).abs(), [(4, 6)])[0].sum(0)
    assert divmod(int(merged.argmax()), 3) == cell
    patches = unblock((after.last_hidden_state - before.last_hidden_state).abs(), (4, 6)).sum(-1)
    assert divmod(int(patches.argmax()), 6) in [(2 * row + i, 2 * column + j) for i in (0, 1) for j in (0, 1)]


@torch.no_grad()
def test_masks_for_several_images_of_several_sizes(model):
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, 16 * h, 16 * w, generator=generator) * 2 - 1 for h, w in GRIDS]
    out = seen(model, images)
    levels = [merged_maps(tokens, GRIDS) for tokens in (*out.deepstack_features, out.pooler_output)]
    entries = [
        DecoderInput(
            list(maps),
            unpatchify(patch_rows(image), grid),
            # The language model's states have the same order and width; its own are not needed here.
            maps[-1],
            mask_states=torch.randn(count, 64, generator=generator),
            boxes=random_boxes(count, generator),
        )
        for *maps, image, grid, count in zip(*levels, images, GRIDS, (3, 1), strict=True)
    ]
    found = model.mask_decoder(entries)
    assert [output.logits.shape for output in found] == [(3, 8, 12), (1, 12, 4)]
    assert found[0].masks((50, 77)).shape == (3, 50, 77)
    for entry, output in zip(entries, found, strict=True):
        assert torch.allclose(model.mask_decoder([entry])[0].logits, output.logits, atol=1e-5, rtol=0)
