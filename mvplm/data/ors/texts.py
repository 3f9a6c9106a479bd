"""Instructions and descriptions: wordings, and which descriptions can be used."""

import re
from collections import Counter
from collections.abc import Sequence

from mvplm.data.ors.config import OrsConfig
from mvplm.prompts.box_masks import QUESTIONS

CATEGORY_PROMPT = QUESTIONS["category"].replace("{classes}", "{text}")
DESCRIPTION_PROMPT = QUESTIONS["description"]
REASONS = ("length", "brackets", "given_away", "repeated")
"""Why a description is dropped."""

_PROMPTS = tuple(
    re.compile(re.escape(prompt).replace(re.escape("{text}"), "(.+)"))
    for prompt in (CATEGORY_PROMPT, DESCRIPTION_PROMPT)
)
_NUMBER_IN_BRACKETS = re.compile(r"\[[^\]]*\d[^\]]*\]")
_GIVEN_AWAY = re.compile(r"\b(mask|overlay|highlighted|bounding box|blue region)(s|es)?\b", re.IGNORECASE)


def plain_text(instruction: str) -> str:
    """The category or description inside an instruction of this module; any other text stays as it is."""
    for prompt in _PROMPTS:
        found = prompt.fullmatch(instruction.strip())
        if found:
            return found[1]
    return instruction


def reasons_against(texts: Sequence[str], *, config: OrsConfig) -> list[str | None]:
    """For each description of an image the first of ``REASONS`` that speaks against it, or None.

    Two equal ones both go: neither tells its object from the other.
    """
    keys = [text.casefold().rstrip(".") for text in texts]
    counts = Counter(keys)
    return [
        _reason_alone(text, config) or ("repeated" if counts[key] > 1 else None)
        for text, key in zip(texts, keys, strict=True)
    ]


def _reason_alone(text: str, config: OrsConfig) -> str | None:
    if not config.min_words <= len(text.split()) <= config.max_words:
        return "length"
    if _NUMBER_IN_BRACKETS.search(text):
        return "brackets"
    return "given_away" if _GIVEN_AWAY.search(text) else None
