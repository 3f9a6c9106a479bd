"""Sentences: which queries an expression means, if any."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.postprocess.instances import make_masks
from mvplm.postprocess.resize import full_size_masks, mask_scores
from mvplm.postprocess.settings import PostprocessSettings
from mvplm.postprocess.view import ImageView
from mvplm.structures.results import Instances


@dataclass(frozen=True)
class SentenceAnswer:
    """What fits the expression, best first; presence: largest query probability; no_target: nothing fits."""

    instances: Instances
    presence: float
    no_target: bool


def answer_all(view: ImageView, settings: PostprocessSettings) -> SentenceAnswer:
    """Every query whose presence x mask score exceeds the threshold; none means no target. Source: GRES.

    A score never exceeds the presence probability, so only queries above the threshold get a mask.
    """
    presence = view.logits[:, 0].sigmoid()
    queries = (presence > settings.gres_threshold).nonzero().flatten()
    scores, masks = presence[queries], None
    if view.has_masks:
        full = make_masks(view, queries, chunk=settings.mask_chunk)
        scores, masks = scores * full.scores, full.masks
    kept = (scores > settings.gres_threshold).nonzero().flatten()
    if not len(kept) and settings.gres_fallback_top1:
        return answer_best(view, settings)
    order = kept[scores[kept].argsort(descending=True, stable=True)]
    masks = None if masks is None else masks[order.cpu()]
    instances = _instances(view, queries[order], scores=scores[order], masks=masks)
    return SentenceAnswer(instances, _largest(presence), not len(order))


def answer_best(view: ImageView, settings: PostprocessSettings) -> SentenceAnswer:
    """The one query with the largest presence x mask score; there is always an answer.

    Queries are visited by presence, and the visit ends where none of the rest can win any more.
    """
    presence = view.logits[:, 0].sigmoid()
    order = presence.argsort(descending=True, stable=True)
    if not view.has_masks:
        return answer_box(view)
    best, query, mask, start = -1.0, order[:1], None, 0
    for logits in full_size_masks(view, order, chunk=settings.mask_chunk):
        visited = order[start : start + len(logits)]
        if float(presence[visited[0]]) <= best:
            break
        score, index = (presence[visited] * mask_scores(logits)).max(0)
        if float(score) > best:
            best, query, mask = float(score), visited[index][None], (logits[index] > 0)[None].cpu()
        start += len(logits)
    instances = _instances(view, query, scores=presence.new_tensor([best]), masks=mask)
    return SentenceAnswer(instances, _largest(presence), False)


def answer_box(view: ImageView) -> SentenceAnswer:
    """The box of the query with the largest presence; masks are not consulted."""
    presence = view.logits[:, 0].sigmoid()
    query = presence.argmax()[None]
    instances = _instances(view, query, scores=presence[query], masks=None)
    return SentenceAnswer(instances, _largest(presence), False)


def _instances(view: ImageView, queries: Tensor, *, scores: Tensor, masks: Tensor | None) -> Instances:
    index = torch.zeros(len(queries), dtype=torch.int64)
    return Instances(view.pixel_boxes(queries).cpu(), scores.cpu(), [view.names[0]] * len(queries), index, masks)


def _largest(presence: Tensor) -> float:
    return float(presence.max())
