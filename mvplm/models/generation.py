"""Greedy generation of the response, several rows at a time; rows that have ended stand still.

Source: MVP-LM, section 3.2 (the response is written first, the summary token closes it).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.models.language import Extension, LanguageModel, PrefixState


@dataclass(frozen=True)
class ResponseTokens:
    """Token ids that frame a response.

    Attributes:
        summary: ``<PER>``; -1 for a model that has none.
        end: closes a response; also fills rows that have nothing to read.
        tail: ids of the sentence that announces ``<PER>``.
    """

    summary: int
    end: int
    tail: tuple[int, ...]


@dataclass
class Decoded:
    """Greedy continuations of B rows.

    Attributes:
        ids: per row the generated ids, without the token that ended it.
        summarised: per row whether ``<PER>`` ended it.
        state: the language model's state after the ids (the ending token is not read).
    """

    ids: list[list[int]]
    summarised: list[bool]
    state: PrefixState


def last_states(hidden: Tensor, valid: Tensor) -> Tensor:
    """(B, D): the state of each row's last real position in (B, n, D)."""
    places = torch.arange(valid.shape[1], device=valid.device)
    index = (places * valid).amax(1)
    return hidden.gather(1, index[:, None, None].expand(-1, 1, hidden.shape[-1]))[:, 0]


def greedy_decode(
    language: LanguageModel, prefix: Extension, *, valid: Tensor, tokens: ResponseTokens, max_new_tokens: int
) -> Decoded:
    """Continue every row until ``<PER>``, the end token or ``max_new_tokens``.

    Args:
        language: the model. prefix: of the prompts; valid: (B, T) bool of the prompts.
        tokens: the ids that end a row. max_new_tokens: most tokens per row; 0 generates nothing.
    """
    state = prefix.state
    hidden = last_states(prefix.hidden, valid)
    done = torch.zeros(len(valid), dtype=torch.bool, device=valid.device)
    steps: list[Tensor] = []
    for _ in range(max_new_tokens):
        token = language.logits(hidden).argmax(-1).masked_fill(done, tokens.end)
        steps.append(token.masked_fill(done, -1))
        done = done | (token == tokens.summary) | (token == tokens.end)
        if bool(done.all()):
            break
        extension = language.extend(state, language.embed(token[:, None]), valid=~done[:, None])
        state, hidden = extension.state, extension.hidden[:, 0]
    rows = torch.stack(steps, dim=1).tolist() if steps else [[] for _ in range(len(valid))]
    ids, summarised = [], []
    for row in rows:
        stops = [i for i, token in enumerate(row) if token in (tokens.summary, tokens.end)]
        cut = stops[0] if stops else len(row)
        ids.append(row[:cut])
        summarised.append(bool(stops) and row[cut] == tokens.summary)
    return Decoded(ids, summarised, state)


def read_summary(language: LanguageModel, decoded: Decoded, *, tokens: ResponseTokens) -> Tensor:
    """Hidden state (B, D) of ``<PER>``, read after each row; rows that never wrote it get the announcing tail first."""
    return read_after(language, decoded.state, rows=endings(decoded, tokens), fill=tokens.end)


def endings(decoded: Decoded, tokens: ResponseTokens) -> list[list[int]]:
    """What is still to be read of each row: ``<PER>``, with the announcing tail where the row did not write it."""
    return [[tokens.summary] if summarised else [*tokens.tail, tokens.summary] for summarised in decoded.summarised]


def read_after(language: LanguageModel, state: PrefixState, *, rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Hidden state (B, D) of the last token of each row of ids, read after ``state``; ``fill`` pads shorter rows."""
    longest = max(len(row) for row in rows)
    device = state.lengths.device
    ids = torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], device=device)
    valid = torch.tensor([[i < len(row) for i in range(longest)] for row in rows], device=device)
    return last_states(language.extend(state, language.embed(ids), valid=valid).hidden, valid)


def strip_tail(ids: Sequence[int], tail: Sequence[int]) -> list[int]:
    """A response without the announcing sentence at its end."""
    if tail and list(ids[-len(tail) :]) == list(tail):
        return list(ids[: -len(tail)])
    return list(ids)
