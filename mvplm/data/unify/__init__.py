"""Unification: every supervision becomes one conversation with targets.

Word lists (panoptic, semantic, instance, detection), phrase lists (grounding), expressions (res, gres, rec), captions.
Source: MVP-LM, section 3.2.
"""

import random
from collections.abc import Callable, Sequence

from mvplm.data.unify.captions import unify_caption
from mvplm.data.unify.lists import unify_list
from mvplm.data.unify.phrases import phrase_candidates
from mvplm.data.unify.sentences import expression_indices, unify_sentence
from mvplm.data.unify.settings import NameSampling, Unified, UnifySettings
from mvplm.data.unify.words import word_candidates
from mvplm.prompts import family_of
from mvplm.structures import Record

__all__ = ["NameSampling", "Unified", "UnifySettings", "expression_indices", "unify"]


def unify(
    record: Record,
    *,
    task: str,
    rng: random.Random,
    settings: UnifySettings,
    training: bool,
    expression_index: int | None = None,
    phrase_pool: Sequence[str] = (),
    count_tokens: Callable[[str], int] | None = None,
) -> Unified:
    """Turn a record into a conversation and its targets; the record is left untouched.

    Args:
        record: one image with everything known about it.
        task: panoptic, semantic, instance, detection, grounding, res, gres, rec or caption.
        rng: source of every draw; equal state gives an equal result.
        settings: sampling of names, kind of response.
        training: draw names, order and response; False keeps the caller's order, the full list and settings.closing.
        expression_index: which expression (sentence tasks); needed in evaluation when there are several.
        phrase_pool: phrases for negatives (grounding).
        count_tokens: number of tokens of a piece of text; without it no list is cut to a budget.

    Raises:
        ValueError: unknown task, or the record lacks what the task needs; the message names the image.
    """
    family = family_of(task)
    if family == "caption":
        return unify_caption(record, rng=rng, training=training)
    if family == "sentence":
        return unify_sentence(
            record, task=task, rng=rng, settings=settings, training=training, expression_index=expression_index
        )
    if task == "grounding":
        candidates = phrase_candidates(record, rng=rng, sampling=settings.names, training=training, pool=phrase_pool)
    else:
        candidates = word_candidates(record, task=task, rng=rng, sampling=settings.names, training=training)
    return unify_list(
        record, candidates, task=task, rng=rng, settings=settings, training=training, count_tokens=count_tokens
    )
