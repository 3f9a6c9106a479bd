"""Constrained decoding inside ``transformers.generate``: only tokens that keep the answer inside the grammar."""

from collections.abc import Collection, Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from mvplm.textmask.automaton import TokenGrammar
from mvplm.textmask.codec_bsd import BsdCodec
from mvplm.textmask.codecs import Codec
from mvplm.textmask.grammar_bsd import BoxGrammar
from mvplm.textmask.grammar_isd import LabelGrammar
from mvplm.textmask.grammar_json import BARRED, JsonBoxGrammar
from mvplm.textmask.grid import check_way
from mvplm.textmask.vocabulary import vocabulary_of, vocabulary_with
from mvplm.textmask.xgrammar import XGrammar

BACKENDS = ("auto", "builtin", "xgrammar")


class ConstrainedLogits(LogitsProcessor):
    """Sets the score of every token that would leave the grammar to minus infinity, row by row.

    Rows may be samples or beams: the state of a row is found by its tokens. One object serves any number of calls of
    ``generate``, one after the other.

    Args:
        grammar: what may be written. max_new_tokens: length of the answer at most; it then ends in time.
        prompt_length: tokens before the answer; None: those of the first call of a generation.

    Raises:
        ValueError: ``max_new_tokens`` is too small for any answer.
    """

    def __init__(
        self, grammar: TokenGrammar | XGrammar, *, max_new_tokens: int | None = None, prompt_length: int | None = None
    ) -> None:
        # The states of the two kinds are no one's business but their own.
        self.grammar: Any = grammar
        self.budget, self.given_length = max_new_tokens, prompt_length
        if max_new_tokens is not None:
            if isinstance(grammar, XGrammar):
                raise ValueError("backend 'xgrammar' cannot keep max_new_tokens; leave it out or take 'builtin'")
            least = grammar.min_finish(grammar.start())
            if max_new_tokens < least:
                raise ValueError(f"max_new_tokens must be at least {least} for a complete answer, got {max_new_tokens}")
        self.reset()

    def reset(self) -> None:
        """Forget the last generation. Needed only where the next prompt is the last text and one token more."""
        self._length = -1
        self._prompt = 0
        self._states: dict[tuple[int, ...], Any] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, vocabulary) with only the allowed tokens of ``input_ids`` (B, T) left."""
        states = self._find(input_ids)
        written = input_ids.shape[1] - self._prompt
        return torch.stack(
            [self.mask_row(row, state, written=written) for row, state in zip(scores, states, strict=True)]
        )

    def mask_row(self, scores: Tensor, state: Any, *, written: int) -> Tensor:
        """Scores (vocabulary,) with only the tokens left that may follow a state.

        Args:
            scores: of one row. state: where its answer is, None outside of the grammar. written: tokens of the answer.
        """
        if state is None or self.grammar.is_final(state):
            # Rows that ended are padded by generate; a beam outside of the grammar has no probability left.
            ids = torch.tensor(self.grammar.vocabulary.ends)
        else:
            budget = None if self.budget is None else self.budget - written
            ids = torch.from_numpy(self.grammar.allowed(state, budget))
        ids = ids.to(scores.device)
        kept = scores[ids]
        masked = torch.full_like(scores, float("-inf"))
        # One sum is quicker than a look at each; where it is not finite, the scores may still be.
        masked[ids] = kept if isfinite(float(kept.sum())) else _usable(kept)
        return masked

    def _find(self, input_ids: Tensor) -> list[Any]:
        """States of all rows, one token further than in the last call, or at the start."""
        rows = [tuple(row) for row in input_ids.tolist()]
        follows = self._length >= 0 and input_ids.shape[1] == self._length + 1
        if not (follows and all(row[:-1] in self._states for row in rows)):
            self._prompt = input_ids.shape[1] if self.given_length is None else self.given_length
            states = {row: self._replay(row[self._prompt :]) for row in rows}
        else:
            states = {row: self._advance(self._states[row[:-1]], row[-1]) for row in rows}
        self._length, self._states = input_ids.shape[1], states
        return [states[row] for row in rows]

    def _advance(self, state: Any, token: int) -> Any:
        return None if state is None else self.grammar.advance(state, token)

    def _replay(self, tokens: Sequence[int]) -> Any:
        state: Any = self.grammar.start()
        for token in tokens:
            state = self._advance(state, token)
        return state

    def forced(self, answer: Sequence[int]) -> list[int]:
        """The tokens that must follow after the tokens of an answer so far; they need no model.

        Raises:
            ValueError: the answer is outside of the grammar.
        """
        state = self._replay(answer)
        if state is None:
            raise ValueError(f"the {len(answer)} tokens given are not the beginning of an answer")
        return self.grammar.forced(state, None if self.budget is None else self.budget - len(answer))


def _usable(scores: Tensor) -> Tensor:
    """Scores without nan and positive infinity; all equal where none is finite."""
    finite = torch.isfinite(scores)
    if not finite.any():
        return torch.zeros_like(scores)
    top = scores[finite].max()
    return torch.where(scores == float("inf"), top, scores.masked_fill(scores.isnan(), float("-inf")))


def constrain(
    codec: Codec,
    tokenizer: Any,
    *,
    backend: str = "auto",
    labels: Sequence[str] | None = None,
    most: int = 64,
    may_refuse: bool = True,
    preamble: bool = False,
    ends: Collection[int] | None = None,
    max_new_tokens: int | None = None,
) -> ConstrainedLogits:
    """A logits processor with which every finished answer is what ``codec`` writes.

    Args:
        codec: from :func:`get_codec`. tokenizer: a fast Hugging Face tokenizer. Tags and bricks that it has as tokens
            (:func:`add_mask_tokens`) are written as such, others are spelled.
        backend: ``builtin``; ``xgrammar``, the library, without ``max_new_tokens`` and for box-wise codecs with bricks
            that are tokens; ``auto``: the built-in one, which can do everything.
        labels: the only labels allowed; image-wise codecs need them. None: free text.
        most: instances at most. may_refuse: whether the answer may be that nothing fits. preamble: a line of free text
            may come first, of 96 tokens at most; before the answer that nothing fits it has to. For box-wise codecs.
        ends: ids that end the answer; default: the tokenizer's end-of-text token.
        max_new_tokens: of ``generate``; answers then end in time. Without it a long answer may be cut.

    Raises:
        ModuleNotFoundError: backend ``xgrammar`` without the library.
        ValueError: an unknown backend, or one that cannot do what is asked; no labels for an image-wise codec, a
            tokenizer without single digits, too few tokens for any answer.
    """
    check_way("backend", backend, choices=BACKENDS)
    vocabulary = vocabulary_of(tokenizer, ends)
    grammar: BoxGrammar | LabelGrammar
    if isinstance(codec, BsdCodec):
        grammar = BoxGrammar(
            codec, vocabulary.atoms, labels=labels, most=most, may_refuse=may_refuse, preamble=preamble
        )
    elif labels is None:
        raise ValueError(f"{codec.name} needs labels=[...]: the labels that may stand in the answer")
    else:
        grammar = LabelGrammar(codec, vocabulary.atoms, labels=labels)
    inner = TokenGrammar(grammar, vocabulary)
    if backend == "xgrammar":
        judge = XGrammar(inner, codec, labels=labels, tokenizer=tokenizer)
        return ConstrainedLogits(judge, max_new_tokens=max_new_tokens)
    return ConstrainedLogits(inner, max_new_tokens=max_new_tokens)


def constrain_boxes(
    tokenizer: Any,
    *,
    mask_tokens: Sequence[str] = (),
    most: int = 32,
    label_tokens: int = 40,
    may_refuse: bool = True,
    ends: Collection[int],
    max_new_tokens: int | None = None,
) -> ConstrainedLogits:
    """A logits processor with which every finished answer is a JSON list of boxes with labels.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        mask_tokens: added tokens that make up the mask field, written by id; none: objects have no mask field.
        most: objects at most. label_tokens: longest label. may_refuse: whether the list may be empty.
        ends: ids that end the answer.
        max_new_tokens: of ``generate``; answers then end in time. Without it a long answer may be cut.

    Raises:
        ValueError: a mask token is missing, a tokenizer without single digits, too few tokens for any answer.
    """
    vocabulary = vocabulary_with(tokenizer, mask_tokens, ends=ends, barred=BARRED)
    grammar = JsonBoxGrammar(
        mask_tokens=len(mask_tokens),
        most=most,
        may_refuse=may_refuse,
        # The token that opens a label counts as one of it.
        label_tokens=label_tokens + 1,
    )
    return ConstrainedLogits(TokenGrammar(grammar, vocabulary), max_new_tokens=max_new_tokens)
