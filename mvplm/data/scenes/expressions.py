"""Referring expressions with exact targets: by attribute, by relation, for several things, and for none."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, islice

from mvplm.data.scenes.language import NUMBERS, Description, Speaker
from mvplm.data.scenes.things import ATTRIBUTES, CHOICES, Thing
from mvplm.structures import Expression

KINDS = ("attribute", "relation", "multiple", "none")
MARGIN = 0.0625
_SUBSETS = tuple(keys for count in (1, 2, 3, 4) for keys in combinations(ATTRIBUTES, count))
_TARGET_KEYS = (("shape",), ("colour", "shape"), ("colour",), ("pattern", "shape"), ("pattern", "colour", "shape"))
_TARGET_WEIGHTS = (34, 34, 12, 12, 8)

Value = Callable[[Thing], float]
_SIDES: dict[str, tuple[Value, Value]] = {
    "left": (lambda thing: thing.x, lambda thing: thing.box[0]),
    "right": (lambda thing: -thing.x, lambda thing: -thing.box[2]),
    "top": (lambda thing: thing.y, lambda thing: thing.box[1]),
    "bottom": (lambda thing: -thing.y, lambda thing: -thing.box[3]),
}
_EXTREMES = {"left": "leftmost", "right": "rightmost", "top": "topmost", "bottom": "lowest"}
_DIRECTIONS = {"left": "left of", "right": "right of", "top": "above", "bottom": "below"}


def draw_expressions(speaker: Speaker, *, size: int, first_id: int = 0) -> tuple[Expression, ...]:
    """Up to six expressions of a scene, each true and unambiguous; kinds mixed about 35 : 35 : 12 : 18.

    Args:
        speaker: things, random generator, and what may be said.
        size: side of the image in pixels; relations need a margin of ``MARGIN`` of it between centres.
        first_id: id of the first expression.
    """
    rng = speaker.rng
    wanted = {"attribute": 2, "relation": 2, "multiple": int(rng.random() < 0.68), "none": 1}
    makers = {
        "attribute": attribute_expressions(speaker),
        "relation": relation_expressions(speaker, margin=MARGIN * size),
        "multiple": multiple_expressions(speaker),
        "none": none_expressions(speaker),
    }
    found: dict[str, Expression] = {}
    for kind, count in (*wanted.items(), ("attribute", 1), ("relation", 1)):
        if len(found) == 6:
            break
        for text, targets in islice(makers[kind], count):
            found.setdefault(text, Expression(text, targets, kind))
    chosen = list(found.values())
    rng.shuffle(chosen)
    return tuple(replace(expression, id=first_id + place) for place, expression in enumerate(chosen))


def attribute_expressions(speaker: Speaker) -> Iterator[tuple[str, tuple[int, ...]]]:
    """One expression per thing that has a rival which differs in exactly one attribute; words fit the target only."""
    things, rng = speaker.things, speaker.rng
    order = list(range(len(things)))
    rng.shuffle(order)
    for index in order:
        thing = things[index]
        if not any(thing.look.differences(other.look) == 1 for other in things):
            continue
        for keys in rng.sample(_SUBSETS, len(_SUBSETS)):
            description = speaker.describe(thing, keys)
            if description is None or not speaker.may_say(description):
                continue
            if description.find(things) == [index]:
                yield f"the {description.text()}", (index,)
                break


def relation_expressions(speaker: Speaker, *, margin: float) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Expressions whose noun phrase alone fits at least two things and whose relation picks exactly one."""
    things, rng = speaker.things, speaker.rng
    for _ in range(30):
        keys = rng.choices(_TARGET_KEYS, _TARGET_WEIGHTS)[0]
        description = speaker.describe(rng.choice(things), keys)
        candidates = description.find(things) if description is not None else []
        if description is None or len(candidates) < 2 or not speaker.may_say(description):
            continue
        made = rng.choices((_beside, _extreme, _sized), (50, 38, 12))[0](
            speaker, description, candidates=candidates, margin=margin
        )
        if made is not None:
            yield made


