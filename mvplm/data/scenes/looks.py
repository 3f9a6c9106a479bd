"""Which things stand in a scene: looks drawn so that many pairs differ in a single attribute (planted distractors)."""

import random
from dataclasses import replace

from mvplm.data.scenes.things import CHOICES, HELD_OUT, Look

_MUTATE = 0.62
_CHANGES = ("pattern", "colour", "shape", "size", "place")
_CHANGE_WEIGHTS = (27, 27, 18, 16, 12)
_SIZE_WEIGHTS = (40, 35, 25)
LEAST, MOST = 2, 10


def draft_looks(rng: random.Random, *, held_out_share: float, most: int = MOST) -> list[Look]:
    """Two to ``most`` looks; with probability ``held_out_share`` a look is a held-out combination, otherwise never."""
    looks: list[Look] = []
    for _ in range(rng.randint(LEAST, most)):
        held_out = rng.random() < held_out_share
        if looks and rng.random() < (0.95 if len(looks) == 1 else _MUTATE):
            look = _relative(rng, rng.choice(looks), held_out=held_out)
        else:
            look = _fresh(rng, held_out=held_out)
        looks.append(look)
    return looks


def _fresh(rng: random.Random, *, held_out: bool) -> Look:
    size = rng.choices(CHOICES["size"], _SIZE_WEIGHTS)[0]
    pattern = rng.choices(CHOICES["pattern"], (40, 20, 20, 20))[0]
    if held_out:
        colour, shape = rng.choice(sorted(HELD_OUT)).split()
        return Look(size, pattern, colour, shape)
    while True:
        look = Look(size, pattern, rng.choice(CHOICES["colour"]), rng.choice(CHOICES["shape"]))
        if look.name not in HELD_OUT:
            return look


def _relative(rng: random.Random, parent: Look, *, held_out: bool) -> Look:
    """The parent with one attribute changed, or none ("place")."""
    change = rng.choices(_CHANGES, _CHANGE_WEIGHTS)[0]
    if (parent.name in HELD_OUT) != held_out and change not in ("colour", "shape"):
        change = rng.choice(("colour", "shape"))
    if change == "place":
        return parent
    if change == "size" and parent.size != "medium":
        return replace(parent, size="small" if parent.size == "large" else "large")
    others = [value for value in CHOICES[change] if value != getattr(parent, change)]
    relatives = [replace(parent, **{change: value}) for value in others]
    fitting = [look for look in relatives if (look.name in HELD_OUT) == held_out]
    return rng.choice(fitting) if fitting else _fresh(rng, held_out=held_out)
