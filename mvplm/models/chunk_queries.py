"""Queries of lists in several prompts: selected once over all names, or once per prompt.

Source: the MVP-LM release (per-chunk queries for vocabularies beyond the context).
"""

from collections.abc import Sequence

import torch

from mvplm.models.queries import Queries

CHUNKINGS = ("shared_prefix", "per_chunk_queries")


def queries_of_chunks(queries: Queries, rows: Sequence[int], *, count: int) -> Queries:
    """Queries (R, N, C) of prompts side by side in the row (of ``count``) each prompt belongs to: (B, R / B x N, C).

    Raises:
        ValueError: the rows have different numbers of prompts.
    """
    members = [[place for place, owner in enumerate(rows) if owner == row] for row in range(count)]
    if len({len(places) for places in members}) > 1:
        raise ValueError(
            "per_chunk_queries needs lists of equally many parts in a batch, got "
            f"{[len(places) for places in members]}; ask about one image at a time"
        )
    index = torch.tensor(members, device=queries.content.device)
    return Queries(queries.content[index].flatten(1, 2), queries.references[index].flatten(1, 2))
