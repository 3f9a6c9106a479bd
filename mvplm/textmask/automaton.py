"""From symbols to tokens: which token ids may come next, so that the text never leaves the grammar.

Tokens may join several pieces of the grammar, as those of byte-pair encodings do; only behind the digits of a number a
token has to end. Where the text that follows is
certain, only the longest token along it is allowed, as the tokenizer itself would write.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mvplm.textmask.grammar_bsd import BoxGrammar
from mvplm.textmask.grammar_isd import LabelGrammar
from mvplm.textmask.grammar_json import JsonBoxGrammar
from mvplm.textmask.symbols import ATOM, END
from mvplm.textmask.vocabulary import Vocabulary

_DIGITS = range(ord("0"), ord("9") + 1)


@dataclass(frozen=True)
class TokenState:
    """Where in the grammar an answer is, and how many tokens its current free text has."""

    inner: tuple[Any, ...]
    text_tokens: int = 0


def certain_tokens(grammar: Any, state: Any, *, budget: int | None) -> list[int]:
    """The tokens that follow a state without a choice, by the answers of ``allowed`` and ``advance``."""
    tokens: list[int] = []
    while not grammar.is_final(state):
        ids = grammar.allowed(state, None if budget is None else budget - len(tokens))
        if len(ids) != 1:
            break
        tokens.append(int(ids[0]))
        state = grammar.advance(state, tokens[-1])
        assert state is not None, "an allowed token leads on"
    return tokens


class TokenGrammar:
    """A grammar over the tokens of a vocabulary.

    Args:
        grammar: over symbols. vocabulary: the tokens.

    Raises:
        ValueError: a byte that every answer may need, a digit for example, is not a token.
    """

    def __init__(self, grammar: BoxGrammar | LabelGrammar | JsonBoxGrammar, vocabulary: Vocabulary) -> None:
        self.grammar, self.vocabulary = grammar, vocabulary
        needed = {byte for text in grammar.literals.values() for byte in text if byte < ATOM} | set(b"0123456789")
        needed |= {byte for tree in grammar.fixed_texts() for children in tree.children for byte in children}
        missing = sorted(byte for byte in needed if not vocabulary.has(bytes([byte])))
        if missing:
            shown = ", ".join(repr(chr(byte)) for byte in missing[:8])
            raise ValueError(f"the tokenizer has no single token for {shown}; constrained decoding needs them")
        self._structural: dict[Any, np.ndarray] = {}
        self._with_text: dict[Any, np.ndarray] = {}

    def start(self) -> TokenState:
        """Nothing written yet."""
        return TokenState(self.grammar.start())

    def is_final(self, state: TokenState) -> bool:
        """Whether the answer has ended."""
        return state.inner[0] == "done"

    def min_finish(self, state: TokenState) -> int:
        """Tokens that are enough to end the answer, the end token included."""
        return self.grammar.cost(state.inner)

    def allowed(self, state: TokenState, budget: int | None = None) -> np.ndarray:
        """Ids that may come next, int64 ascending; none after the end.

        Args:
            state: where the answer is. budget: tokens left, this one included; only tokens after which the answer can
                still end in time are allowed. None: no limit.
        """
        room = self.grammar.most_tokens(state.inner) - state.text_tokens
        free = self.grammar.is_free(state.inner) and room > 0
        key = self.grammar.key(state.inner, self.vocabulary.span), free
        if key not in self._structural:
            self._structural[key] = self._collect(state, free=free)
        ids = self._structural[key]
        # The last token of a text must be seen, if none was so far: spaces alone are no text.
        blank = free and (room > 1 or self.grammar.after_text(state.inner, visible=False)[1] > 0)
        groups = (free, blank)
        if budget is not None and budget <= self.min_finish(state) + self.grammar.reserve(state.inner):
            ids = np.array([token for token in ids.tolist() if self._fits(state, token, budget=budget)], np.int64)
            groups = (
                free and self._text_fits(state, True, budget=budget),
                blank and self._text_fits(state, False, budget=budget),
            )
        return self._joined(ids, groups) if any(groups) else ids

    def _fits(self, state: TokenState, token: int, *, budget: int) -> bool:
        """Whether the answer can end with ``budget - 1`` tokens after this one."""
        after = self.advance(state, token)
        return after is not None and 1 + self.min_finish(after) <= budget

    def _text_fits(self, state: TokenState, visible: bool, *, budget: int) -> bool:
        """The same for all tokens of free text that have, or have not, more than spaces: they lead to one state."""
        return 1 + self.grammar.cost(self.grammar.after_text(state.inner, visible=visible)) <= budget

    def _joined(self, ids: np.ndarray, groups: tuple[bool, bool]) -> np.ndarray:
        """Structural tokens with visible and with blank free text. Few combinations occur; they are kept."""
        key = ids.tobytes(), groups
        if key not in self._with_text:
            text = [
                part
                for part, wanted in zip((self.vocabulary.plain, self.vocabulary.blank), groups, strict=True)
                if wanted
            ]
            self._with_text[key] = np.unique(np.concatenate([ids, *text]))
        return self._with_text[key]

    def advance(self, state: TokenState, token: int) -> TokenState | None:
        """The state after a token, or None when it leaves the grammar; nothing changes after the end."""
        if self.is_final(state):
            return state
        if token in self.vocabulary.ends:
            after = self.grammar.next(state.inner).get(END)
            return None if after is None else TokenState(after)
        if token in self.vocabulary.code_of:
            after = self.grammar.next(state.inner).get(ATOM + self.vocabulary.code_of[token])
            return None if after is None else TokenState(after)
        inner: Any = state.inner
        for byte in self.vocabulary.bytes_of.get(token, b"\x00"):
            inner = self._step(inner, byte)
            if inner is None:
                return None
        free = self.grammar.is_free(inner)
        return TokenState(inner, (state.text_tokens + 1) * free)

    def _step(self, inner: Any, byte: int) -> Any:
        after = self.grammar.next(inner).get(byte)
        if after is not None or not self.grammar.is_free(inner):
            return after
        plain = byte >= 32 and byte not in self.vocabulary.barred
        return self.grammar.after_text(inner, visible=byte != 32) if plain else None

    def forced(self, state: TokenState, budget: int | None = None) -> list[int]:
        """The tokens that follow without a choice, up to the next choice or the end: no model needs to be asked."""
        return certain_tokens(self, state, budget=budget)

    def _collect(self, state: TokenState, *, free: bool) -> np.ndarray:
        """All tokens that keep the text inside the grammar, but those of free text."""
        found: list[int] = []
        vocabulary = self.vocabulary
        for symbol in self.grammar.next(state.inner):
            if symbol == END:
                found += vocabulary.ends
            elif symbol >= ATOM:
                found.append(vocabulary.atoms[symbol - ATOM])
        self._walk(state.inner, b"", bounds=(0, len(vocabulary.texts)), found=found)
        if free:
            leaving = [vocabulary.ids[place] for place in vocabulary.leaving]
            found += [token for token in leaving if self.advance(state, token) is not None]
        return np.unique(np.array(found, np.int64))

    def _walk(self, inner: Any, prefix: bytes, *, bounds: tuple[int, int], found: list[int]) -> None:
        """Tokens within ``bounds``, all of which begin with ``prefix``, that stay inside the grammar."""
        number = self.grammar.number(inner)
        if number is not None:
            found += self.vocabulary.numbers(prefix, bounds).within(number)
        for symbol, after in self.grammar.next(inner).items():
            if symbol >= ATOM or (number is not None and symbol in _DIGITS):
                continue
            text = prefix + bytes([symbol])
            low, high = self.vocabulary.inside(text, bounds)
            place = low
            while place < high and self.vocabulary.texts[place] == text:
                place += 1
            if place > low and not self._goes_on(after, text, bounds=(place, high)):
                found += self.vocabulary.ids[low:place]
            if place < high:
                self._walk(after, text, bounds=(place, high), found=found)

    def _goes_on(self, inner: Any, text: bytes, *, bounds: tuple[int, int]) -> bool:
        """Whether a longer token runs along text that has to follow anyway."""
        while bounds[0] < bounds[1] and not self.grammar.is_free(inner):
            options = self.grammar.next(inner)
            symbol = next(iter(options)) if len(options) == 1 else END
            if symbol >= ATOM:
                return False
            text, inner = text + bytes([symbol]), options[symbol]
            bounds = self.vocabulary.inside(text, bounds)
            if bounds[0] < bounds[1] and self.vocabulary.texts[bounds[0]] == text:
                return True
        return False
