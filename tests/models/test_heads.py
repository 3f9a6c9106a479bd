"""Similarity, box and mask heads."""

import math

import pytest
import torch

from mvplm.models.heads import Heads


def _heads(focal: bool = False) -> Heads:
    torch.manual_seed(0)
    return Heads(16, mask_width=8, text_width=12, focal=focal)


def test_names_of_parameters() -> None:
    names = {name.rsplit(".", 1)[0] for name, _ in _heads().named_parameters()}
    assert names == {
        *(f"box.layers.{i}" for i in range(3)),
        *(f"mask.layers.{i}" for i in range(3)),
        *(f"{family}.layers.{i}" for family in ("word", "sentence") for i in range(2)),
    }


def test_word_logits_equal_loops() -> None:
    heads = _heads()
    hidden, text = torch.randn(3, 2, 4, 16), torch.randn(2, 5, 12)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    no_object, bias = torch.randn(12), torch.tensor(0.7)
    logits = heads.word_logits(hidden, text, name_mask=mask, no_object=no_object, no_object_bias=bias)
    visual = heads.word(hidden)
    assert logits.shape == (3, 2, 4, 6)
    for b in range(2):
        for k in range(5):
            expected = (visual[:, b] * text[b, k]).sum(-1) if mask[b, k] else torch.full((3, 4), -math.inf)
            torch.testing.assert_close(logits[:, b, :, k], expected)
    torch.testing.assert_close(logits[..., 5], (visual * no_object).sum(-1) + 0.7)


def test_padded_names_get_no_gradient_and_no_probability() -> None:
    heads = _heads()
    text = torch.randn(1, 4, 12, requires_grad=True)
    mask = torch.tensor([[True, True, False, False]])
    no_object, bias = torch.zeros(12, requires_grad=True), torch.zeros(1, requires_grad=True)
    logits = heads.word_logits(torch.randn(1, 3, 16), text, name_mask=mask, no_object=no_object, no_object_bias=bias)
    assert not logits.softmax(-1)[..., 2:4].any()
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor([0, 4, 1])).backward()
    assert not text.grad[0, 2:].any() and text.grad[0, :2].any()
    assert bias.grad.any()
    assert all(p.grad is None or p.grad.isfinite().all() for p in [text, no_object, bias, *heads.parameters()])


# Golden G24.
def test_length_of_the_list_does_not_matter() -> None:
    heads = _heads()
    hidden, text = torch.randn(1, 3, 16), torch.randn(1, 2, 12)
    args = {"no_object": torch.randn(12), "no_object_bias": torch.zeros(())}
    alone = heads.word_logits(hidden, text, name_mask=torch.ones(1, 2, dtype=torch.bool), **args)
    padded_text = torch.cat([text, torch.randn(1, 3, 12)], dim=1)
    mask = torch.tensor([[True, True, False, False, False]])
    padded = heads.word_logits(hidden, padded_text, name_mask=mask, **args)
    torch.testing.assert_close(padded[..., [0, 1, 5]], alone)


def test_sentence_logits() -> None:
    heads = _heads()
    hidden, text = torch.randn(3, 2, 4, 16), torch.randn(2, 1, 12)
    logits = heads.sentence_logits(hidden, text)
    assert logits.shape == (3, 2, 4, 1)
    torch.testing.assert_close(logits[..., 0], (heads.sentence(hidden) * text).sum(-1))


def test_focal_form_starts_at_one_percent() -> None:
    heads = _heads(focal=True)
    mask = torch.tensor([[True, False]])
    logits = heads.word_logits(torch.zeros(1, 2, 16), torch.zeros(1, 2, 12), name_mask=mask)
    assert logits.shape == (1, 2, 2)
    torch.testing.assert_close(logits[..., 0].sigmoid(), torch.full((1, 2), 0.01))
    assert not logits[..., 1].sigmoid().any()


def test_softmax_form_needs_no_object() -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="no-object"):
        _heads().word_logits(torch.zeros(1, 2, 16), torch.zeros(1, 2, 12), name_mask=mask)


def test_float32_under_autocast() -> None:
    heads = _heads()
    torch.nn.init.normal_(heads.box.layers[-1].weight)
    hidden, mask = torch.randn(1, 3, 16), torch.ones(1, 2, dtype=torch.bool)
    plain = heads.box(hidden)
    with torch.autocast("cpu", torch.bfloat16):
        logits = heads.word_logits(
            hidden, torch.randn(1, 2, 12), name_mask=mask, no_object=torch.zeros(12), no_object_bias=torch.zeros(1)
        )
        assert logits.dtype == heads.sentence_logits(hidden, torch.randn(1, 1, 12)).dtype == torch.float32
        torch.testing.assert_close(heads.box(hidden.clone()), plain)


def test_boxes_start_unmoved_and_masks_have_their_width() -> None:
    heads = _heads()
    assert not heads.box(torch.randn(2, 3, 16)).any()
    assert heads.mask_embeddings(torch.randn(5, 2, 3, 16)).shape == (5, 2, 3, 8)
