"""Lists of phrases: grounding. Each object has words of its own; negatives are phrases of other images."""

import random
from collections.abc import Sequence

from mvplm.data.unify.settings import Candidate, NameSampling
from mvplm.prompts import clean_text
from mvplm.structures import Annotation, Record

_ARTICLES = ("a ", "an ", "the ")
_TRIES_PER_NEGATIVE = 10


def phrase_candidates(
    record: Record, *, rng: random.Random, sampling: NameSampling, training: bool, pool: Sequence[str] = ()
) -> list[Candidate]:
    """The record's phrases in order of appearance (objects with one phrase share it) and, in training, negatives.

    Annotations without a phrase are left out: nobody asked for them.

    Args:
        record: image with phrases.
        rng: source of every draw.
        sampling: number of negatives.
        training: evaluation lists hold the record's own phrases only.
        pool: phrases of the whole dataset, from which negatives come (see :func:`conflicts`).

    Raises:
        ValueError: there is no phrase to ask for.
    """
    found: dict[str, list[Annotation]] = {}
    for annotation in record.annotations:
        if annotation.phrase is not None and not annotation.iscrowd:
            found.setdefault(clean_text(annotation.phrase, what="phrase"), []).append(annotation)
    candidates = [Candidate(phrase, True, tuple(annotations)) for phrase, annotations in found.items()]
    if training and pool:
        number = max(rng.randint(*sampling.phrase_negatives), 0 if candidates else 1)
        taken = [annotation.phrase for annotation in record.annotations if annotation.phrase is not None]
        candidates += [Candidate(phrase) for phrase in _draw_negatives(pool, taken, number=number, rng=rng)]
    if not candidates:
        raise ValueError(f"image {record.image_id}: no phrase to ask for")
    return candidates


def conflicts(phrase: str, positive: str) -> bool:
    """Whether a phrase may describe what ``positive`` describes: equal to it, contained in it or containing it.

    Case and a leading article do not count.
    """
    first, second = _key(phrase), _key(positive)
    return first in second or second in first


def _key(phrase: str) -> str:
    text = " ".join(phrase.casefold().split())
    for article in _ARTICLES:
        if text.startswith(article):
            return text[len(article) :]
    return text


def _draw_negatives(pool: Sequence[str], positives: Sequence[str], *, number: int, rng: random.Random) -> list[str]:
    """Up to ``number`` different phrases of the pool without conflict; a large pool is probed, never scanned."""
    negatives: dict[str, str] = {}
    for place in rng.sample(range(len(pool)), min(len(pool), number * _TRIES_PER_NEGATIVE)):
        if len(negatives) == number:
            break
        phrase = pool[place]
        if phrase.strip() and not any(conflicts(phrase, positive) for positive in positives):
            negatives.setdefault(_key(phrase), clean_text(phrase, what="phrase"))
    return list(negatives.values())
