"""The library xgrammar as the judge of which tokens may follow, in place of the built-in automaton.

It judges image-wise answers as a whole, and the masks of box-wise ones: a grammar for every size of a box, since a mask
has to fill the box that was just written. Labels and boxes stay with the automaton: that ``x1 < x2`` holds cannot be
said in a context-free grammar of bearable size. There is no budget: xgrammar does not know how far the end is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mvplm.textmask.automaton import TokenGrammar, TokenState, certain_tokens
from mvplm.textmask.codec_bsd import BsdCodec
from mvplm.textmask.codec_isd import IsdCodec
from mvplm.textmask.codecs import Codec
from mvplm.textmask.grammar_text import image_grammar, mask_grammar

_KEPT = 256


@dataclass(frozen=True, eq=False)
class MatcherState:
    """A place inside a grammar of xgrammar.

    Attributes:
        matcher: never advanced; the next state has a copy. after: where the automaton goes on; None: the answer ends.
    """

    matcher: Any
    after: TokenState | None


class XGrammar:
    """The same questions as :class:`TokenGrammar` answers, answered by xgrammar where it can.

    Tokens along certain text may be shorter ones here: xgrammar allows every way of spelling.

    Args:
        outer: the automaton of the codec. codec, labels: as for :func:`mvplm.textmask.constrain`.
        tokenizer: Hugging Face.

    Raises:
        ModuleNotFoundError: xgrammar is not installed.
        ValueError: a box-wise codec whose bricks are not tokens of the tokenizer; a grammar that is too large.
    """

    def __init__(self, outer: TokenGrammar, codec: Codec, *, labels: Sequence[str] | None, tokenizer: Any) -> None:
        try:
            import xgrammar
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("backend 'xgrammar' needs the extra: pip install 'mvplm[text]'") from error
        self.outer, self.vocabulary, self._library = outer, outer.vocabulary, xgrammar
        atoms = self.vocabulary.atoms
        if isinstance(codec, BsdCodec) and not (codec.bricks and 0 in atoms):
            raise ValueError(f"backend 'xgrammar' needs bricks that are tokens, not {codec.name} in plain text")
        info = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=self.vocabulary.size, stop_token_ids=list(self.vocabulary.ends)
        )
        compiler = xgrammar.GrammarCompiler(info)
        self._whole = None
        if isinstance(codec, IsdCodec):
            self._whole = compiler.compile_grammar(image_grammar(codec, labels or (), atoms=atoms))
            return
        row_sep = codec.row_sep
        self._mask = lru_cache(maxsize=_KEPT)(
            lambda shape: compiler.compile_grammar(mask_grammar(shape, row_sep=row_sep, atoms=atoms))
        )

    def start(self) -> TokenState | MatcherState:
        """Nothing written yet."""
        if self._whole is None:
            return self.outer.start()
        return MatcherState(self._library.GrammarMatcher(self._whole), None)

    def is_final(self, state: TokenState | MatcherState) -> bool:
        """Whether the answer has ended."""
        return state.matcher.is_terminated() if isinstance(state, MatcherState) else self.outer.is_final(state)

    def allowed(self, state: TokenState | MatcherState, budget: int | None = None) -> np.ndarray:
        """Ids that may come next, int64 ascending; none after the end. ``budget`` must be None."""
        assert budget is None, "xgrammar keeps no budget"
        if isinstance(state, TokenState):
            return self.outer.allowed(state)
        if state.matcher.is_terminated():
            return np.zeros(0, np.int64)
        bits = self._library.allocate_token_bitmask(1, self.vocabulary.size)
        state.matcher.fill_next_token_bitmask(bits)
        return np.flatnonzero(np.unpackbits(bits.numpy().view(np.uint8), bitorder="little")[: self.vocabulary.size])

    def advance(self, state: TokenState | MatcherState, token: int) -> TokenState | MatcherState | None:
        """The state after a token, or None when it leaves the grammar; nothing changes after the end."""
        if self.is_final(state):
            return state
        if isinstance(state, TokenState):
            following = self.outer.advance(state, token)
            return following if following is None or following.inner[0] != "run" else self._enter_mask(following)
        matcher = state.matcher.fork()
        if not matcher.accept_token(token):
            return None
        if state.after is not None and matcher.is_completed():
            return state.after
        return MatcherState(matcher, state.after)

    def _enter_mask(self, state: TokenState) -> MatcherState:
        _, _, instance, (width, height, _) = state.inner
        close = TokenState(("close", 0, instance, ()))
        return MatcherState(self._library.GrammarMatcher(self._mask((height, width))), close)

    def forced(self, state: TokenState | MatcherState, budget: int | None = None) -> list[int]:
        """The tokens that follow without a choice, up to the next choice or the end."""
        return certain_tokens(self, state, budget=budget)
