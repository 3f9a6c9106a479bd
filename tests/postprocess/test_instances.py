"""Instances, boxes, sentences and sizes."""

import pytest
import torch
from oracles.criterion import empty_batch, random_target

from mvplm.postprocess import PostprocessSettings, postprocess
from mvplm.postprocess.instances import select_top
from mvplm.postprocess.resize import mask_scores, resize_masks
from mvplm.structures import BoxFormat, PerceptionOutput, convert_boxes


def predictions(logits, masks, *, boxes=None, isthing=None, family="word", sizes=None, valid=None, frame=(8, 8)):
    """An output with one-hot mask embeddings; logits (B, Q, columns), masks (B, Q, h, w) or None."""
    batch, queries, columns = logits.shape
    names = 1 if family == "sentence" else columns - 1
    output = PerceptionOutput(
        logits=logits[None],
        boxes=torch.full((1, batch, queries, 4), 0.5) if boxes is None else boxes[None],
        mask_embeddings=None if masks is None else torch.eye(queries).expand(1, batch, -1, -1),
        mask_features=masks,
        num_things=queries,
        family=family,
        isthing=torch.tensor([isthing or [True] * names] * batch),
        name_mask=torch.ones(batch, names, dtype=torch.bool),
        frame=frame,
        valid_sizes=valid or [frame] * batch,
    )
    targets = [random_target(0)] * batch
    return output, empty_batch(
        targets, names=names, family=family, frame=frame, original_sizes=sizes or [frame] * batch
    )


def square(low, high, *, inside=4.0):
    logits = torch.full((8, 8), -4.0)
    logits[low:high, low:high] = inside
    return logits


# Golden G41.
def test_mask_score_golden():
    logits = torch.full((1, 4, 4), -3.0)
    logits[0, 1:3, 1:3] = torch.tensor([[0.5, 2], [2, 2]])
    score = float(mask_scores(logits))
    assert score == pytest.approx(0.816212, abs=1e-5) and 0.7 * score == pytest.approx(0.571349, abs=1e-5)
    assert float(mask_scores(torch.full((1, 4, 4), -1.0))) == 0


def test_instances_are_sorted_and_one_query_may_have_two_names():
    logits = torch.tensor([[[0.5, 0.4, 0.1], [0.3, 0.1, 0.6]]]).log()
    masks = torch.stack([square(0, 4, inside=1.0), square(4, 8)])[None]
    output, batch = predictions(logits, masks)
    found = postprocess(output, batch, task="instance", settings=PostprocessSettings(top_k=3))[0].instances
    sure, unsure = torch.tensor([4.0, 1.0]).sigmoid().tolist()
    expected = [0.5 * unsure, 0.3 * sure, 0.4 * unsure]
    torch.testing.assert_close(found.scores, torch.tensor(sorted(expected, reverse=True)), atol=1e-5, rtol=0)
    assert found.labels == ["name0", "name0", "name1"] and found.masks.shape == (3, 8, 8)
    assert torch.equal(found.masks[0], masks[0, 0] > 0) and torch.equal(found.masks[1], masks[0, 1] > 0)
    assert torch.equal(found.masks[2], masks[0, 0] > 0)
    few = postprocess(output, batch, task="instance", settings=PostprocessSettings(score_threshold=0.3))[0].instances
    assert len(few) == 1


def test_stuff_is_removed_before_or_after_the_top_k():
    probabilities = torch.tensor([[0.1, 0.9], [0.2, 0.8]])
    before = select_top(probabilities, (True, False), settings=PostprocessSettings(top_k=2))
    after = select_top(probabilities, (True, False), settings=PostprocessSettings(top_k=3, things_before_top_k=False))
    assert before.query.tolist() == [1, 0] and before.label.tolist() == [0, 0]
    assert after.query.tolist() == [1] and after.score.tolist() == pytest.approx([0.2])


def test_no_names_and_padded_names():
    logits = torch.zeros(2, 3, 4)
    logits[0, :, 1:3] = float("-inf")
    output, batch = predictions(logits, None)
    batch.names[0] = ("name0",)
    output.name_mask[0, 1:] = False
    first, second = postprocess(output, batch, task="detection")
    assert set(first.instances.labels) == {"name0"} and len(first.instances) == 3 and len(second.instances) == 9
    torch.testing.assert_close(first.instances.scores, torch.full((3,), 0.5))
    batch.names[0] = ()
    assert len(postprocess(output, batch, task="detection")[0].instances) == 0


