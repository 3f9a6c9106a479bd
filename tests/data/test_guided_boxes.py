"""Boxes that a mask decoder is given in training."""

import random

import pytest
import torch

from mvplm.data.guided_boxes import BoxMix, at_least, jittered, matched_boxes, read_written_boxes

BOXES = torch.tensor([[0.2, 0.3, 0.6, 0.8], [0.0, 0.0, 1.0, 1.0], [0.9, 0.9, 1.0, 1.0]])


def test_edges_move_by_at_most_their_share():
    rng = random.Random(0)
    moves = torch.stack([jittered(BOXES, 0.1, rng=rng) - BOXES for _ in range(500)])
    sides = (BOXES[:, 2:] - BOXES[:, :2]).repeat(1, 2)
    assert bool((moves.abs() <= 0.1 * sides + 1e-6).all())
    assert moves[:, 0].abs().amax(0).tolist() == pytest.approx((0.1 * sides[0]).tolist(), rel=0.05)
    assert moves[:, 0].mean(0).abs().max() < 0.005


def test_shifted_boxes_stay_inside_and_keep_a_side():
    thin = torch.tensor([[1.0, 0.5, 1.0, 0.5], [0.5, 0.5, 0.5001, 0.9]])
    found = jittered(torch.cat([BOXES, thin]), 0.5, rng=random.Random(1))
    assert bool(((found >= 0) & (found <= 1)).all())
    assert bool((found[:, 2:] - found[:, :2] >= 1e-3 - 1e-6).all())


def test_the_same_draws_again():
    first, second = (BoxMix().draw(BOXES, rng=random.Random("5-0-7")) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, BoxMix().draw(BOXES, rng=random.Random("5-1-7")))


def test_shares_of_the_kinds():
    rng, box = random.Random(0), BOXES[:1]
    written = box + 0.01
    counts = {"true": 0, "written": 0, "shifted": 0}
    for _ in range(2000):
        drawn = BoxMix().draw(box, rng=rng, written=written)
        if torch.equal(drawn, box):
            counts["true"] += 1
        else:
            counts["written" if torch.allclose(drawn, written) else "shifted"] += 1
    assert counts["true"] / 2000 == pytest.approx(0.25, abs=0.04)
    assert counts["written"] / 2000 == pytest.approx(0.25, abs=0.04)
    alone = [torch.equal(BoxMix().draw(box, rng=rng), box) for _ in range(2000)]
    assert sum(alone) / 2000 == pytest.approx(0.25, abs=0.04)  # the share of written boxes goes to shifted ones


def test_written_boxes_serve_the_box_they_fit():
    near, far = BOXES[0] + 0.02, torch.tensor([0.0, 0.0, 0.1, 0.1])
    partners = matched_boxes(BOXES, torch.stack([far, near]))
    assert torch.equal(partners[0], near) and partners[1:] == [None, None]
    assert matched_boxes(BOXES, torch.zeros(0, 4)) == [None, None, None]


def test_no_boxes():
    assert BoxMix().draw(torch.zeros(0, 4), rng=random.Random(0)).shape == (0, 4)
    assert at_least(torch.zeros(0, 4)).shape == (0, 4)


def test_a_file_of_written_boxes(tmp_path):
    path = tmp_path / "boxes.jsonl"
    path.write_text('{"image_id": 7, "boxes": [[0, 0, 500, 250]]}\n{"image_id": "a", "boxes": []}\n')
    found = read_written_boxes(path)
    assert found["7"].tolist() == [[0, 0, 0.5, 0.25]] and found["a"].shape == (0, 4)
    path.write_text('{"image_id": 7, "boxes": [[0, 0, 500]]}\n')
    with pytest.raises(ValueError, match=r"boxes\.jsonl:1: expected image_id and boxes"):
        read_written_boxes(path)


def test_shares_must_mean_something():
    with pytest.raises(ValueError, match="not all 0"):
        BoxMix(0, 0, 0)
