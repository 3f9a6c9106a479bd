"""Panoptic maps: every pixel to the query that claims it most strongly, doubtful queries left out."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mvplm.postprocess.resize import full_size_masks
from mvplm.postprocess.settings import PostprocessSettings
from mvplm.postprocess.view import ImageView
from mvplm.structures.results import PanopticMap, SegmentInfo


def panoptic_map(view: ImageView, settings: PostprocessSettings) -> PanopticMap:
    """Panoptic map of one image at its original size.

    A query takes part when its best name beats no-object and reaches the score threshold; among those,
    ``merge_segments`` decides. Source: MaskFormer; focal scores as in OpenSeeD.
    """
    probabilities = _restricted(view, settings)
    if not view.names:
        return PanopticMap(torch.zeros(view.size, dtype=torch.int32), [])
    scores, labels = probabilities.max(-1)
    if settings.classifier == "sigmoid_focal":
        kept = (scores > settings.focal_panoptic_score).nonzero().flatten()
        scores = (probabilities / settings.focal_temperature).softmax(-1).amax(-1)
    else:
        kept = ((scores >= view.no_object(settings)) & (scores > settings.panoptic_score)).nonzero().flatten()
    chunks = (logits.sigmoid() for logits in full_size_masks(view, kept, chunk=settings.mask_chunk))
    return merge_segments(
        scores[kept],
        labels[kept],
        masks=chunks,
        names=view.names,
        isthing=view.isthing,
        size=view.size,
        overlap=settings.overlap,
        mask_threshold=settings.mask_threshold,
    )


def merge_segments(
    scores: Tensor,
    labels: Tensor,
    *,
    masks: Iterable[Tensor],
    names: Sequence[str],
    isthing: Sequence[bool],
    size: tuple[int, int],
    overlap: float = 0.8,
    mask_threshold: float = 0.5,
) -> PanopticMap:
    """Let queries compete for pixels.

    The owner of a pixel is the query with the largest score x mask probability. A query becomes a segment, in query
    order, when it owns at least ``overlap`` of its own mask; stuff of one name shares one segment.

    Args:
        scores, labels: (N,) of the queries that take part; labels are positions in ``names``.
        masks: their mask probabilities, in order, in chunks (n, H, W).
        names, isthing: K names and whether each is a thing.
        size: (H, W) of the map.
        overlap: smallest share of its mask a query must own.
        mask_threshold: probability from which a pixel belongs to a mask.
    """
    owner = torch.zeros(size, dtype=torch.int64, device=scores.device)
    best = torch.full(size, -1.0, device=scores.device)
    solid = torch.zeros(size, dtype=torch.bool, device=scores.device)
    areas, start = [], 0
    for chunk in masks:
        value, index = (chunk * scores[start : start + len(chunk), None, None]).max(0)
        inside = chunk >= mask_threshold
        areas.append(inside.sum((1, 2)))
        stronger = value > best
        owner = torch.where(stronger, index + start, owner)
        solid = torch.where(stronger, inside.gather(0, index[None])[0], solid)
        best = torch.where(stronger, value, best)
        start += len(chunk)
    count = len(scores)
    if not count:
        return PanopticMap(torch.zeros(size, dtype=torch.int32), [])
    owned = torch.bincount(owner.flatten(), minlength=count).tolist()
    kept = torch.bincount(owner[solid], minlength=count).tolist()
    masked = torch.cat(areas).tolist()
    segments: list[SegmentInfo] = []
    ids, stuff = [0] * count, {}
    for query, (label, score) in enumerate(zip(labels.tolist(), scores.tolist(), strict=True)):
        if not (owned[query] and masked[query] and kept[query]) or owned[query] / masked[query] < overlap:
            continue
        if label in stuff:
            segment = stuff[label]
            segment.area += kept[query]
            segment.score = max(segment.score, score)
        else:
            segment = SegmentInfo(len(segments) + 1, names[label], label, isthing[label], score, kept[query])
            segments.append(segment)
            if not isthing[label]:
                stuff[label] = segment
        ids[query] = segment.id
    lookup = torch.tensor(ids, dtype=torch.int32, device=owner.device)
    return PanopticMap((lookup[owner] * solid).cpu(), segments)


def _restricted(view: ImageView, settings: PostprocessSettings) -> Tensor:
    probabilities = view.name_probabilities(settings)
    if not settings.restrict_kind or view.num_things >= len(probabilities):
        return probabilities
    is_thing_query = torch.arange(len(probabilities), device=probabilities.device) < view.num_things
    isthing = torch.tensor(view.isthing, dtype=torch.bool, device=probabilities.device)
    return probabilities * (is_thing_query[:, None] == isthing[None])
