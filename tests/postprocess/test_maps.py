"""Panoptic and semantic maps: goldens, a pixel loop, chunks and switches."""

import pytest
import torch
from oracles.criterion import empty_batch, random_target
from oracles.panoptic import naive_merge

from mvplm.postprocess import PostprocessSettings, postprocess
from mvplm.postprocess.panoptic import merge_segments
from mvplm.postprocess.semantic import semantic_evidence
from mvplm.structures import PerceptionOutput


def rectangle(rows, columns):
    logits = torch.full((8, 8), -10.0)
    logits[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = 10
    return logits


ALL = (0, 7)


def merge(scores, labels, logits, *, isthing, chunk=16):
    masks = torch.stack(logits).sigmoid()
    names = [f"name{i}" for i in range(len(isthing))]
    return merge_segments(
        torch.tensor(scores),
        torch.tensor(labels),
        masks=masks.split(chunk),
        names=names,
        isthing=isthing,
        size=(8, 8),
    )


def facts(result):
    return [(segment.id, segment.label, segment.isthing, segment.area) for segment in result.segments]


def predictions(probabilities, logits, *, isthing, things=None, size=(8, 8)):
    """An output whose masks are given at full size (stride 1 frame) through one-hot embeddings."""
    count, names = probabilities.shape[0], probabilities.shape[1] - 1
    output = PerceptionOutput(
        logits=probabilities.log()[None, None],
        boxes=torch.full((1, 1, count, 4), 0.5),
        mask_embeddings=torch.eye(count)[None, None],
        mask_features=torch.stack(logits)[None],
        num_things=count if things is None else things,
        family="word",
        isthing=torch.tensor([isthing]),
        name_mask=torch.ones(1, names, dtype=torch.bool),
        frame=(8, 8),
        valid_sizes=[(8, 8)],
    )
    return output, empty_batch([random_target(0)], names=names, frame=(8, 8), original_sizes=[size])


GOLDEN_A = [rectangle(ALL, (0, 4)), rectangle(ALL, (3, 7)), rectangle((0, 3), ALL)]


# Golden G38.
@pytest.mark.parametrize("chunk", [1, 2, 16])
def test_contested_mask_is_dropped_and_weak_query_never_takes_part(chunk):
    probabilities = torch.tensor([[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.03, 0.05, 0.02]])
    probabilities[2, 2] = 0.92
    output, batch = predictions(probabilities, GOLDEN_A, isthing=[True, False])
    (result,) = postprocess(output, batch, task="panoptic", settings=PostprocessSettings(mask_chunk=chunk))
    assert facts(result.panoptic) == [(1, "name0", True, 40)]
    assert result.panoptic.segments[0].score == pytest.approx(0.9)
    expected = torch.zeros(8, 8, dtype=torch.int32)
    expected[:, :5] = 1
    assert torch.equal(result.panoptic.segment_map, expected)


def test_weak_score_is_left_out_even_when_it_beats_no_object():
    probabilities = torch.full((1, 12), 1 / 12)
    output, batch = predictions(probabilities, GOLDEN_A[:1], isthing=[True] * 11)
    (result,) = postprocess(output, batch, task="panoptic")
    assert result.panoptic.segments == [] and not result.panoptic.segment_map.any()
    (result,) = postprocess(output, batch, task="panoptic", settings=PostprocessSettings(panoptic_score=0.05))
    assert len(result.panoptic.segments) == 1


# Golden G39.
@pytest.mark.parametrize("chunk", [1, 2, 16])
def test_ratio_of_exactly_the_threshold_is_kept(chunk):
    logits = [rectangle(ALL, (0, 3)), rectangle((0, 3), (3, 7)), rectangle((4, 7), (4, 7)), rectangle(ALL, (6, 7))]
    result = merge([0.9, 0.8, 0.6, 0.5], [0, 0, 1, 2], logits, isthing=[True, False, False], chunk=chunk)
    assert facts(result) == [(1, "name0", True, 32), (2, "name0", True, 16), (3, "name1", False, 16)]
    assert result.segment_map[0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]
    assert result.segment_map[7].tolist() == [1, 1, 1, 1, 3, 3, 3, 3]
    assert result.segment_map.dtype == torch.int32


# Golden G40.
def test_stuff_of_one_name_is_one_segment():
    logits = [rectangle(ALL, (0, 3)), rectangle((0, 3), (4, 7)), rectangle((4, 7), (4, 7))]
    result = merge([0.9, 0.8, 0.7], [0, 1, 1], logits, isthing=[True, False])
    assert facts(result) == [(1, "name0", True, 32), (2, "name1", False, 32)]
    assert result.segments[1].score == pytest.approx(0.8)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_equals_a_loop_over_pixels(seed, chunk):
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.rand(6, 2, 2, generator=generator).mul(12).sub(6)
    logits = torch.nn.functional.interpolate(blobs[None], size=(8, 8), mode="bilinear")[0]
    scores = torch.rand(6, generator=generator).tolist()
    labels = torch.randint(0, 3, (6,), generator=generator).tolist()
    isthing = [True, False, True]
    result = merge(scores, labels, list(logits), isthing=isthing, chunk=chunk)
    masks = logits.sigmoid().tolist()
    scores = torch.tensor(scores).tolist()
    expected, segments = naive_merge(scores, labels, masks, isthing)
    assert result.segment_map.tolist() == expected
    assert {segment.id: (segment.class_index, segment.area) for segment in result.segments} == segments


def test_kinds_can_be_restricted():
    probabilities = torch.tensor([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    logits = [rectangle(ALL, (0, 3)), rectangle(ALL, (4, 7))]
    output, batch = predictions(probabilities, logits, isthing=[True, False], things=1)
    free = postprocess(output, batch, task="panoptic")[0].panoptic
    bound = postprocess(output, batch, task="panoptic", settings=PostprocessSettings(restrict_kind=True))[0].panoptic
    assert [segment.label for segment in free.segments] == ["name1", "name0"]
    assert [segment.label for segment in bound.segments] == ["name0", "name1"]


def test_focal_heads_have_their_own_threshold():
    probabilities = torch.tensor([[0.3, 0.1], [0.2, 0.1]])
    logits = [rectangle(ALL, (0, 3)), rectangle(ALL, (4, 7))]
    output, batch = predictions(probabilities, logits, isthing=[True])
    output.logits = torch.logit(probabilities)[None, None]
    settings = PostprocessSettings(classifier="sigmoid_focal")
    (result,) = postprocess(output, batch, task="panoptic", settings=settings)
    assert facts(result.panoptic) == [(1, "name0", True, 32)]


# Golden G42.
def test_semantic_evidence_golden():
    probabilities = torch.tensor([[2.0, 0, 0], [0, 1, 0]]).softmax(-1)[:, :2]
    masks = torch.tensor([[3.0, -3], [-3, 3]]).sigmoid()[:, None]
    evidence = semantic_evidence(probabilities, masks.split(1))
    torch.testing.assert_close(evidence[0, 0], torch.tensor([0.759714, 0.239214]), atol=1e-5, rtol=0)
    torch.testing.assert_close(evidence[1, 0], torch.tensor([0.128779, 0.553845]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk", [1, 16])
def test_semantic_map_of_a_batch(chunk):
    probabilities = torch.tensor([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    logits = [rectangle(ALL, (0, 3)), rectangle(ALL, (4, 7))]
    output, batch = predictions(probabilities, logits, isthing=[True, False], size=(16, 16))
    (result,) = postprocess(output, batch, task="semantic", settings=PostprocessSettings(mask_chunk=chunk))
    assert result.semantic.class_map[3].tolist() == [1] * 8 + [0] * 8 and result.semantic.labels == ["name0", "name1"]


def test_semantic_needs_every_mask():
    with pytest.raises(ValueError, match="2 queries need as many masks, got 1"):
        semantic_evidence(torch.rand(2, 3), [torch.rand(1, 4, 4)])