def test_boxes_alone_make_no_mask():
    logits = torch.tensor([[[0.5, 0.4, 0.1]]]).log()
    masks = square(0, 4, inside=1.0)[None, None]
    output, batch = predictions(logits, masks)
    found = postprocess(output, batch, task="grounding")[0].instances
    assert found.masks is None and found.scores.tolist() == pytest.approx([0.5, 0.4])
    weighed = PostprocessSettings(box_score="class_times_mask", box_tasks_with_masks=True)
    found = postprocess(output, batch, task="detection", settings=weighed)[0].instances
    assert found.masks.shape == (2, 8, 8) and float(found.scores[0]) == pytest.approx(0.5 * 0.731059, abs=1e-5)


# Golden G60.
@pytest.mark.parametrize("size", [(1, 5), (5, 1), (479, 641), (333, 500), (7, 7)])
def test_boxes_return_to_their_pixels(size):
    height, width = size
    pixels = torch.tensor([[0.0, 0, width, height], [width * 0.2, height * 0.3, width * 0.7, height * 0.9]])
    boxes = convert_boxes(pixels, BoxFormat.XYXY_ABS, target=BoxFormat.CXCYWH_NORM, size=size)
    output, batch = predictions(torch.zeros(1, 2, 2), None, boxes=boxes[None], sizes=[size])
    found = postprocess(output, batch, task="detection")[0].instances
    assert (found.boxes - pixels).abs().max() <= 0.5


def test_boxes_are_clipped():
    boxes = torch.tensor([[[0.0, 1.0, 0.5, 0.5]]])
    output, batch = predictions(torch.zeros(1, 1, 2), None, boxes=boxes, sizes=[(10, 20)])
    assert postprocess(output, batch, task="detection")[0].instances.boxes.tolist() == [[0, 7.5, 5, 10]]


@pytest.mark.parametrize(
    ("valid", "size"), [((32, 20), (64, 40)), ((20, 32), (41, 65)), ((32, 32), (16, 16)), ((7, 32), (1, 5))]
)
def test_masks_leave_the_padding_behind(valid, size):
    """A ramp over the frame that is zero in the middle of the valid part is zero in the middle of the image."""
    ramp = (torch.arange(8) + 0.5) * 4 - valid[1] / 2
    masks = resize_masks(ramp.expand(1, 8, 8), frame=(32, 32), valid=valid, size=size)
    assert masks.shape == (1, *size)
    middle = (torch.arange(size[1]) + 0.5) / size[1] * valid[1] - valid[1] / 2
    inner = (middle + valid[1] / 2 > 3) & (middle < min(valid[1], 30) - valid[1] / 2 - 1)
    torch.testing.assert_close(masks[0, 0][inner], middle[inner], atol=1e-4, rtol=0)
    identical = resize_masks(masks, frame=size, valid=size, size=size)
    assert torch.equal(identical, masks)


def sentence(scores, masks, **options):
    logits = torch.logit(torch.tensor(scores))[None, :, None]
    return predictions(logits, None if masks is None else torch.stack(masks)[None], family="sentence", **options)


def test_referring_keeps_everything_above_the_threshold():
    output, batch = sentence(
        [0.62, 0.9, 0.7, 0.2], [square(0, 4, inside=0.5), square(2, 6), square(0, 8), square(0, 2)]
    )
    for task in ("referring", "gres"):
        (result,) = postprocess(output, batch, task=task)
        sure = float(torch.tensor(4.0).sigmoid())
        assert result.instances.scores.tolist() == pytest.approx([0.9 * sure, 0.7 * sure], abs=1e-5)
        assert torch.equal(result.instances.masks[0], square(2, 6) > 0) and result.instances.labels == ["name0"] * 2
        assert result.presence == pytest.approx(0.9) and not result.no_target and result.query == ["name0"]


def test_nothing_above_the_threshold_means_no_target():
    output, batch = sentence([0.5, 0.3], [square(0, 4), square(2, 6)])
    (result,) = postprocess(output, batch, task="gres")
    assert result.no_target and len(result.instances) == 0 and result.instances.masks.shape == (0, 8, 8)
    assert result.presence == pytest.approx(0.5)
    (result,) = postprocess(output, batch, task="gres", settings=PostprocessSettings(gres_fallback_top1=True))
    assert not result.no_target and len(result.instances) == 1
    (result,) = postprocess(output, batch, task="gres", settings=PostprocessSettings(gres_threshold=0.2))
    assert len(result.instances) == 2


