"""Reading what is asked: names and ``<PER>`` of lists in several prompts, or of lists whose embeddings are known.

Prompts that start alike are read once up to where they part; every prompt goes on from a copy of that state.
Source: MVP-LM, section 3.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mvplm.models.generation import (
    ResponseTokens,
    endings,
    greedy_decode,
    read_after,
    read_summary,
    strip_tail,
)
from mvplm.models.language import Extension, LanguageModel, PrefixState
from mvplm.models.names import NameSpans, NameStates, embed_names
from mvplm.models.text import TextEmbedder
from mvplm.structures import Batch

_BLOCK = 256


@dataclass
class KnownNames:
    """Names that were read before, apart from the image.

    Attributes:
        names: their embeddings.
        prefix: state of one row after what every prompt starts with.
    """

    names: NameStates
    prefix: PrefixState


@dataclass
class PromptStates:
    """What several prompts about one image say, prompt by prompt.

    Attributes:
        rows: R host integers, the row of the batch of each prompt.
        summary: (R, D) hidden states of ``<PER>``, or None for a model that reads none.
        present: (R, K) bool, names that stand in the prompt.
    """

    rows: list[int]
    summary: Tensor | None
    present: Tensor

    def mean(self, count: int) -> Tensor | None:
        """(B, D): the mean of ``summary`` over the prompts of each of ``count`` rows; None without summaries."""
        if self.summary is None:
            return None
        index = torch.tensor(self.rows, device=self.summary.device)
        total = self.summary.new_zeros(count, self.summary.shape[1], dtype=torch.float32)
        total = total.index_add(0, index, self.summary.float())
        return (total / torch.bincount(index, minlength=count)[:, None]).to(self.summary.dtype)


@dataclass
class PartsReading:
    """The outcome of reading.

    Attributes:
        names: embeddings of the names.
        prompts: states of ``<PER>``, prompt by prompt.
        ids: B generated responses, or None when none was written.
        forced: B flags, True where ``<PER>`` was appended.
    """

    names: NameStates
    prompts: PromptStates
    ids: list[list[int]] | None
    forced: list[bool]


def read_lists(
    llm: LanguageModel,
    state: PrefixState,
    *,
    text: TextEmbedder,
    embeddings: Tensor,
    valid: Tensor,
    spans: NameSpans,
    rows: Sequence[int],
    count: int,
) -> tuple[Extension, NameStates]:
    """Read the lists of R prompts after a state of R rows and gather the names of each of ``count`` rows of a batch.

    Args:
        llm, text: language model and embedder.
        state: of R rows. embeddings: (R, n, D) of the lists and what follows. valid: (R, n) bool.
        spans: in the lists' own positions.
        rows: R host integers, the row of the batch of each prompt.
    """
    extension = _extend_in_blocks(llm, state, embeddings=embeddings, valid=valid, mean=text.layer_mean)
    states = extension.hidden if extension.mean is None else extension.mean
    present = spans.names[..., 1] > spans.names[..., 0]
    # Every prompt holds a few of the K names: only those are pooled and projected, then put in their places.
    most = int(present.sum(1).max())
    places = present.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    there = present.gather(1, places)
    own = replace(spans, names=spans.names.gather(1, places[..., None].expand(-1, -1, 2)))
    found = embed_names(text, states, spans=own, mask=there, family="word")
    owner = torch.tensor(list(rows), device=present.device)
    whole = found.text.new_zeros(count, present.shape[1], found.text.shape[-1])
    whole.index_put_((owner[:, None].expand_as(places), places), found.text * there[..., None], accumulate=True)
    anything = _gathered(found.anything, spans.anything, owner=owner, count=count)
    return extension, NameStates(whole, anything, _gathered(found.no_object, spans.no_object, owner=owner, count=count))


def _gathered(found: Tensor | None, spans: Tensor | None, *, owner: Tensor, count: int) -> Tensor | None:
    """(count, C): of each row's prompts the embedding (R, C) of the one that has the word, see ``spans`` (R, 2)."""
    if found is None or spans is None:
        return None
    there = spans[:, 1:] > spans[:, :1]
    return found.new_zeros(count, found.shape[-1]).index_add(0, owner, found * there)


def read_parts(
    llm: LanguageModel,
    text: TextEmbedder,
    *,
    batch: Batch,
    visual: Tensor,
    known: KnownNames | None,
    tokens: ResponseTokens,
    mode: str,
    max_new_tokens: int,
) -> PartsReading:
    """Read prompts whose start is shared or known.

    Without ``known``: lists in several prompts; wrapper, image and description are read once, then every part. A
    response is written after the first part and read after the others. With ``known``: prompts that leave their list
    out; what they start with is read already.

    Args:
        llm, text: language model and embedder.
        batch: family "word". visual: (B, V, D) visual tokens. known: names that were read before, or None.
        tokens: ids that frame a response. mode: "caption" or "skip". max_new_tokens: most tokens of a response.
    """
    if known is not None:
        return _read_known(
            llm, known, batch=batch, visual=visual, tokens=tokens, mode=mode, max_new_tokens=max_new_tokens
        )
    return _read_chunks(llm, text, batch=batch, visual=visual, tokens=tokens, mode=mode, max_new_tokens=max_new_tokens)


