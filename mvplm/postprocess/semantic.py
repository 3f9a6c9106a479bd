"""Semantic maps: the name with most evidence at every pixel, over all queries."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mvplm.postprocess.resize import full_size_masks
from mvplm.postprocess.settings import PostprocessSettings
from mvplm.postprocess.view import ImageView
from mvplm.structures.results import SemanticMap


def semantic_map(view: ImageView, settings: PostprocessSettings) -> SemanticMap:
    """Semantic map of one image at its original size; -1 everywhere when there are no names."""
    if not view.names:
        return SemanticMap(torch.full(view.size, -1, dtype=torch.int64), [])
    probabilities = view.name_probabilities(settings)
    queries = torch.arange(len(probabilities), device=probabilities.device)
    chunks = (logits.sigmoid() for logits in full_size_masks(view, queries, chunk=settings.mask_chunk))
    evidence = semantic_evidence(probabilities, chunks)
    return SemanticMap(evidence.argmax(0).cpu(), list(view.names))


def semantic_evidence(probabilities: Tensor, masks: Iterable[Tensor]) -> Tensor:
    """(K, H, W) sum over queries of name probability x mask probability.

    Args:
        probabilities: (Q, K) of the names, no-object left out.
        masks: mask probabilities of all queries, in order, in chunks (n, H, W).

    Raises:
        ValueError: the chunks hold another number of masks than there are queries.

    Source: MaskFormer.
    """
    evidence, start = None, 0
    for chunk in masks:
        part = torch.einsum("qk,qhw->khw", probabilities[start : start + len(chunk)], chunk)
        evidence = part if evidence is None else evidence + part
        start += len(chunk)
    if evidence is None or start != len(probabilities):
        raise ValueError(f"{len(probabilities)} queries need as many masks, got {start}")
    return evidence
