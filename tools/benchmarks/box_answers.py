"""Answers with boxes, broken at random: none may raise, and no complete object may be lost.

Example: python tools/benchmark.py box_answers --count 50000
"""

import argparse
import json
import random
import time
from dataclasses import dataclass

from measuring import Row

LABELS = ("dog", "left of the sofa", "a } b", "Straße", "猫", 'the "big" one', "x, y: [1]", "")
GARBAGE = (
    *"{}[]\",:\\'`\n0",
    '{"',
    '"}',
    "}, {",
    "[[",
    "]]",
    '{"bbox_2d": [',
    '{"bbox_2d": [1, 2, 3, 4], "label": ',
    '"label": "',
    "NaN",
    "-1e999",
    "```json\n",
    "<mask_token>",
    "<mask_end>",
    "\x00",
    "\ud800",
    "Sure, here it is:",
    "9" * 5000,
)
THOUGHTS = ("<think>", "</think>")


@dataclass
class Broken:
    """A broken answer about an image of 1000 x 1000 pixels.

    Attributes:
        text: the answer.
        complete: boxes of the objects that are still whole, in order.
        thinks: thoughts were put in; what stands in them is no answer.
    """

    text: str
    complete: list[list[int]]
    thinks: bool


def break_answer(random_numbers: random.Random) -> Broken:
    """A well-formed answer with zero to four changes: pieces cut out, garbage put in, letters swapped, the end cut."""
    objects = [_object(random_numbers) for _ in range(random_numbers.randint(0, 5))]
    letters: list[tuple[str, int]] = [("[", -1)]
    for number, text in enumerate(objects):
        letters += [(letter, -1) for letter in (", " if number else "")]
        letters += [(letter, number) for letter in text]
    letters.append(("]", -1))
    thinks = False
    for _ in range(random_numbers.randint(0, 4)):
        garbage = random_numbers.choice(THOUGHTS if random_numbers.random() < 0.03 else GARBAGE)
        change = random_numbers.choice(("cut", "put", "put", "swap", "end"))
        thinks |= change == "put" and garbage in THOUGHTS
        _change(letters, change, garbage=garbage, random_numbers=random_numbers)
    whole = [number for number, text in enumerate(objects) if _is_whole(letters, number, text=text)]
    return Broken("".join(letter for letter, _ in letters), [json.loads(objects[n])["bbox_2d"] for n in whole], thinks)


def _object(random_numbers: random.Random) -> str:
    x1, x2 = sorted(random_numbers.sample(range(1001), 2))
    y1, y2 = sorted(random_numbers.sample(range(1001), 2))
    value = {"bbox_2d": [x1, y1, x2, y2], "label": random_numbers.choice(LABELS)}
    if random_numbers.random() < 0.8:
        value["mask"] = "<mask_start><mask_token><mask_end>"
    return json.dumps(value, ensure_ascii=False)


def _change(letters: list[tuple[str, int]], change: str, *, garbage: str, random_numbers: random.Random) -> None:
    """One change of the letters, in place."""
    place = random_numbers.randint(0, len(letters))
    if change == "end":
        del letters[place:]
    elif change == "put":
        letters[place:place] = [(letter, -1) for letter in garbage]
    elif change == "cut":
        del letters[place : place + random_numbers.choice((1, 1, 2, 5, 40))]
    elif place + 1 < len(letters):
        letters[place], letters[place + 1] = letters[place + 1], letters[place]


def _is_whole(letters: list[tuple[str, int]], number: int, *, text: str) -> bool:
    places = [place for place, (_, owner) in enumerate(letters) if owner == number]
    if len(places) != len(text) or places[-1] - places[0] + 1 != len(text):
        return False
    return "".join(letters[place][0] for place in places) == text


def lost(broken: Broken) -> list[list[int]]:
    """Boxes of complete objects that :func:`parse_boxes` does not give back, in order; empty is right."""
    from mvplm.models.qwen3vl_seg import parse_boxes

    answer = parse_boxes(broken.text, size=(1000, 1000))
    if broken.thinks:
        return []
    given = iter(answer.boxes.round().int().tolist())
    return [box for box in broken.complete if box not in given]


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many answers, and from which seed."""
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Objects lost, and the time of one answer; an exception ends the measurement."""
    count = 500 if arguments.quick else arguments.count
    random_numbers = random.Random(arguments.seed)
    losses = whole = 0
    seconds = 0.0
    for _ in range(count):
        broken = break_answer(random_numbers)
        started = time.perf_counter()
        losses += len(lost(broken))
        seconds += time.perf_counter() - started
        whole += len(broken.complete)
    detail = f"{count} broken answers, seed {arguments.seed}"
    return [
        Row("complete objects", whole, "", detail=detail),
        Row("complete objects lost", losses, "", bar="<= 0", detail=detail),
        Row("one answer", seconds / count * 1e3, "ms", detail="mean"),
    ]
