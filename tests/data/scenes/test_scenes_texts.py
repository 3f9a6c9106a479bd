"""Every text against the truth, by a parser that shares nothing with the generators but the words."""

import re
from collections import Counter

import numpy as np
import pytest

from mvplm.data.scenes import SceneDataset
from mvplm.structures.masks import decode_mask

SHAPES = ["circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent", "hexagon", "arrow"]
PLURALS = {("crosses" if shape == "cross" else shape + "s"): shape for shape in SHAPES}
VALUES = {
    "size": ["small", "large"],
    "pattern": ["plain", "striped", "dotted", "checkered"],
    "colour": ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black"],
}
NUMBERS = {
    word: number
    for number, word in enumerate(
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], start=1
    )
}
ADVERBS = {"left of": (0, 1), "right of": (0, -1), "above": (1, 1), "below": (1, -1)}
EXTREMES = {
    "leftmost": (0, 1),
    "rightmost": (0, -1),
    "topmost": (1, 1),
    "lowest": (1, -1),
}
SIDES = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}


def noun(words):
    """Attributes said by a noun phrase; fails on any word it does not know."""
    *before, last = words.split()
    said = {}
    if last not in ("thing", "things"):
        said["shape"] = PLURALS.get(last, last)
        assert said["shape"] in SHAPES, words
    for word in before:
        (key,) = [key for key, values in VALUES.items() if word in values]
        assert key not in said
        said[key] = word
    return said


def fits(said, look):
    return all(getattr(look, key) == value for key, value in said.items())


