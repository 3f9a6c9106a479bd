"""Words: descriptions that pick things by attributes, and the small grammar that all texts share."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mvplm.data.scenes.shapes import SHAPES
from mvplm.data.scenes.things import ATTRIBUTES, HELD_OUT, Look, Thing

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SIZE_NEEDS_VISIBLE = 0.65
_UNIQUE_KEYS = (
    ("shape",),
    ("colour", "shape"),
    ("pattern", "shape"),
    ("size", "shape"),
    ("pattern", "colour", "shape"),
    ("size", "colour", "shape"),
)


@dataclass(frozen=True)
class Description:
    """A noun phrase without article: every attribute that is given must fit; no shape means "thing"."""

    size: str | None = None
    pattern: str | None = None
    colour: str | None = None
    shape: str | None = None

    def fits(self, look: Look) -> bool:
        """Whether a thing of this look is described."""
        return (
            (self.colour is None or self.colour == look.colour)
            and (self.shape is None or self.shape == look.shape)
            and (self.pattern is None or self.pattern == look.pattern)
            and (self.size is None or self.size == look.size)
        )

    def find(self, things: Sequence[Thing]) -> list[int]:
        """Positions of the things described."""
        return [index for index, thing in enumerate(things) if self.fits(thing.look)]

    def said(self) -> list[str]:
        """Names of the attributes that are given."""
        return [key for key in ATTRIBUTES if getattr(self, key) is not None]

    @property
    def held_out(self) -> bool:
        """True when it says a held-out combination of colour and shape."""
        return f"{self.colour} {self.shape}" in HELD_OUT

    def text(self, *, plural: bool = False) -> str:
        """The words: "small striped red circle", "dotted things"."""
        noun = (
            (SHAPES[self.shape].plural if plural else self.shape) if self.shape else ("things" if plural else "thing")
        )
        return " ".join([word for word in (self.size, self.pattern, self.colour) if word] + [noun])


@dataclass(frozen=True)
class Speaker:
    """What a text generator knows: the things, the random generator, and whether held-out combinations may be said."""

    things: tuple[Thing, ...]
    rng: random.Random
    may_say_held_out: bool

    def may_say(self, description: Description) -> bool:
        """Whether a description is allowed in this split, and its size word (if any) is beyond doubt here."""
        if description.size is not None:
            unsized = replace(description, size="medium")
            if any(unsized.fits(thing.look) for thing in self.things):
                return False
        return self.may_say_held_out or not description.held_out

    def describe(self, thing: Thing, keys: Sequence[str]) -> Description | None:
        """Description of a thing by the given attributes; None when its size has no word or is hard to see."""
        if "size" in keys and (thing.look.size == "medium" or thing.visible < _SIZE_NEEDS_VISIBLE * thing.area):
            return None
        return Description(**{key: getattr(thing.look, key) for key in keys})

    def unique(self, index: int) -> Description | None:
        """The shortest description that only thing ``index`` fits, or None."""
        for keys in _UNIQUE_KEYS:
            description = self.describe(self.things[index], keys)
            if description is None or not self.may_say(description):
                continue
            if description.find(self.things) == [index]:
                return description
        return None


def with_article(text: str) -> str:
    """The text behind "a" or "an"."""
    return ("an " if text[0] in "aeiou" else "a ") + text


def join(items: Sequence[str]) -> str:
    """Comma-separated items with "and" before the last."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def count_noun(count: int, description: Description) -> str:
    """ "two red circles", "one star"."""
    return f"{NUMBERS[count]} {description.text(plural=count != 1)}"


def sentence(text: str) -> str:
    """The text with a capital first letter and a full stop."""
    return text[0].upper() + text[1:] + "."


_PHRASE_KEYS = (
    ("colour", "shape"),
    ("pattern", "colour", "shape"),
    ("size", "colour", "shape"),
    ("pattern", "shape"),
    ("size", "pattern", "colour", "shape"),
    ("size", "shape"),
    ("shape",),
)


def thing_phrases(speaker: Speaker) -> list[str]:
    """A phrase for every thing; a phrase fits no thing but those that carry it (equal things share one)."""
    things, phrases = speaker.things, [""] * len(speaker.things)
    for index, thing in enumerate(things):
        if phrases[index]:
            continue
        twins = [other for other, candidate in enumerate(things) if candidate.look == thing.look]
        fitting = []
        for keys in _PHRASE_KEYS:
            description = speaker.describe(thing, keys)
            if description is not None and speaker.may_say(description) and description.find(things) == twins:
                fitting.append(description.text())
        if not fitting:
            full = ("pattern", "colour", "shape") if thing.look.size == "medium" else ATTRIBUTES
            fitting.append(Description(**{key: getattr(thing.look, key) for key in full}).text())
        words = speaker.rng.choice(fitting)
        article = speaker.rng.choice(("", "a") if len(twins) > 1 else ("", "a", "the"))
        phrase = {"": words, "a": with_article(words), "the": f"the {words}"}[article]
        for twin in twins:
            phrases[twin] = phrase
    return phrases
