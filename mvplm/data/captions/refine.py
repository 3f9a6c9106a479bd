"""Refinement of generated captions: hedging sentences, length, repetition, duplicates.

Source: MVP-LM, section 3.3 (length, information entropy and hedging keywords); the thresholds are this project's.
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mvplm.prompts import normalise_caption

HEDGES = (
    *("indicate", "indicates", "indicated", "indicating", "indication", "indicative", "might", "may", "maybe"),
    *("imply", "implies", "implied", "implying", "suggest", "suggests", "suggested", "suggesting", "suggestive"),
    *("possibly", "possible", "perhaps", "probably", "probable", "likely", "presumably"),
    *("seem", "seems", "seemed", "seeming", "seemingly", "appear to", "appears to", "appeared to", "appearing to"),
    *("potential", "potentially", "apparent", "apparently", "could be", "could have"),
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+")
_ABBREVIATION = re.compile(r"(?:^|[\s(])(?:mr|mrs|ms|dr|st|vs|approx|e\.g|i\.e)\.$", re.IGNORECASE)
_LABEL = re.compile(
    r"^(?:(?:image )?(?:caption|description)|(?:the|this) (?:image|picture|photo)(?: (?:shows|depicts))?)\s*:\s*",
    re.IGNORECASE,
)
_MARKDOWN = (
    (re.compile(r"!?\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"^\s*(?:#{1,6}|[-*+>]|\d+\.)\s+", re.MULTILINE), ""),
    (re.compile(r"\*{1,3}|_{2,3}|`+|~~"), ""),
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RefineSettings:
    """Thresholds of refinement.

    Attributes:
        hedges: words or phrases, lower-case; a sentence with one of them as whole words is dropped.
        months: hedges that are also names when capitalised; they count when lower-case or first in a sentence.
        max_words, max_tokens: longer captions are cut to their leading whole sentences that fit.
        min_words: shorter captions are rejected.
        min_entropy: least entropy of the word frequencies, in bits.
        min_evenness: least entropy as a share of its maximum, log2 of the number of words.
    """

    hedges: tuple[str, ...] = HEDGES
    months: tuple[str, ...] = ("may",)
    max_words: int = 120
    max_tokens: int = 160
    min_words: int = 6
    min_entropy: float = 2.0
    min_evenness: float = 0.70

    def __post_init__(self) -> None:
        for name in ("max_words", "max_tokens", "min_words", "min_entropy", "min_evenness"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class Refined:
    """What became of one caption.

    Attributes:
        text: the refined caption; "" when rejected.
        rule: why it was rejected ("empty", "hedging", "length", "entropy", "duplicate"); "" when kept.
        dropped: sentences removed for hedging.
        cut: whether trailing sentences were removed for length.
    """

    text: str
    rule: str = ""
    dropped: tuple[str, ...] = ()
    cut: bool = False

    @property
    def kept(self) -> bool:
        """True when the caption survives."""
        return not self.rule


def refine_captions(
    captions: Sequence[str],
    *,
    settings: RefineSettings | None = None,
    count_tokens: Callable[[str], int] | None = None,
    image_id: int | str = "",
) -> list[Refined]:
    """Refine the captions of one image, one result per caption, in order.

    Rules in order: whitespace, markdown and leading labels are cleaned; hedging sentences dropped; length; entropy;
    exact duplicates of an earlier surviving caption dropped. Every rejection is logged with its rule.

    Args:
        captions: raw texts, one per captioner.
        settings: thresholds and word list; None: the defaults.
        count_tokens: number of tokens of a text; None: only words are limited.
        image_id: for the log.
    """
    chosen = settings if settings is not None else RefineSettings()
    results: list[Refined] = []
    seen: set[str] = set()
    for caption in captions:
        refined = _refine(caption, chosen, count_tokens=count_tokens)
        if refined.kept and refined.text in seen:
            refined = Refined("", "duplicate", refined.dropped, refined.cut)
        if refined.kept:
            seen.add(refined.text)
        else:
            _log.info("image %s: caption rejected by rule %s: %r", image_id, refined.rule, caption)
        results.append(refined)
    return results


def word_entropy(text: str) -> float:
    """Entropy in bits of the word frequencies of a text; 0.0 for a text without words."""
    counts = Counter(_words(text))
    total = sum(counts.values())
    return sum(-n / total * math.log2(n / total) for n in counts.values() if n != total)


def _refine(caption: str, settings: RefineSettings, *, count_tokens: Callable[[str], int] | None) -> Refined:
    sentences = _sentences(_clean(caption))
    if not sentences:
        return Refined("", "empty")
    hedged = [_hedges(sentence, settings) for sentence in sentences]
    dropped = tuple(sentence for sentence, flag in zip(sentences, hedged, strict=True) if flag)
    certain = [sentence for sentence, flag in zip(sentences, hedged, strict=True) if not flag]
    if not certain:
        return Refined("", "hedging", dropped)
    fitting = list(certain)
    while fitting and not _fits(" ".join(fitting), settings, count_tokens=count_tokens):
        fitting.pop()
    text, cut = " ".join(fitting), len(fitting) < len(certain)
    words = len(_words(text))
    if words < max(settings.min_words, 1):
        return Refined("", "length", dropped, cut)
    entropy = word_entropy(text)
    if entropy < settings.min_entropy or (words > 1 and entropy / math.log2(words) < settings.min_evenness):
        return Refined("", "entropy", dropped, cut)
    return Refined(text, "", dropped, cut)


def _clean(caption: str) -> str:
    text = caption
    for pattern, replacement in _MARKDOWN:
        text = pattern.sub(replacement, text)
    text = _LABEL.sub("", " ".join(text.split()))
    return normalise_caption(text)


def _sentences(text: str) -> list[str]:
    """Sentences of a cleaned text, split after ``. ! ?`` and whitespace, not after common abbreviations."""
    sentences: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(text):
        if not _ABBREVIATION.search(text[start : end.start()]):
            sentences.append(text[start : end.end()].strip())
            start = end.end()
    return [sentence for sentence in [*sentences, text[start:].strip()] if sentence]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _hedges(sentence: str, settings: RefineSettings) -> bool:
    first = _WORD.search(sentence)
    for hedge in settings.hedges:
        body = r"\s+".join(map(re.escape, hedge.split()))
        for match in re.finditer(rf"(?<!\w)(?<!\w[-'’]){body}(?!\w)(?![-'’]\w)", sentence, re.IGNORECASE):
            named = hedge in settings.months and not match.group().islower()
            if not named or (first is not None and match.start() == first.start()):
                return True
    return False


def _fits(text: str, settings: RefineSettings, *, count_tokens: Callable[[str], int] | None) -> bool:
    if len(_words(text)) > settings.max_words:
        return False
    return count_tokens is None or count_tokens(text) <= settings.max_tokens