def _read_chunks(
    llm: LanguageModel,
    text: TextEmbedder,
    *,
    batch: Batch,
    visual: Tensor,
    tokens: ResponseTokens,
    mode: str,
    max_new_tokens: int,
) -> PartsReading:
    further, count = batch.further, len(batch)
    assert further is not None
    shared, rows = further.shared, [*range(count), *further.rows]
    embeddings = llm.assemble(batch.input_ids[:, :shared], visual, starts=batch.image_starts)
    start = llm.prefill(embeddings, batch.attention_mask[:, :shared]).state
    ids, valid = (
        _stacked(own[:, shared:], more[:, shared:])
        for own, more in (
            (batch.input_ids, further.input_ids),
            (batch.attention_mask, further.attention_mask),
        )
    )
    spans = NameSpans.of(batch).join(NameSpans.of(further)).behind(shared)
    extension, names = read_lists(
        llm,
        llm.branch(start, rows),
        text=text,
        embeddings=llm.embed(ids),
        valid=valid,
        spans=spans,
        rows=rows,
        count=count,
    )
    present = spans.names[..., 1] > spans.names[..., 0]
    if mode == "skip":
        index = torch.cat([batch.summary_index, further.summary_index]) - shared
        summary = _at(extension.hidden, index) if tokens.summary >= 0 else None
        return PartsReading(names, PromptStates(rows, summary, present), None, [False] * count)
    first = Extension(extension.hidden[:count], llm.branch(extension.state, range(count)))
    decoded = greedy_decode(llm, first, valid=valid[:count], tokens=tokens, max_new_tokens=max_new_tokens)
    responses = [[*ids, *ending] for ids, ending in zip(decoded.ids, endings(decoded, tokens), strict=True)]
    summary = read_after(llm, extension.state, rows=[responses[row] for row in rows], fill=tokens.end)
    forced = [not summarised for summarised in decoded.summarised]
    return PartsReading(names, PromptStates(rows, summary, present), _texts(decoded.ids, tokens), forced)


def _read_known(
    llm: LanguageModel,
    known: KnownNames,
    *,
    batch: Batch,
    visual: Tensor,
    tokens: ResponseTokens,
    mode: str,
    max_new_tokens: int,
) -> PartsReading:
    count, shared = len(batch), known.prefix.valid.shape[1]
    embeddings = llm.assemble(batch.input_ids, visual, starts=batch.image_starts)[:, shared:]
    valid = batch.attention_mask[:, shared:]
    extension = llm.extend(llm.branch(known.prefix, [0] * count), embeddings, valid=valid)
    rows = list(range(count))
    if mode == "skip":
        summary = _at(extension.hidden, batch.summary_index - shared)
        return PartsReading(known.names, PromptStates(rows, summary, batch.name_mask), None, [False] * count)
    decoded = greedy_decode(llm, extension, valid=valid, tokens=tokens, max_new_tokens=max_new_tokens)
    states = PromptStates(rows, read_summary(llm, decoded, tokens=tokens), batch.name_mask)
    forced = [not summarised for summarised in decoded.summarised]
    return PartsReading(known.names, states, _texts(decoded.ids, tokens), forced)


def _extend_in_blocks(
    llm: LanguageModel, state: PrefixState, *, embeddings: Tensor, valid: Tensor, mean: bool
) -> Extension:
    """As ``extend``, a block of tokens after the other: no work on keys that come later, and less memory."""
    read: list[Extension] = []
    for block, real in zip(embeddings.split(_BLOCK, dim=1), valid.split(_BLOCK, dim=1), strict=True):
        read.append(llm.extend(state, block, valid=real, mean=mean))
        state = read[-1].state
    means = [each.mean for each in read if each.mean is not None]
    hidden = torch.cat([each.hidden for each in read], dim=1)
    return Extension(hidden, state, mean=torch.cat(means, dim=1) if means else None)


def _texts(ids: Sequence[Sequence[int]], tokens: ResponseTokens) -> list[list[int]]:
    return [strip_tail(row, tokens.tail) for row in ids]


def _at(hidden: Tensor, index: Tensor) -> Tensor:
    """(R, D): the states of (R, n, D) at one position (R,) each."""
    return hidden.gather(1, index[:, None, None].expand(-1, 1, hidden.shape[-1]))[:, 0]


def _stacked(first: Tensor, second: Tensor) -> Tensor:
    """Rows of (A, n) and (B, m), padded on the right with zeros."""
    length = max(first.shape[1], second.shape[1])
    return torch.cat([torch.nn.functional.pad(part, (0, length - part.shape[1])) for part in (first, second)])
