"""How sure a model was of a mask: probabilities of the tokens it had a choice about."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp

from mvplm.textmask.automaton import TokenGrammar

_MASK = ("run", "colour", "g", "length")


@dataclass(frozen=True)
class MaskConfidence:
    """Confidence of one instance, all in [0, 1].

    Attributes:
        mask_score: geometric mean of the probabilities of free bricks. mask_score_area: weighted by their cells.
        box_score, label_score: geometric means over free coordinates and label tokens.
        row_minima: the smallest probability of every row of the mask.
        forced: there was no choice about the mask.
    """

    mask_score: float
    mask_score_area: float
    box_score: float = 1.0
    label_score: float = 1.0
    row_minima: list[float] = field(default_factory=list)
    forced: bool = False

    @property
    def score(self) -> float:
        """Mask times box."""
        return self.mask_score * self.box_score


def brick_scores(log_probs: Sequence[float], lengths: Sequence[int]) -> MaskConfidence:
    """Scores of free bricks.

    Args:
        log_probs: logarithms of the probabilities of the free bricks. lengths: their cells.
    """
    if not log_probs:
        return MaskConfidence(1.0, 1.0, forced=True)
    weighted = sum(n * value for n, value in zip(lengths, log_probs, strict=True))
    total = sum(lengths)
    return MaskConfidence(_mean(log_probs), exp(weighted / total) if total else _mean(log_probs))


def _mean(log_probs: Sequence[float]) -> float:
    return exp(sum(log_probs) / len(log_probs)) if log_probs else 1.0


@dataclass
class _Tally:
    """Log-probabilities of the free tokens of one instance."""

    label: list[float] = field(default_factory=list)
    box: list[float] = field(default_factory=list)
    mask: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    rows: dict[int, float] = field(default_factory=dict)


def score_answer(grammar: TokenGrammar, ids: Sequence[int], *, log_probs: Sequence[float]) -> list[MaskConfidence]:
    """Confidence of every instance of a box-wise answer, in order.

    Args:
        grammar: of the constraint. ids: tokens of the answer.
        log_probs: as many logarithms of probabilities after masking, as of ``generate``'s scores.

    Raises:
        ValueError: a grammar of another back end; the tokens leave the grammar, or another number of probabilities.
    """
    if not isinstance(grammar, TokenGrammar):
        raise ValueError("confidence needs the grammar of backend 'builtin'")
    if len(ids) != len(log_probs):
        raise ValueError(f"{len(ids)} tokens need as many probabilities, got {len(log_probs)}")
    tallies: dict[int, _Tally] = {}
    state = grammar.start()
    for place, (token, value) in enumerate(zip(ids, log_probs, strict=True)):
        after = grammar.advance(state, token)
        if after is None:
            raise ValueError(f"token {place} ({token}) leaves the grammar")
        phase, _, instance, data = state.inner
        tally = tallies.setdefault(instance, _Tally())
        if phase in ("label", "number", *_MASK) and len(grammar.allowed(state)) > 1:
            if phase in _MASK:
                tally.mask.append(float(value))
                tally.lengths.append(_painted(grammar, state.inner, after=after.inner))
                tally.rows[data[1]] = min(tally.rows.get(data[1], 0.0), float(value))
            else:
                (tally.label if phase == "label" else tally.box).append(float(value))
        if phase == "to_mask" or after.inner[0] in _MASK:
            tally.rows.setdefault(-1, 0.0)
        state = after
    return [_confidence(tally) for tally in tallies.values() if -1 in tally.rows]


def _painted(grammar: TokenGrammar, before: tuple, *, after: tuple) -> int:
    """Cells that a token of a mask paints."""
    left = grammar.grammar.cells_left(after)
    return (grammar.grammar.cells_left(before) or 0) - (left or 0)


def _confidence(tally: _Tally) -> MaskConfidence:
    bricks = brick_scores(tally.mask, tally.lengths)
    minima = [exp(value) for row, value in sorted(tally.rows.items(), reverse=True) if row >= 0]
    return MaskConfidence(
        bricks.mask_score,
        bricks.mask_score_area,
        box_score=_mean(tally.box),
        label_score=_mean(tally.label),
        row_minima=minima,
        forced=bricks.forced,
    )
