"""What an answer to a question may be: a grammar for every kind of question and its labels."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from mvplm.prompts.mask_tasks import BOX_FORMS, ROI_FORMS
from mvplm.textmask import Codec, IsdCodec, constrain
from mvplm.textmask.automaton import TokenGrammar
from mvplm.textmask.grammar_bsd import BoxGrammar
from mvplm.textmask.labels import canonical, escape
from mvplm.textmask.processor import ConstrainedLogits
from mvplm.textmask.vocabulary import vocabulary_of

SINGLE_FORMS = ("refer.single", "reason.single", "remote.refer", "ground")
"""Questions about one object."""
FREE_FORMS = ("vqa",)
"""Questions whose answers are ordinary text."""
MOST_REGIONS = 16
"""Regions without names that an image-wise answer may tell apart."""


class AnswerConstraints:
    """Makes what restricts the answers of a model; grammars are kept for the next question with the same labels.

    Args:
        codec: how masks are spelled. tokenizer: plain, with the tokens of the codec. ends: ids that end an answer.
    """

    def __init__(self, codec: Codec, tokenizer: Any, *, ends: Sequence[int]) -> None:
        self.codec, self.tokenizer, self.ends = codec, tokenizer, tuple(ends)
        self._made = lru_cache(maxsize=64)(self._make)

    def __call__(self, form: str, names: Sequence[str], *, max_new_tokens: int) -> ConstrainedLogits | None:
        """What the answer to a question may be; None: anything.

        Args:
            form: kind of question. names: that are asked for: a list, or the one expression.
            max_new_tokens: most tokens of the answer, its end included.

        Raises:
            ValueError: no answer is that short.
        """
        if form in FREE_FORMS:
            return None
        try:
            return ConstrainedLogits(self._made(form, tuple(names)), max_new_tokens=max_new_tokens)
        except ValueError as error:
            raise ValueError(
                f"{error}: raise text_mask.max_new_tokens, or set text_mask.constrained=false to let the model write "
                "anything"
            ) from error

    def _make(self, form: str, names: tuple[str, ...]) -> TokenGrammar:
        codec, plain = self.codec, self.tokenizer.tokenizer
        most = 1 if form in SINGLE_FORMS else 64
        labels: Sequence[str] | None = names
        if isinstance(codec, IsdCodec):
            if form in ROI_FORMS:
                labels = [f"roi{place}" for place in range(min(most, MOST_REGIONS))]
            return constrain(codec, plain, labels=labels, ends=self.ends).grammar
        if form in ROI_FORMS:
            codec, labels = replace(codec, roi=True), None
        elif not all(self._can_be_spelled(name) for name in names):
            labels = None
        if form in BOX_FORMS:
            vocabulary = vocabulary_of(plain, self.ends)
            return TokenGrammar(BoxGrammar(codec, vocabulary.atoms, labels=labels, most=most, masks=False), vocabulary)
        return constrain(codec, plain, labels=labels, most=most, ends=self.ends).grammar

    def _can_be_spelled(self, name: str) -> bool:
        """Whether the tokenizer has a token for every byte of a label; some have them for whole characters only."""
        vocabulary = vocabulary_of(self.tokenizer.tokenizer, self.ends)
        return all(vocabulary.has(bytes([byte])) for byte in escape(canonical(name)).encode())
