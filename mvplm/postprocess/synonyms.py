"""Synonyms in predictions: the score of a class is the largest score of its names, before anything else is done."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mvplm.structures.batch import Batch
from mvplm.structures.outputs import PerceptionOutput


def group_maximum(logits: Tensor, groups: Tensor, *, count: int) -> Tensor:
    """Logits of groups of names: the largest of each group's names; columns behind the names stay as they are.

    Args:
        logits: (..., B, Q, K' + R) over K' names; R further columns (no object) are 1 or 0.
        groups: (B, K') int64 group of each name in [0, count), -1 for padded names.
        count: K, the number of groups.

    Returns:
        (..., B, Q, K + R); a group that has no name in a row is -inf there.
    """
    names = groups.shape[-1]
    # Padded names go to a column of their own, which is dropped.
    index = torch.where(groups < 0, count, groups)[:, None].expand_as(logits[..., :names])
    best = logits.new_full((*logits.shape[:-1], count + 1), -torch.inf)
    best = best.scatter_reduce(-1, index, logits[..., :names], "amax")
    return torch.cat([best[..., :count], logits[..., names:]], -1)


def merge_synonyms(
    output: PerceptionOutput, batch: Batch, *, classes: Mapping[str, str]
) -> tuple[PerceptionOutput, Batch]:
    """Predictions and batch as if every class had been asked for under one name.

    Args:
        output: predictions over a batch's names (word family).
        batch: with the names that were asked.
        classes: asked name -> name of its class.

    Returns:
        The predictions over K classes, and the batch with their names in order of appearance.
    """
    rows = [[classes[name] for name in names] for names in batch.names]
    merged = [tuple(dict.fromkeys(row)) for row in rows]
    count = max(map(len, merged))
    groups = torch.full_like(output.name_mask, -1, dtype=torch.int64)
    isthing, mask = (output.isthing.new_zeros(len(rows), count) for _ in range(2))
    for place, (row, names) in enumerate(zip(rows, merged, strict=True)):
        where = {name: column for column, name in enumerate(names)}
        groups[place, : len(row)] = torch.tensor([where[name] for name in row], device=groups.device)
        firsts = [row.index(name) for name in names]
        isthing[place, : len(names)] = output.isthing[place, firsts]
        mask[place, : len(names)] = True
    logits = group_maximum(output.logits, groups, count=count)
    changed = replace(output, logits=logits, isthing=isthing, name_mask=mask, text_embeddings=None)
    return changed, replace(batch, names=merged, isthing=isthing, name_mask=mask)
