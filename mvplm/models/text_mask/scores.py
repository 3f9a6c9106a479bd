"""How sure a model was of the masks it wrote. Source of the definitions: ours, from the tokens that were free."""

from typing import Any

from mvplm.models.text_mask.writing import Written
from mvplm.textmask import BsdCodec, Codec, TextMaskResult, score_answer
from mvplm.textmask.bricks import LENGTH, ROW_BREAK
from mvplm.textmask.confidence import MaskConfidence, brick_scores
from mvplm.textmask.items import SPELLING, TEXT, token_table

_REF, _BOX, _SEG = (SPELLING.index(tag) for tag in ("<ref>", "<box>", "<seg>"))


def instance_scores(written: Written, result: TextMaskResult, *, codec: Codec, tokenizer: Any) -> list[MaskConfidence]:
    """Confidence of every block of an answer, in order.

    Within a grammar every token is known for what it is. Otherwise bricks are known by their ids; in plain text all
    blocks share the geometric mean over the answer.

    Args:
        written: with ids and log-probabilities. result: how it was read.
        codec, tokenizer: the ones it was read with.
    """
    blocks = result.answer.instances
    if written.constraint is not None and isinstance(codec, BsdCodec) and written.finished:
        return score_answer(written.constraint.grammar, written.ids, log_probs=written.log_probs)
    codes = token_table(tokenizer).codes
    kinds = [int(codes[token]) if token < len(codes) else TEXT for token in written.ids]
    if any(0 <= kind < ROW_BREAK for kind in kinds):
        return [_block(written, kinds, span=block.span) for block in blocks]
    free = [value for value, free in zip(written.log_probs, written.free, strict=True) if free]
    return [brick_scores(free, [1] * len(free))] * len(blocks)


def _block(written: Written, kinds: list[int], *, span: tuple[int, int]) -> MaskConfidence:
    """Confidence of the block at a range of ids."""
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
    bricks, of_box, of_label = (
        brick_scores(mask, lengths),
        *(brick_scores(part, [1] * len(part)) for part in (box, label)),
    )
    return MaskConfidence(
        bricks.mask_score,
        bricks.mask_score_area,
        box_score=of_box.mask_score,
        label_score=of_label.mask_score,
        forced=bricks.forced,
    )
