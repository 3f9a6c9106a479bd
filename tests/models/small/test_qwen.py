"""First positions of the small Qwen3-VL."""

import torch

from mvplm.models.small import SmallSizes, small_model, small_tokenizer


def test_places_of_patches_differ_in_both_axes():
    tokenizer = small_tokenizer(["a red star"] * 50, vocab_size=300)
    sizes = SmallSizes("qwen3_vl", 32, 1, 2, 32, vision_width=32, vision_layers=2, vision_heads=2, image=64)
    table = small_model(tokenizer, sizes).model.visual.pos_embed.weight.detach().view(8, 8, 32)
    assert torch.equal(table[:, 0, :16], table[:, 7, :16]) and torch.equal(table[0, :, 16:], table[7, :, 16:])
    nearest = torch.pdist(table.flatten(0, 1)).min()
    assert nearest > 0.3
    assert float(table.abs().max()) <= 0.5


def test_widths_that_are_no_multiple_of_four_keep_their_last_columns():
    tokenizer = small_tokenizer(["a red star"] * 50, vocab_size=300)
    sizes = SmallSizes("qwen3_vl", 32, 1, 2, 32, vision_width=30, vision_layers=2, vision_heads=3, image=64)
    table = small_model(tokenizer, sizes).model.visual.pos_embed.weight
    assert table.shape == (64, 30) and bool(torch.isfinite(table).all())
