"""Four captioners with different habits: a lister, a relater, one that begins with the background, and a counter."""

from collections import Counter

from mvplm.data.scenes.language import NUMBERS, Description, Speaker, count_noun, join, sentence, with_article
from mvplm.data.scenes.layout import Layout
from mvplm.data.scenes.things import Thing

MAX_WORDS = 40


def draw_captions(layout: Layout, speaker: Speaker) -> tuple[str, ...]:
    """One true caption of each of the four captioners, 6 to 40 words each."""
    captioners = (_list_caption, _relation_caption, _background_caption, _counting_caption)
    return tuple(captioner(layout, speaker) for captioner in captioners)


def _groups(speaker: Speaker, limit: int) -> list[str]:
    """ "a striped red star", "two blue rings": the things by colour and shape, largest groups of pixels first."""
    groups: dict[str, list[Thing]] = {}
    for thing in speaker.things:
        groups.setdefault(thing.look.name, []).append(thing)
    ranked = sorted(groups.values(), key=lambda group: -sum(thing.visible for thing in group))[:limit]
    speaker.rng.shuffle(ranked)
    items = []
    for group in ranked:
        look = group[0].look
        pattern = look.pattern if speaker.rng.random() < 0.6 and look.pattern != "plain" else None
        if any(thing.look.pattern != look.pattern for thing in group):
            pattern = None
        description = Description(pattern=pattern, colour=look.colour, shape=look.shape)
        items.append(with_article(description.text()) if len(group) == 1 else count_noun(len(group), description))
    return items


def _list_caption(layout: Layout, speaker: Speaker) -> str:
    rng = speaker.rng
    ground = [region.name for region in layout.background.regions]
    rng.shuffle(ground)
    items = _groups(speaker, 5)
    opening = rng.choice(("", "", "a picture of ", "an image with "))
    return sentence(f"{opening}{join(items)} on {join(ground)}")


def _named(speaker: Speaker, index: int) -> str:
    """ "the D" when some D fits this thing only, otherwise "a D"; the colour is said wherever possible."""
    thing = speaker.things[index]
    unique = speaker.unique(index)
    if unique is None:
        return with_article(thing.look.name)
    return f"the {thing.look.name}" if unique.said() == ["shape"] else f"the {unique.text()}"


def _relation(layout: Layout, pair: tuple[int, int]) -> str | None:
    """How the first of a pair stands to the second: in front, or clearly along one axis; None when unclear."""
    if pair in layout.covers:
        return "is in front of"
    if pair[::-1] in layout.covers:
        return "is partly hidden by"
    a, b = (layout.things[index] for index in pair)
    across, down = a.x - b.x, a.y - b.y
    if max(abs(across), abs(down)) < 0.1 * layout.size or 0.6 < abs(across) / max(abs(down), 1e-9) < 1.6:
        return None
    if abs(across) > abs(down):
        return "is left of" if across < 0 else "is right of"
    return "is above" if down < 0 else "is below"


def _relation_caption(layout: Layout, speaker: Speaker) -> str:
    rng = speaker.rng
    pairs = [(a, b) for a in range(len(speaker.things)) for b in range(len(speaker.things)) if a != b]
    rng.shuffle(pairs)
    sentences: list[str] = []
    used: set[int] = set()
    for first, second in pairs:
        if len(sentences) == 3:
            break
        relation = _relation(layout, (first, second))
        names = [_named(speaker, first), _named(speaker, second)]
        if relation is None or (first in used and second in used) or names[0] == names[1]:
            continue
        used |= {first, second}
        sentences.append(sentence(f"{names[0]} {relation} {names[1]}"))
    if sentences:
        return " ".join(sentences)
    return sentence(f"{_there_are(_groups(speaker, 3))} in the picture")


def _there_are(items: list[str]) -> str:
    """ "there is a star and two rings"."""
    return f"there {'is' if items[0].startswith(('a ', 'an ')) else 'are'} {join(items)}"


def _background_caption(layout: Layout, speaker: Speaker) -> str:
    regions = layout.background.regions
    names = [region.name for region in regions]
    start = f"the background is {join(names)}"
    if len(regions) == 2:
        first, second = regions
        if abs(first.y - second.y) > abs(first.x - second.x):
            high, low = sorted(regions, key=lambda region: region.y)
            start = f"{high.name} at the top and {low.name} at the bottom"
        else:
            left, right = sorted(regions, key=lambda region: region.x)
            start = f"{left.name} on the left and {right.name} on the right"
    order = sorted(range(len(speaker.things)), key=lambda index: -speaker.things[index].area)
    largest, second_largest = order[0], order[1]
    look = speaker.things[largest].look
    words = Description(pattern=look.pattern, colour=look.colour, shape=look.shape).text()
    count = NUMBERS[len(order)]
    if speaker.things[largest].area > 1.3 * speaker.things[second_largest].area:
        return f"{sentence(start)} {sentence(f'of {count} things the largest is {with_article(words)}')}"
    return f"{sentence(start)} {sentence(f'in front {_there_are(_groups(speaker, 2))}')}"


def _counting_caption(layout: Layout, speaker: Speaker) -> str:
    rng, things = speaker.rng, layout.things
    shapes = Counter(thing.look.shape for thing in things)
    kinds = [count_noun(number, Description(shape=shape)) for shape, number in shapes.items()]
    rng.shuffle(kinds)
    first = sentence(f"there are {NUMBERS[len(things)]} things: {join(kinds)}")
    key = rng.choice(("colour", "pattern"))
    value, number = rng.choice(sorted(Counter(getattr(thing.look, key) for thing in things).items()))
    if number == len(things):
        last = "both of them are" if number == 2 else "all of them are"
    else:
        last = f"{NUMBERS[number]} of them {'is' if number == 1 else 'are'}"
    text = f"{first} {sentence(f'{last} {value}')}"
    return text if len(text.split()) <= MAX_WORDS else first
