"""Tokens, valid cells, ratios, references and proposals of feature levels: golden numbers."""

import pytest
import torch

from mvplm.models.geometry import LevelGeometry


def _geometry(frame: tuple[int, int], *sizes: tuple[int, int], strides: tuple[int, ...] = (8, 16, 32, 64)):
    shapes = [(-(-frame[0] // s), -(-frame[1] // s)) for s in strides]
    return LevelGeometry(shapes, list(strides), frame, list(sizes) or [frame])


def _per_level(geometry: LevelGeometry, flags: torch.Tensor) -> list[int]:
    return [int(part.sum()) for part in flags.split([h * w for h, w in geometry.shapes])]


# Golden G2.
def test_number_of_tokens() -> None:
    assert _geometry((1024, 1024)).num_tokens == 21_760
    assert _geometry((640, 640)).num_tokens == 8_500
    assert _geometry((1024, 1024), strides=(4, 8, 16, 32, 64)).num_tokens == 87_296


# Golden G3.
@pytest.mark.parametrize(
    ("scale", "sides"), [("fine_small", [0.05, 0.1, 0.2, 0.4]), ("coarse_small", [0.4, 0.2, 0.1, 0.05])]
)
def test_proposals_of_a_full_frame(scale: str, sides: list[float]) -> None:
    geometry = _geometry((1024, 1024))
    proposals = geometry.proposals(scale, device="cpu")
    assert int(proposals.valid.sum()) == 21_000
    assert _per_level(geometry, proposals.valid[0]) == [15_876, 3_844, 1_024, 256]
    boxes = proposals.logits.sigmoid()[0]
    for side, part, valid in zip(
        sides,
        boxes.split([h * w for h, w in geometry.shapes]),
        proposals.valid[0].split([h * w for h, w in geometry.shapes]),
        strict=True,
    ):
        torch.testing.assert_close(part[valid][:, 2:], torch.full((int(valid.sum()), 2), side), rtol=0, atol=1e-5)
    torch.testing.assert_close(boxes[129], torch.tensor([1.5 / 128, 1.5 / 128, sides[0], sides[0]]), rtol=0, atol=1e-5)


# Golden G3.
def test_proposals_skip_padding_and_stay_finite() -> None:
    geometry = _geometry((1024, 1024), (1024, 768), (683, 1024))
    proposals = geometry.proposals("fine_small", device="cpu")
    assert _per_level(geometry, proposals.valid[0]) == [11_844, 2_976, 768, 192]
    assert int(proposals.valid[0].sum()) == 15_780
    assert proposals.logits.isfinite().all()
    fallback = proposals.logits[~proposals.valid].sigmoid()
    torch.testing.assert_close(fallback, torch.tensor([0.5, 0.5, 0.99, 0.99]).expand_as(fallback))


# Golden G10.
def test_valid_cells_and_ratios() -> None:
    geometry = _geometry((1024, 1024), (768, 1024), (683, 1024))
    torch.testing.assert_close(geometry.valid_ratios("cpu"), torch.tensor([[1, 0.75], [1, 683 / 1024]]))
    assert geometry.valid_ratios("cpu")[1, 1].item() == pytest.approx(0.666992, abs=1e-6)
    for row, expected in enumerate([[96, 48, 24, 12], [86, 43, 22, 11]]):
        cells = geometry.valid_cells("cpu")[row].split([h * w for h, w in geometry.shapes])
        rows = [int(part.view(h, w)[:, 0].sum()) for part, (h, w) in zip(cells, geometry.shapes, strict=True)]
        assert rows == expected
        assert all(bool(part.view(h, w).any(0).all()) for part, (h, w) in zip(cells, geometry.shapes, strict=True))


def test_references_are_cell_centres_in_the_valid_frame() -> None:
    geometry = _geometry((64, 128), (48, 96), strides=(16, 32))
    references = geometry.encoder_references("cpu")[0]
    assert references.shape == (geometry.num_tokens, 2)
    # Cell in row 1, column 2 of the first level: centre at pixel (x, y) = (40, 24).
    torch.testing.assert_close(references[8 + 2], torch.tensor([40 / 96, 24 / 48]))
    # First cell of the second level.
    torch.testing.assert_close(references[32], torch.tensor([16 / 96, 16 / 48]))


def test_full_and_select() -> None:
    assert _geometry((64, 64), (64, 64)).full
    geometry = _geometry((64, 64), (64, 64), (32, 64))
    assert not geometry.full
    assert geometry.select([1, 1, 0]).valid_sizes == [(32, 64), (32, 64), (64, 64)]
    assert geometry.select([0]).full


def test_errors() -> None:
    with pytest.raises(ValueError, match="not inside the frame"):
        _geometry((64, 64), (65, 64))
    with pytest.raises(ValueError, match="as many strides"):
        LevelGeometry([(8, 8)], [8, 16], (64, 64), [(64, 64)])
    with pytest.raises(ValueError, match="did you mean 'fine_small'"):
        _geometry((64, 64)).proposals("fine_smal", device="cpu")
