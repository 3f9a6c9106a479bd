"""How sure a model was of the masks it wrote. Source of the definitions: ours, from the tokens that were free."""

from dataclasses import dataclass
from math import exp
from typing import Any

from mvplm.models.text_mask.writing import Written
from mvplm.textmask import TextMaskResult
from mvplm.textmask.bricks import LENGTH, ROW_BREAK
from mvplm.textmask.items import SPELLING, TEXT, token_table

_REF, _BOX, _SEG = (SPELLING.index(tag) for tag in ("<ref>", "<box>", "<seg>"))


@dataclass(frozen=True)
class InstanceScore:
    """Scores of one instance in [0, 1]: geometric means of probabilities; 1 where nothing was free.

    Attributes:
        mask: over the bricks. mask_area: over the bricks, each counted by its length. box: over the coordinates.
        label: over the name. forced: no token of box and mask was free.
    """

    mask: float
    mask_area: float
    box: float
    label: float
    forced: bool

    @property
    def total(self) -> float:
        """What an instance is ranked by."""
        return self.mask * self.box


@dataclass(frozen=True)
class AnswerScores:
    """``instances``: one per block of the answer, in order. ``answer``: over all free tokens."""

    instances: list[InstanceScore]
    answer: float


def answer_scores(written: Written, result: TextMaskResult, *, tokenizer: Any) -> AnswerScores:
    """Scores of an answer.

    Blocks that were read by id have scores of their own. In plain text all share that of the answer.

    Args:
        written: with ids and log-probabilities. result: how it was read.
        tokenizer: the one it was read with.
    """
    everything = mean_score([p for p, free in zip(written.log_probs, written.free, strict=True) if free])
    blocks = result.answer.instances
    codes = token_table(tokenizer).codes
    kinds = [int(codes[token]) if token < len(codes) else TEXT for token in written.ids]
    if not any(0 <= kind < ROW_BREAK for kind in kinds):
        same = InstanceScore(everything, everything, 1.0, everything, not any(written.free))
        return AnswerScores([same] * len(blocks), everything)
    return AnswerScores([_block(written, kinds, span=block.span) for block in blocks], everything)


def mean_score(log_probs: list[float], counts: list[int] | None = None) -> float:
    """exp of the mean, weighted by ``counts`` where given; 1 without any."""
    weights = [1] * len(log_probs) if counts is None else counts
    total = sum(weights)
    return exp(sum(w * p for w, p in zip(weights, log_probs, strict=True)) / total) if total else 1.0


def _block(written: Written, kinds: list[int], *, span: tuple[int, int]) -> InstanceScore:
    """Score of the block at a range of ids."""
    part, label, box, mask, lengths = _REF, [], [], [], []
    for place in range(*span):
        kind, log_prob = kinds[place], written.log_probs[place]
        if kind > ROW_BREAK:
            part = kind
        elif not written.free[place]:
            continue
        elif part == _SEG and 0 <= kind < ROW_BREAK:
            mask.append(log_prob)
            lengths.append(int(LENGTH[kind]))
        elif part == _BOX and kind == TEXT:
            box.append(log_prob)
        elif part == _REF and kind == TEXT:
            label.append(log_prob)
    return InstanceScore(
        mean_score(mask), mean_score(mask, lengths), mean_score(box), mean_score(label), not (mask or box)
    )