def _beside(
    speaker: Speaker, description: Description, *, candidates: list[int], margin: float
) -> tuple[str, tuple[int, ...]] | None:
    """ "the D left of the A": exactly one D is there by the margin, every other D is not there at all."""
    things, rng = speaker.things, speaker.rng
    anchors = [index for index in range(len(things)) if index not in candidates]
    if not anchors:
        return None
    index = rng.choice(anchors)
    anchor = speaker.unique(index)
    if anchor is None:
        return None
    for side in rng.sample(tuple(_SIDES), 4):
        value = _SIDES[side][0]
        offsets = {candidate: value(things[candidate]) - value(things[index]) for candidate in candidates}
        there = [candidate for candidate, offset in offsets.items() if offset < 0]
        if len(there) == 1 and offsets[there[0]] <= -margin:
            return f"the {description.text()} {_DIRECTIONS[side]} the {anchor.text()}", (there[0],)
    return None


def _extreme(
    speaker: Speaker, description: Description, *, candidates: list[int], margin: float
) -> tuple[str, tuple[int, ...]] | None:
    """ "the leftmost D", "the D closest to the bottom": first by centre with the margin, and by edge."""
    things, rng = speaker.things, speaker.rng
    side = rng.choice(tuple(_SIDES))
    centre, border = _SIDES[side]
    first, second = sorted(candidates, key=lambda index: centre(things[index]))[:2]
    nearest = min(candidates, key=lambda index: border(things[index]))
    if centre(things[second]) - centre(things[first]) < margin or nearest != first:
        return None
    words = description.text()
    text = f"the {_EXTREMES[side]} {words}" if rng.random() < 0.6 else f"the {words} closest to the {side}"
    return text, (first,)


def _sized(
    speaker: Speaker, description: Description, *, candidates: list[int], margin: float
) -> tuple[str, tuple[int, ...]] | None:
    """ "the largest D", "the smallest D": by the whole and by the visible area, clearly."""
    things, rng = speaker.things, speaker.rng
    word = rng.choice(("largest", "smallest"))
    sign = -1 if word == "largest" else 1
    first, second = sorted(candidates, key=lambda index: sign * things[index].area)[:2]
    for area in (lambda thing: thing.area, lambda thing: thing.visible):
        rest = [area(things[index]) for index in candidates if index != first]
        mine = area(things[first])
        if (mine < 1.4 * max(rest)) if word == "largest" else (1.4 * mine > min(rest)):
            return None
    return f"the {word} {description.text()}", (first,)


def multiple_expressions(speaker: Speaker) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Expressions with two or more targets: "all red circles", "both stars", "the red circle and the blue star"."""
    things, rng = speaker.things, speaker.rng
    for _ in range(16):
        if rng.random() < 0.3:
            pair = rng.sample(range(len(things)), 2)
            words = [speaker.unique(index) for index in pair]
            if None not in words:
                first, second = (word.text() for word in words if word is not None)
                yield f"the {first} and the {second}", tuple(sorted(pair))
            continue
        description = speaker.describe(rng.choice(things), rng.choice(_SUBSETS))
        targets = description.find(things) if description is not None else []
        if description is None or len(targets) < 2 or not speaker.may_say(description):
            continue
        many = description.text(plural=True)
        forms = [f"all {many}", f"every {description.text()}", f"the {NUMBERS[len(targets)]} {many}"]
        yield rng.choice(forms + [f"both {many}"] * 2 if len(targets) == 2 else forms), tuple(targets)


def none_expressions(speaker: Speaker) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Expressions that fit nothing, made from a thing of the scene by changing one attribute that is said."""
    things, rng = speaker.things, speaker.rng
    for _ in range(40):
        keys = rng.choice([subset for subset in _SUBSETS if len(subset) > 1])
        description = speaker.describe(rng.choice(things), keys)
        if description is None:
            continue
        key = rng.choice(keys)
        said = [value for value in CHOICES[key] if value not in (getattr(description, key), "medium")]
        changed = replace(description, **{key: rng.choice(said)})
        if speaker.may_say(changed) and not changed.find(things):
            yield f"the {changed.text()}", ()
