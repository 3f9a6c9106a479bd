"""Referring expressions by rules: each is true of exactly one object, and clearly false of every other one.

An object counts as rival when it could be meant by the name: the same name, or one that ends in it ("race car" for
"car"). Nothing is said where a rule is only just fulfilled.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mvplm.label.colours import ColourShares

KINDS = ("category", "attribute", "size", "position", "ordinal", "relation")
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_MOST_IN_A_ROW = 6


@dataclass(frozen=True)
class Thing:
    """One object of a picture, measured.

    Attributes:
        place: of its annotation in the record.
        name: of its class.
        box: (x1, y1, x2, y2) around its mask, as fractions of the picture.
        area: of its mask, as a fraction of the picture.
        colours: None when they cannot be told.
    """

    place: int
    name: str
    box: tuple[float, float, float, float]
    area: float
    colours: ColourShares | None = None

    @property
    def box_area(self) -> float:
        """Area of the box, as a fraction of the picture."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass(frozen=True)
class PhraseSettings:
    """How clear a thing must be before it is said.

    Attributes:
        min_area: smallest object that is spoken of or counted, as a share of the picture.
        margin: least distance between centres, as a share of the picture's side.
        size_factor: "the largest" is so many times larger than the next, by mask and by box.
        colour_share: least share of an object's pixels that certainly have the colour.
        rival_share: most of a rival's pixels that might be called so.
    """

    min_area: float = 0.005
    margin: float = 1 / 16
    size_factor: float = 1.5
    colour_share: float = 0.6
    rival_share: float = 0.2

    def __post_init__(self) -> None:
        if not (0 <= self.min_area < 1 and 0 < self.margin < 1 and self.size_factor > 1):
            raise ValueError("0 <= min_area < 1, 0 < margin < 1 and size_factor > 1 are needed")
        if not (0 <= self.rival_share < self.colour_share <= 1):
            raise ValueError("0 <= rival_share < colour_share <= 1 is needed")


@dataclass(frozen=True)
class Phrase:
    """An expression, its kind and the place of the annotation that it means."""

    text: str
    kind: str
    place: int


@dataclass(frozen=True)
class _Side:
    """A direction: ``first`` and ``last`` are the edges in its order, ``sign`` turns the order round."""

    extreme: str
    beside: str
    origin: str
    axis: int
    sign: int

    def centre(self, thing: Thing) -> float:
        return self.sign * (thing.box[self.axis] + thing.box[self.axis + 2]) / 2

    def edges(self, thing: Thing) -> tuple[float, float]:
        low, high = thing.box[self.axis], thing.box[self.axis + 2]
        return (low, high) if self.sign > 0 else (-high, -low)


_SIDES = (
    _Side("leftmost", "left of", "left", 0, 1),
    _Side("rightmost", "right of", "right", 0, -1),
    _Side("topmost", "above", "top", 1, 1),
    _Side("lowest", "below", "bottom", 1, -1),
)


def may_mean(name: str, other: str) -> bool:
    """Whether an object called ``other`` could be meant by ``name``."""
    return other == name or other.endswith(f" {name}")


def phrases(
    things: Sequence[Thing], *, uncertain: Sequence[str] = (), settings: PhraseSettings | None = None
) -> Iterator[Phrase]:
    """Every expression the rules give.

    Args:
        things: all objects of the picture, small ones too: they are rivals.
        uncertain: names of which the picture has objects that are not listed one by one (crowds).
        settings: how clear a thing must be.
    """
    chosen = settings or PhraseSettings()
    rules: Mapping[str, Callable[..., Iterator[str]]] = {
        "attribute": _by_colour,
        "size": _by_size,
        "position": _by_position,
        "ordinal": _by_number,
    }
    groups = {}
    for name in sorted({thing.name for thing in things}):
        if not any(may_mean(name, other) for other in uncertain):
            groups[name] = [thing for thing in things if may_mean(name, thing.name)]
    anchors = [group[0] for group in groups.values() if len(group) == 1 and group[0].area >= chosen.min_area]
    for name, group in groups.items():
        for thing in group:
            if thing.name != name or thing.area < chosen.min_area:
                continue
            rivals = [other for other in group if other is not thing]
            if not rivals:
                yield Phrase(f"the {name}", "category", thing.place)
                continue
            for kind, rule in rules.items():
                for text in rule(thing, rivals, settings=chosen):
                    yield Phrase(text, kind, thing.place)
            for anchor in anchors:
                for text in _by_relation(thing, rivals, anchor=anchor, settings=chosen):
                    yield Phrase(text, "relation", thing.place)


def _by_colour(thing: Thing, rivals: Sequence[Thing], *, settings: PhraseSettings) -> Iterator[str]:
    if thing.colours is None:
        return
    known = [rival.colours for rival in rivals if rival.colours is not None]
    for colour, share in thing.colours.certain.items():
        clear = len(known) == len(rivals) and all(c.possible[colour] <= settings.rival_share for c in known)
        if share >= settings.colour_share and clear:
            yield f"the {colour} {thing.name}"


def _by_size(thing: Thing, rivals: Sequence[Thing], *, settings: PhraseSettings) -> Iterator[str]:
    measures: tuple[Callable[[Thing], float], ...] = (lambda t: t.area, lambda t: t.box_area)
    if all(measure(thing) >= settings.size_factor * max(map(measure, rivals)) for measure in measures):
        yield f"the largest {thing.name}"
    # What is too small to be spoken of may be overlooked, and then another one is the smallest.
    if all(measure(thing) * settings.size_factor <= min(map(measure, rivals)) for measure in measures):
        yield f"the smallest {thing.name}"


def _by_position(thing: Thing, rivals: Sequence[Thing], *, settings: PhraseSettings) -> Iterator[str]:
    for side in _SIDES:
        if all(_before(thing, rival, side=side, settings=settings) for rival in rivals):
            yield f"the {side.extreme} {thing.name}"


def _by_number(thing: Thing, rivals: Sequence[Thing], *, settings: PhraseSettings) -> Iterator[str]:
    row = [thing, *rivals]
    if not 3 <= len(row) <= _MOST_IN_A_ROW or any(item.area < settings.min_area for item in row):
        return
    for side in _SIDES:
        ordered = sorted(row, key=side.centre)
        place = ordered.index(thing)
        clear = all(_before(a, b, side=side, settings=settings) for a, b in zip(ordered, ordered[1:], strict=False))
        if clear and 0 < place <= (len(row) - 1) / 2:
            yield f"the {_ORDINALS[place]} {thing.name} from the {side.origin}"


def _by_relation(thing: Thing, rivals: Sequence[Thing], *, anchor: Thing, settings: PhraseSettings) -> Iterator[str]:
    if anchor is thing or anchor in rivals:
        return
    for side in _SIDES:
        middle = side.centre(anchor)
        away = all(side.centre(rival) >= middle + settings.margin for rival in rivals)
        if away and _before(thing, anchor, side=side, settings=settings) and side.edges(thing)[1] <= middle:
            yield f"the {thing.name} {side.beside} the {anchor.name}"


def _before(first: Thing, second: Thing, *, side: _Side, settings: PhraseSettings) -> bool:
    """Whether ``first`` comes before ``second`` by its centre with the margin, and by both edges."""
    ahead = side.centre(first) + settings.margin <= side.centre(second)
    return ahead and all(a <= b for a, b in zip(side.edges(first), side.edges(second), strict=True))