class Scene:
    """Truth taken from looks and decoded masks only."""

    def __init__(self, dataset, index):
        self.record, self.layout = dataset[index], dataset.layout(index)
        self.looks = [thing.look for thing in self.layout.things]
        masks = [decode_mask(a.segmentation, self.record.size) for a in self.record.annotations]
        self.areas = [mask.sum() for mask in masks]
        self.centres = []
        for mask in masks:
            rows, columns = np.nonzero(mask)
            self.centres.append(
                ((columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2),
            )
        self.stuff = {
            self.record.vocabulary.names[a.label]: np.argwhere(mask).mean(0)[::-1]
            for a, mask in zip(self.record.annotations, masks, strict=True)
            if not a.isthing
        }

    def find(self, words):
        said = noun(words)
        return {index for index, look in enumerate(self.looks) if fits(said, look)}

    def one(self, words):
        (index,) = self.find(words)
        return index

    def refer(self, text):
        """(kind of sentence, candidates of the noun phrase, targets)."""
        several = re.fullmatch(r"(all|every|both|the (\w+)) (.+)", text)
        if several and (several[2] is None or several[2] in NUMBERS):
            found = self.find(several[3])
            if several[1] == "both" or several[2]:
                assert len(found) == NUMBERS.get(several[2], 2)
            return "multiple", found, found
        if pair := re.fullmatch(r"the (.+) and the (.+)", text):
            found = {self.one(pair[1]), self.one(pair[2])}
            assert len(found) == 2
            return "multiple", found, found
        if beside := re.fullmatch(r"the (.+) (left of|right of|above|below) the (.+)", text):
            axis, sign = ADVERBS[beside[2]]
            candidates, anchor = self.find(beside[1]), self.one(beside[3])
            assert anchor not in candidates
            gap = {c: sign * (self.centres[anchor][axis] - self.centres[c][axis]) for c in candidates}
            assert all(value >= 12 or value <= 0 for value in gap.values())
            return "relation", candidates, {c for c, value in gap.items() if value > 0}
        if sized := re.fullmatch(r"the (largest|smallest) (.+)", text):
            candidates = self.find(sized[2])
            order = sorted(candidates, key=lambda c: self.areas[c], reverse=sized[1] == "largest")
            low, high = sorted(self.areas[c] for c in order[:2])
            assert high >= 1.4 * low
            return "relation", candidates, {order[0]}
        extreme = re.fullmatch(r"the (leftmost|rightmost|topmost|lowest) (.+)", text)
        closest = re.fullmatch(r"the (.+) closest to the (left|right|top|bottom)", text)
        if extreme or closest:
            axis, sign = EXTREMES[extreme[1]] if extreme else SIDES[closest[2]]
            candidates = self.find(extreme[2] if extreme else closest[1])
            order = sorted(candidates, key=lambda c: sign * self.centres[c][axis])
            assert abs(self.centres[order[0]][axis] - self.centres[order[1]][axis]) >= 12
            return "relation", candidates, {order[0]}
        found = self.find(re.fullmatch(r"the (.+)", text)[1])
        return "attribute" if found else "none", found, found


@pytest.fixture(scope="module")
def scenes():
    sets = [SceneDataset(split, num=45, seed=8) for split in ("train", "heldout")]
    return [Scene(dataset, index) for dataset in sets for index in range(45)]


def test_every_expression_is_true_and_of_its_kind(scenes):
    for scene in scenes:
        assert len({e.text for e in scene.record.expressions}) == len(scene.record.expressions)
        for expression in scene.record.expressions:
            kind, candidates, targets = scene.refer(expression.text)
            assert kind == expression.kind, expression
            assert targets == set(expression.targets), expression
            assert all(scene.record.annotations[target].isthing for target in targets)
            if kind == "relation":
                assert len(candidates) >= 2 and len(targets) == 1
            elif kind == "multiple":
                assert len(targets) >= 2


def test_attribute_targets_have_a_rival_and_none_is_one_attribute_away(scenes):
    for scene in scenes:
        for expression in scene.record.expressions:
            if expression.kind == "attribute":
                (target,) = expression.targets
                look = scene.looks[target]
                differing = [sum(getattr(look, k) != getattr(o, k) for k in vars(look)) for o in scene.looks]
                assert 1 in differing, expression
            if expression.kind == "none":
                said = noun(expression.text.removeprefix("the "))
                near = [sum(getattr(look, k) != v for k, v in said.items()) for look in scene.looks]
                assert min(near) == 1, expression


def test_a_size_is_said_only_beyond_doubt(scenes):
    checked, nouns = 0, "|".join([*SHAPES, *PLURALS])
    for scene in scenes:
        for text in (*(e.text for e in scene.record.expressions), *scene.record.captions):
            for words in re.findall(rf"\b(?:small|large) (?:\w+ )*?(?:things?|{nouns})\b", text):
                said = {key: value for key, value in noun(words).items() if key != "size"}
                assert not any(fits(said, look) and look.size == "medium" for look in scene.looks), text
                checked += 1
    assert checked > 100


def test_kinds_are_balanced():
    dataset = SceneDataset("train", num=140, seed=2, role="referring")
    counts = Counter(expression.kind for record in dataset for expression in record.expressions)
    total = sum(counts.values())
    shares = {kind: count / total for kind, count in counts.items()}
    assert total > 5.4 * 140
    for kind, share in {"attribute": 0.35, "relation": 0.35, "multiple": 0.12, "none": 0.18}.items():
        assert abs(shares[kind] - share) < 0.05, shares


def test_phrases_fit_exactly_the_things_that_carry_them(scenes):
    for scene in scenes:
        phrases = [a.phrase for a in scene.record.annotations if a.isthing]
        for phrase in phrases:
            carriers = {index for index, other in enumerate(phrases) if other == phrase}
            assert scene.find(re.sub(r"^(the|an|a) ", "", phrase)) == carriers, phrase
            if phrase.startswith("the "):
                assert len(carriers) == 1
            assert phrase.startswith("an ") == bool(re.match(r"an? [aeiou]", phrase))


def _items(text):
    return re.split(r", | and ", text)


def _check_items(scene, text):
    """ "a dotted red star, two blue rings": counts are exact for numbers; one of each name for "a"."""
    for item in _items(text):
        first, words = item.split(" ", 1)
        said = noun(words)
        found = len(scene.find(words))
        if first in ("a", "an"):
            name = {key: value for key, value in said.items() if key in ("colour", "shape")}
            assert found == sum(fits(name, look) for look in scene.looks) == 1, item
        else:
            assert found == NUMBERS[first], item
            assert words.split()[-1] in (PLURALS if found > 1 else SHAPES), item


def _is_named(scene, words):
    article, words = words.split(" ", 1)
    found = scene.find(words)
    assert len(found) == 1 if article == "the" else len(found) >= 1
    return found


def _check_relation(scene, text):
    match = re.fullmatch(r"(.+) is (left of|right of|above|below|in front of|partly hidden by) (.+)", text)
    firsts, seconds = _is_named(scene, match[1]), _is_named(scene, match[3])
    layout = scene.layout
    for a in firsts:
        for b in seconds - {a}:
            if match[2] in ADVERBS:
                axis, sign = ADVERBS[match[2]]
                if sign * (scene.centres[b][axis] - scene.centres[a][axis]) >= 12:
                    return
            else:
                front, back = (a, b) if match[2] == "in front of" else (b, a)
                hidden = np.zeros((192, 192), bool)
                placed = layout.placed[back]
                rows, columns = np.nonzero(placed.sprite.distance < 0)
                hidden[rows + placed.top, columns + placed.left] = True
                placed = layout.placed[front]
                rows, columns = np.nonzero(placed.sprite.distance < 0)
                if front > back and hidden[rows + placed.top, columns + placed.left].any():
                    return
    raise AssertionError(text)


def _check_list(scene, caption):
    match = re.fullmatch(r"(?:a picture of |an image with )?(.+) on ([^.]+)\.", caption)
    _check_items(scene, match[1])
    assert set(_items(match[2])) == set(scene.stuff)


def _check_relations(scene, caption):
    for text in caption.rstrip(".").split(". "):
        if listed := re.fullmatch(r"there (?:is|are) (.+) in the picture", text):
            _check_items(scene, listed[1])
        else:
            _check_relation(scene, text)


def _check_ground(scene, caption):
    start, rest = caption.rstrip(".").split(". ")
    if whole := re.fullmatch(r"the background is (.+)", start):
        assert set(_items(whole[1])) == set(scene.stuff)
    elif upper := re.fullmatch(r"(\w+) at the top and (\w+) at the bottom", start):
        assert scene.stuff[upper[1]][1] < scene.stuff[upper[2]][1]
    else:
        sides = re.fullmatch(r"(\w+) on the left and (\w+) on the right", start)
        assert scene.stuff[sides[1]][0] < scene.stuff[sides[2]][0]
    if largest := re.fullmatch(r"of (\w+) things the largest is an? (.+)", rest):
        assert NUMBERS[largest[1]] == len(scene.looks)
        areas = [thing.area for thing in scene.layout.things]
        assert fits(noun(largest[2]), scene.looks[int(np.argmax(areas))])
    else:
        _check_items(scene, re.fullmatch(r"in front there (?:is|are) (.+)", rest)[1])


def _check_counts(scene, caption):
    first, _, last = caption.rstrip(".").partition(". ")
    match = re.fullmatch(r"there are (\w+) things: (.+)", first)
    assert NUMBERS[match[1]] == len(scene.looks)
    _check_items(scene, match[2])
    assert sum(NUMBERS[item.split()[0]] for item in _items(match[2])) == len(scene.looks)
    if last:
        number, value = re.fullmatch(r"(\w+) of them (?:is|are) (\w+)", last).groups()
        count = sum(value in (look.colour, look.pattern) for look in scene.looks)
        assert count == {"all": len(scene.looks), "both": 2}.get(number) or count == NUMBERS[number]


def test_captions_are_true_varied_and_of_bounded_length(scenes):
    checks = (_check_list, _check_relations, _check_ground, _check_counts)
    for scene in scenes:
        assert len(set(scene.record.captions)) == len(checks)
        for caption, check in zip(scene.record.captions, checks, strict=True):
            assert 6 <= len(caption.split()) <= 40
            assert caption[0].isupper() and caption.endswith(".")
            lowered = re.sub(r"(^|\. )([A-Z])", lambda m: m[1] + m[2].lower(), caption)
            check(scene, lowered)
