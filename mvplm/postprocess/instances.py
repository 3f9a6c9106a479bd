"""Instances: the best (query, name) pairs as boxes and, where asked for, masks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.postprocess.resize import full_size_masks, mask_scores
from mvplm.postprocess.settings import PostprocessSettings
from mvplm.postprocess.view import ImageView
from mvplm.structures.results import Instances


@dataclass(frozen=True)
class Selection:
    """N chosen (query, name) pairs, best first: query, label (N,) int64 and score (N,)."""

    query: Tensor
    label: Tensor
    score: Tensor


@dataclass(frozen=True)
class FullMasks:
    """Masks (N, H, W) bool on the host, and how sure each is: scores (N,) on the device of the predictions."""

    masks: Tensor
    scores: Tensor


def find_instances(view: ImageView, settings: PostprocessSettings) -> Instances:
    """Instances with masks; score = name probability x mask score. Source: Mask2Former."""
    return _build(view, settings, keep_masks=True, weigh=True)


def find_boxes(view: ImageView, settings: PostprocessSettings) -> Instances:
    """Instances for detection and grounding; masks are made only when the settings ask for them."""
    return _build(
        view,
        settings,
        keep_masks=settings.box_tasks_with_masks,
        weigh=settings.box_score == "class_times_mask",
    )


def select_top(probabilities: Tensor, isthing: tuple[bool, ...], *, settings: PostprocessSettings) -> Selection:
    """The top (query, name) pairs of ``probabilities`` (Q, K) above the score threshold; things only.

    One query may be chosen under several names; nothing is suppressed.
    """
    things = torch.tensor(isthing, dtype=torch.bool, device=probabilities.device)
    if settings.things_before_top_k:
        probabilities = probabilities.masked_fill(~things, -1.0)
    score, index = probabilities.flatten().topk(min(settings.top_k, probabilities.numel()))
    query, label = index // max(len(isthing), 1), index % max(len(isthing), 1)
    kept = (score >= settings.score_threshold) & things[label]
    return Selection(query[kept], label[kept], score[kept])


def make_masks(view: ImageView, queries: Tensor, *, chunk: int) -> FullMasks:
    """Full-size masks of some queries (N,); a query that stands there twice is enlarged once."""
    unique, where = queries.unique(return_inverse=True)
    masks, scores = [], []
    for logits in full_size_masks(view, unique, chunk=chunk):
        masks.append((logits > 0).cpu())
        scores.append(mask_scores(logits))
    if not masks:
        return FullMasks(torch.zeros(0, *view.size, dtype=torch.bool), view.boxes.new_zeros(0))
    return FullMasks(torch.cat(masks)[where.cpu()], torch.cat(scores)[where])


def _build(view: ImageView, settings: PostprocessSettings, *, keep_masks: bool, weigh: bool) -> Instances:
    chosen = select_top(view.name_probabilities(settings), view.isthing, settings=settings)
    boxes, scores, masks = view.pixel_boxes(chosen.query), chosen.score, None
    if (keep_masks or weigh) and view.has_masks:
        full = make_masks(view, chosen.query, chunk=settings.mask_chunk)
        scores = scores * full.scores if weigh else scores
        masks = full.masks if keep_masks else None
    labels = [view.names[index] for index in chosen.label.tolist()]
    found = Instances(boxes.cpu(), scores.cpu(), labels, chosen.label.cpu(), masks)
    order = found.scores.argsort(descending=True, stable=True)
    return found.keep(order[found.scores[order] >= settings.score_threshold])