@pytest.mark.parametrize("chunk", [1, 2, 16])
def test_res_weighs_presence_by_mask_score(chunk):
    scores = [0.5, 0.3, 0.6, 0.1]
    masks = [square(0, 4), square(2, 6), square(0, 8, inside=0.1), square(0, 2)]
    output, batch = sentence(scores, masks)
    (result,) = postprocess(output, batch, task="res", settings=PostprocessSettings(mask_chunk=chunk))
    expected = [s * float(mask_scores(m[None])) for s, m in zip(scores, masks, strict=True)]
    assert len(result.instances) == 1 and result.presence == pytest.approx(0.6) and not result.no_target
    assert float(result.instances.scores[0]) == pytest.approx(max(expected), abs=1e-5)
    assert torch.equal(result.instances.masks[0], masks[0] > 0)


def test_rec_reads_the_box_of_the_likeliest_query():
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.25, 0.5, 0.5, 1.0]]])
    output, batch = sentence([0.4, 0.5], [square(0, 8), square(0, 0)], boxes=boxes, sizes=[(10, 20)])
    (result,) = postprocess(output, batch, task="rec")
    assert result.instances.boxes.tolist() == [[0, 0, 10, 10]] and result.instances.masks is None
    boxes_only, batch = sentence([0.4, 0.7], None, boxes=boxes, sizes=[(10, 20)])
    for task in ("res", "referring"):
        found = postprocess(boxes_only, batch, task=task)[0].instances
        assert found.boxes.tolist() == [[0, 0, 10, 10]] and found.masks is None


def test_images_of_a_batch_are_independent():
    torch.manual_seed(0)
    logits, masks = torch.randn(3, 5, 4), torch.randn(3, 5, 8, 8)
    boxes = torch.rand(3, 5, 4)
    sizes, valid = [(9, 7), (16, 16), (5, 8)], [(32, 24), (32, 32), (20, 32)]
    options = {"sizes": sizes, "valid": valid, "frame": (32, 32)}
    together = postprocess(*predictions(logits, masks, boxes=boxes, **options), task="instance")
    for b in range(3):
        options = {"sizes": sizes[b : b + 1], "valid": valid[b : b + 1], "frame": (32, 32)}
        part = slice(b, b + 1)
        (alone,) = postprocess(*predictions(logits[part], masks[part], boxes=boxes[part], **options), task="instance")
        assert together[b].size == sizes[b] and torch.equal(together[b].instances.masks, alone.instances.masks)
        torch.testing.assert_close(together[b].instances.scores, alone.instances.scores)


def test_masks_are_enlarged_in_chunks(monkeypatch):
    from mvplm.postprocess import resize

    seen, original = [], resize.resize_masks

    def watched(logits, **options):
        seen.append(len(logits))
        return original(logits, **options)

    monkeypatch.setattr(resize, "resize_masks", watched)
    output, batch = predictions(torch.randn(1, 7, 4), torch.randn(1, 7, 8, 8))
    for task in ("instance", "panoptic", "semantic"):
        postprocess(output, batch, task=task, settings=PostprocessSettings(mask_chunk=3))
    assert max(seen) == 3
    seen.clear()
    postprocess(output, batch, task="instance", settings=PostprocessSettings(top_k=2))
    assert sum(seen) <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"gres_threshold": 1.5}, r"gres_threshold must lie in \[0, 1\], got 1.5"),
        ({"box_score": "clas"}, "unknown box_score 'clas'; did you mean 'class'"),
        ({"focal_temperature": 0.0}, "focal_temperature must be positive"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PostprocessSettings(**options)


def test_tasks_that_do_not_fit_are_refused():
    output, batch = predictions(torch.zeros(1, 2, 3), None)
    with pytest.raises(ValueError, match="unknown task 'panoptik'; did you mean 'panoptic'"):
        postprocess(output, batch, task="panoptik")
    with pytest.raises(ValueError, match="'res' needs sentence predictions, got word"):
        postprocess(output, batch, task="res")
    with pytest.raises(ValueError, match="'semantic' needs masks"):
        postprocess(output, batch, task="semantic")
