"""Refinement of masks: prompts that can be checked by hand, a guard, and a tiny SAM with random weights."""

import numpy as np
import pytest
import torch
from oracles.small_vlms import picture

from mvplm.models.text_mask import refine
from mvplm.models.text_mask.refine import MaskPrompt, MaskRefiner, frame_size, mask_prompt, refine_perception, rejection
from mvplm.structures import Instances, Perception

SIDE = 64


def rectangle(rows: slice, columns: slice, size: tuple[int, int] = (40, 80)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return mask


@pytest.fixture(scope="module")
def refiner() -> MaskRefiner:
    from transformers import SamConfig, SamImageProcessor, SamModel

    torch.manual_seed(0)
    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 16,
            "output_channels": 16,
            "num_pos_feats": 8,
            "window_size": 2,
            "global_attn_indexes": [0],
            "mlp_dim": 16,
        },
        prompt_encoder_config={
            "hidden_size": 16,
            "image_size": SIDE,
            "patch_size": 16,
            "image_embedding_size": SIDE // 16,
            "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
    )
    processor = SamImageProcessor(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}, mask_size={"longest_edge": SIDE // 4}
    )
    return MaskRefiner(SamModel(config), processor)


def test_prompts_are_the_innermost_points_and_the_frame():
    mask = rectangle(slice(10, 21), slice(20, 31)) | rectangle(slice(10, 12), slice(31, 60))
    prompt = MaskPrompt.of(mask)
    assert prompt.box.tolist() == [20, 10, 60, 21]
    assert prompt.points[0].tolist() == [25.5, 15.5]
    outside = prompt.points[1] - 0.5
    assert not mask[int(outside[1]), int(outside[0])] and 20 <= outside[0] < 60 and 10 <= outside[1] < 21
    assert len(MaskPrompt.of(rectangle(slice(3, 9), slice(2, 7))).points) == 1


def test_the_mask_prompt_keeps_the_aspect_of_the_picture():
    assert frame_size((40, 80), SIDE) == (32, 64)
    logits = mask_prompt(rectangle(slice(0, 40), slice(0, 80)), SIDE)
    assert logits.shape == (16, 16)
    assert (logits > 0).nonzero().max(0).values.tolist() == [7, 15]
    assert (logits[8:] == -30).all()
    square = mask_prompt(rectangle(slice(8, 32), slice(8, 32)), SIDE)
    assert square.max() == pytest.approx(30)
    assert 0 < square[square > 0].min() < 30


@pytest.mark.parametrize(
    ("columns", "rows", "score", "reason"),
    [
        (slice(20, 40), slice(10, 30), 0.9, None),
        (slice(21, 40), slice(10, 30), 0.69, "unsure"),
        (slice(30, 50), slice(10, 30), 0.9, "overlap"),
        (slice(20, 40), slice(10, 35), 0.9, "outside"),
        (slice(0, 0), slice(0, 0), 0.9, "empty"),
    ],
)
def test_the_guard_says_why(columns: slice, rows: slice, score: float, reason: str | None):
    coarse = rectangle(slice(10, 30), slice(20, 40))
    assert rejection(coarse, rectangle(rows, columns), score=score) == reason


def test_a_thin_part_of_a_wide_mask_is_rejected_by_area(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(refine, "_LEAST_OVERLAP", 0.1)
    coarse = rectangle(slice(10, 30), slice(20, 40))
    assert rejection(coarse, rectangle(slice(10, 19), slice(20, 40)), score=0.9) == "area"


def test_a_random_sam_answers_the_same_twice_and_never_loses_a_mask(refiner: MaskRefiner):
    image = picture(40, 80)
    coarse = np.stack([rectangle(slice(10, 30), slice(20, 50)), rectangle(slice(0, 0), slice(0, 0))])
    first, empty = refiner.refine(image, torch.from_numpy(coarse))
    again, _ = refiner.refine(image.clone(), torch.from_numpy(coarse))
    assert (first.mask == again.mask).all() and first.rejected == again.rejected
    assert first.mask.any() and first.mask.shape == (40, 80)
    assert first.rejected is None or (first.mask == coarse[0]).all()
    assert (empty.rejected, empty.mask.any()) == ("empty", False)


def test_what_sam_says_takes_the_place_of_the_mask(refiner: MaskRefiner, monkeypatch: pytest.MonkeyPatch):
    better, asked = rectangle(slice(11, 30), slice(20, 50)), []

    def ask(mask: np.ndarray, embedding: torch.Tensor) -> tuple[np.ndarray, float]:
        asked.append(mask)
        return better, 0.8

    monkeypatch.setattr(refiner, "_ask", ask)
    coarse = torch.from_numpy(rectangle(slice(10, 30), slice(20, 50)))[None]
    (found,) = refiner.refine(picture(40, 80), coarse)
    assert found.rejected is None and (found.mask == better).all() and len(asked) == 5
    assert (asked[1] == better).all()


def test_an_answer_has_both_masks(refiner: MaskRefiner, monkeypatch: pytest.MonkeyPatch):
    coarse, better = rectangle(slice(10, 30), slice(20, 50)), rectangle(slice(11, 30), slice(20, 50))
    masks = torch.from_numpy(np.stack([coarse, rectangle(slice(0, 2), slice(0, 2))]))
    boxes = torch.tensor([[20.0, 10, 50, 30], [0, 0, 2, 2]])
    instances = Instances(boxes, torch.ones(2), ["a", "b"], torch.zeros(2, dtype=torch.int64), masks)
    monkeypatch.setattr(refiner, "_ask", lambda mask, embedding: (better, 0.8))
    found = refine_perception(refiner, Perception((40, 80), "referring", ["a"], instances), image=picture(40, 80))
    assert found.refine_rejected == [None, "overlap"]
    assert (found.instances.masks[0].numpy() == better).all() and torch.equal(found.coarse_masks, masks)
    assert found.instances.boxes.tolist() == [[20, 11, 50, 30], [0, 0, 2, 2]]


def test_a_directory_without_sam_is_named(tmp_path):
    with pytest.raises(ValueError, match="text_mask.refiner: .* cannot be read as a SAM"):
        MaskRefiner.from_pretrained(tmp_path)


def test_a_saved_sam_is_read_again(refiner: MaskRefiner, tmp_path):
    refiner.sam.save_pretrained(str(tmp_path))
    refiner.processor.save_pretrained(str(tmp_path))
    loaded = MaskRefiner.from_pretrained(tmp_path)
    mask = torch.from_numpy(rectangle(slice(10, 30), slice(20, 50)))[None]
    one, other = (made.refine(picture(40, 80), mask)[0] for made in (refiner, loaded))
    assert one.score == pytest.approx(other.score, abs=1e-5)
