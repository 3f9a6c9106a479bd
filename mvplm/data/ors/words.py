"""Tags as words: their normal form, and which of them name things (spec: tags, semantic filter).

``HypernymSource`` says what a noun is a kind of. The list that comes with the package is ours and small; WordNet is the
large one (``pip install mvplm[wordnet]`` and its files).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Protocol

ROOTS = ("person", "vehicle", "animal", "artifact", "clothing", "food", "structure")
"""Kinds whose nouns are kept."""
REASONS = ("stop_list", "unknown", "other_kind")
"""Why a tag is dropped."""

_AS_THEY_ARE = frozenset(
    (
        *("binoculars", "chopsticks", "clothes", "glasses", "goggles", "headphones", "jeans", "leggings", "overalls"),
        *("pants", "pliers", "scissors", "shorts", "sunglasses", "sweatpants", "tights", "tongs", "trousers"),
        *("tweezers", "fries", "rhinoceros", "series", "species", "specimen"),
    )
)
_IRREGULAR = {
    **{"children": "child", "feet": "foot", "geese": "goose", "leaves": "leaf", "mice": "mouse", "oxen": "ox"},
    **{"people": "person", "persons": "person", "teeth": "tooth", "loaves": "loaf", "shoes": "shoe", "canoes": "canoe"},
}
# The first suffix that fits decides; those that stay as they are stand before the plain "s".
_SUFFIXES = (
    *(("men", "man"), ("knives", "knife"), ("wolves", "wolf"), ("shelves", "shelf"), ("scarves", "scarf")),
    *(("calves", "calf"), ("movies", "movie"), ("cookies", "cookie"), ("ties", "tie"), ("ies", "y")),
    *(("ches", "ch"), ("shes", "sh"), ("sses", "ss"), ("xes", "x"), ("zzes", "zz"), ("oes", "o"), ("buses", "bus")),
    *(("ss", "ss"), ("us", "us"), ("is", "is"), ("s", "")),
)


def normalise_tag(tag: str) -> str:
    """Lower case, single spaces, the last word in the singular by rules of suffixes; "" stays ""."""
    words = tag.lower().replace("_", " ").split()
    return " ".join([*words[:-1], _singular(words[-1])]) if words else ""


def _singular(word: str) -> str:
    if word in _AS_THEY_ARE or len(word) < 4:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    ending, instead = next(((old, new) for old, new in _SUFFIXES if word.endswith(old)), ("", ""))
    return word.removesuffix(ending) + instead


class HypernymSource(Protocol):
    """What a noun is a kind of."""

    name: str
    version: str

    def ancestors(self, noun: str) -> frozenset[str] | None:
        """All kinds above any sense of a noun, without itself; None for a noun that is not known."""
        raise NotImplementedError


class ListedHypernyms:
    """Hypernyms from a mapping: kind -> the nouns directly below it. A noun below several kinds has several senses.

    Args:
        children: kind -> nouns.

    Raises:
        ValueError: a noun is above itself.
    """

    name = "listed"

    def __init__(self, children: Mapping[str, Sequence[str]]) -> None:
        self.version = _hash({kind: sorted(nouns) for kind, nouns in children.items()})
        self._parents: dict[str, list[str]] = {kind: [] for kind in children}
        for kind, nouns in children.items():
            for noun in nouns:
                self._parents.setdefault(noun, []).append(kind)
        self._above = {noun: self._climb(noun) for noun in self._parents}

    def ancestors(self, noun: str) -> frozenset[str] | None:
        """See ``HypernymSource``."""
        return self._above.get(noun)

    def _climb(self, noun: str) -> frozenset[str]:
        found: set[str] = set()
        waiting = list(self._parents[noun])
        while waiting:
            kind = waiting.pop()
            if kind == noun:
                raise ValueError(f"{noun!r} is a kind of itself; take it out of one of the kinds below it")
            if kind not in found:
                found.add(kind)
                waiting += self._parents.get(kind, [])
        return frozenset(found)


class WordNetHypernyms:
    """Hypernyms of every noun sense in WordNet, through NLTK and its files on this machine.

    Raises:
        ValueError: NLTK or its files are not there.
    """

    name = "wordnet"

    def __init__(self) -> None:
        try:
            from nltk.corpus import wordnet

            self.version = str(wordnet.get_version())
        except (ImportError, LookupError) as error:
            raise ValueError(
                "hypernyms of WordNet need NLTK and its files: pip install mvplm[wordnet]; python -m nltk.downloader "
                "wordnet"
            ) from error
        self._wordnet: Any = wordnet

    def ancestors(self, noun: str) -> frozenset[str] | None:
        """See ``HypernymSource``."""
        senses = self._wordnet.synsets(noun.replace(" ", "_"), pos="n")
        if not senses:
            return None
        above = (kind for sense in senses for kind in sense.closure(lambda one: one.hypernyms()))
        names = {name.replace("_", " ").lower() for kind in above for name in kind.lemma_names()}
        return frozenset(names - {noun})


@dataclass(frozen=True)
class Nouns:
    """Which nouns name things.

    Attributes:
        source: what they are kinds of.
        curated: kept in any case but the next.
        stop: dropped in any case.
    """

    source: HypernymSource
    curated: frozenset[str] = frozenset()
    stop: frozenset[str] = frozenset()

    @property
    def identity(self) -> str:
        """Name of the source, and a hash over its version and the two lists."""
        return f"{self.source.name}@{_hash([self.source.version, sorted(self.curated), sorted(self.stop)])}"

    def reason_against(self, noun: str) -> str | None:
        """One of ``REASONS``; None for a noun that is kept."""
        if noun in self.stop:
            return "stop_list"
        if noun in self.curated or noun in ROOTS:
            return None
        above = self.source.ancestors(noun)
        if above is None:
            return "unknown"
        return None if above.intersection(ROOTS) else "other_kind"

    def is_above(self, kind: str, noun: str) -> bool:
        """Whether ``noun`` is a kind of ``kind``, and not the same."""
        return kind in (self.source.ancestors(noun) or ())


@lru_cache(maxsize=1)
def _listed() -> dict[str, Any]:
    return json.loads((files("mvplm") / "assets" / "nouns.json").read_text(encoding="utf-8"))


def known_nouns(source: str = "listed") -> Nouns:
    """The nouns of the package.

    Args:
        source: "listed", or "wordnet" for its hypernyms in place of ours; the curated and the stop list stay.

    Raises:
        ValueError: another name, or WordNet is not on this machine.
    """
    listed = _listed()
    if source not in ("listed", "wordnet"):
        raise ValueError(f"unknown source of hypernyms {source!r} (choices: listed, wordnet)")
    hypernyms = WordNetHypernyms() if source == "wordnet" else ListedHypernyms(listed["kinds"])
    return Nouns(hypernyms, frozenset(listed["curated"]), frozenset(_all(listed["stop"].values())))


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _all(lists: Iterable[Sequence[str]]) -> Iterable[str]:
    return (word for words in lists for word in words)
