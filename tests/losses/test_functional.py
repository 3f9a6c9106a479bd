"""Golden values of the loss terms."""

import math

import pytest
import torch

from mvplm.losses import functional


# Golden G25.
@pytest.mark.parametrize("names", [2, 80, 133, 7])
def test_cross_entropy_at_zero_logits(names):
    loss = functional.softmax_cross_entropy(torch.zeros(6, names + 1), torch.tensor([0, 1, names, names, 0, names]))
    assert float(loss) == pytest.approx(math.log(names + 1), abs=1e-5)


def test_cross_entropy_with_padded_names_has_finite_gradients():
    logits = torch.randn(4, 5, requires_grad=True)
    padded = torch.tensor([False, False, True, True, False])
    masked = logits.masked_fill(padded, -math.inf)
    loss = functional.softmax_cross_entropy(masked, torch.tensor([0, 1, 4, 4]))
    short = functional.softmax_cross_entropy(logits[:, ~padded], torch.tensor([0, 1, 2, 2]))
    loss.backward()
    torch.testing.assert_close(loss, short)
    assert torch.isfinite(logits.grad).all() and (logits.grad[:, padded] == 0).all()


def test_cross_entropy_of_no_rows_is_a_connected_zero():
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = functional.softmax_cross_entropy(logits, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert float(loss) == 0 and logits.grad is not None


# Golden G30.
@pytest.mark.parametrize(
    ("shape", "positives", "size", "expected"),
    [((1, 100), 1, 0.0, 1.372432), ((4, 100), 5, 0.0, 1.368966), ((4, 100), 5, 2.0, 0.250683)],
)
def test_sentence_loss(shape, positives, size, expected):
    targets = torch.zeros(shape)
    targets.view(-1)[:positives] = 1
    loss = functional.sentence_bce(size * (2 * targets - 1), targets, count=torch.tensor(float(positives)))
    assert float(loss) == pytest.approx(expected, abs=1e-5)


# Golden G31.
def test_mask_terms():
    logits, labels = torch.tensor([[4.0, 4, -4, -4]]), torch.tensor([[1.0, 0, 0, 0]])
    assert float(functional.mask_bce_rows(logits, labels)) == pytest.approx(1.018150, abs=1e-5)
    assert float(functional.mask_dice_rows(logits, labels)) == pytest.approx(0.258993, abs=1e-5)


# Golden G32.
def test_focal_terms():
    z = torch.tensor([0.0, 0.0, -math.log(99), -math.log(99)])
    values = functional.sigmoid_focal(z, torch.tensor([1.0, 0, 1, 0]))
    expected = torch.tensor([0.043322, 0.129965, 1.128382, 7.54e-7])
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=0)
    assert float(values[3]) == pytest.approx(7.54e-7, rel=1e-2)


# Golden G27.
def test_giou_of_pairs():
    first = torch.tensor([[0.5, 0.5, 1, 1], [0.1, 0.1, 0.2, 0.2]])
    second = torch.tensor([[1.0, 1, 1, 1], [0.9, 0.9, 0.2, 0.2]])
    torch.testing.assert_close(
        1 - functional.box_giou_rows(first, second), torch.tensor([-0.079365, -0.92]), atol=1e-5, rtol=0
    )


def test_segment_sum():
    values = torch.tensor([1.0, 2, 4, 8])
    assert functional.segment_sum(values, torch.tensor([2, 0, 2, 0]), count=3).tolist() == [10, 0, 5]
