"""Broken answers of every kind, read by every codec: nothing raises, and no mask is empty without a reason.

Strings of random letters, random orders of the pieces of the formats, good answers cut or damaged; and the same as
token ids: random ids, and ids of good answers cut, exchanged and lost. An exception ends the run with its traceback.
Masks have the size of the grid. Seconds are those of the processor, so other programs do not count.

Example: python tools/benchmark.py textmask_fuzz --count 200000
"""

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from drawn_masks import LABELS, damage, draw_masks
from measuring import Row

SHORT = 100
_PIECES = (
    *("<ref>", "</ref>", "<box>", "</box>", "<seg>", "</seg>", "[[1 1 5 4]]", "<fg3>", "<bg63>", "fg2", "bg4", "\n"),
    *("| ", " *", "others *4", "cat", "*99999999", "-7", "1 2 3 4", "%", "\r\n", "é", "[", "<"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many answers, and a tokenizer."""
    parser.add_argument("--count", type=int, default=200_000, help="broken answers over all codecs")
    parser.add_argument("--tokenizer", type=Path, help="folder of a tokenizer; without one only strings are read")


def measure(arguments: argparse.Namespace) -> list[Row]:
    """How many masks are empty without a reason, and how long reading takes."""
    from mvplm.textmask import CODECS, add_mask_tokens
    from mvplm.textmask.profiles import load_tokenizer

    tokenizer = None if arguments.tokenizer is None else load_tokenizer(arguments.tokenizer)
    if tokenizer is not None:
        add_mask_tokens(tokenizer)
    count = 600 if arguments.quick else arguments.count
    tally = _Tally()
    for name in CODECS:
        _read_broken(name, tally, tokenizer=tokenizer, count=-(-count // len(CODECS)))
    return tally.rows(speed_bar="" if arguments.quick else ">= 5000")


@dataclass
class _Tally:
    """What happened: seconds and lengths by kind of answer, statuses, and masks that are empty without a reason."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    short: list[float] = field(default_factory=list)
    lengths: dict[str, list[int]] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    silent: int = 0

    def add(self, kind: str, broken: str | list[int], *, seconds: float, result: Any) -> None:
        """One answer that was read."""
        self.seconds.setdefault(kind, []).append(seconds)
        self.lengths.setdefault(kind, []).append(len(broken))
        if isinstance(broken, str) and len(broken) <= SHORT:
            self.short.append(seconds)
        self.statuses[result.status] = self.statuses.get(result.status, 0) + 1
        self.silent += result.status == "ok" and not result.empty_by_model and not result.masks.any()

    def rows(self, *, speed_bar: str) -> list[Row]:
        """The table."""
        every = np.concatenate([np.array(times) for times in self.seconds.values()])
        how = ", ".join(f"{status} {number}" for status, number in sorted(self.statuses.items()))
        total = f"{len(every)} answers over all codecs, none raised"
        short = f"{len(self.short)} strings of at most {SHORT} letters"
        rows = [
            Row("empty masks without a reason", float(self.silent), "answers", "<= 0", f"{total}: {how}"),
            Row("short strings", len(self.short) / sum(self.short), "answers/s", speed_bar, short),
            Row("all answers", len(every) / every.sum(), "answers/s", "", total),
            Row("median", 1e3 * float(np.median(every)), "ms", "", total),
            Row("99.9 % take at most", 1e3 * float(np.quantile(every, 0.999)), "ms", "", total),
        ]
        for kind, times in self.seconds.items():
            detail = f"{len(times)} answers, {np.mean(self.lengths[kind]):.0f} letters or ids on average"
            rows.append(Row(kind, len(times) / sum(times), "answers/s", "", detail))
        return rows


def _read_broken(name: str, tally: _Tally, *, tokenizer: Any, count: int) -> None:
    from mvplm.textmask import get_codec

    codec, draw, masks = get_codec(name), random.Random(name), draw_masks(16)
    good = [codec.encode(mask[None], LABELS[1:]) for mask in masks]
    strings: dict[str, Callable[[], Any]] = {
        "random letters": lambda: draw.randbytes(draw.randrange(2 * SHORT)).decode("latin1"),
        "pieces in any order": lambda: "".join(draw.choices(_PIECES, k=draw.randrange(30))),
        "cut": lambda: (text := draw.choice(good))[: draw.randrange(min(len(text), 4 * SHORT))],
        "damaged": lambda: damage(draw.choice(good), draw),
    }
    ids: dict[str, Callable[[], Any]] = {}
    if tokenizer is not None:
        known = [codec.encode_ids(mask[None], LABELS[1:], tokenizer=tokenizer) for mask in masks]
        size = len(tokenizer)
        ids = {
            "random ids": lambda: draw.choices(range(-2, size + 2), k=draw.randrange(SHORT)),
            "random tags and bricks": lambda: draw.choices(range(size - 132, size), k=draw.randrange(SHORT)),
            "cut ids": lambda: (given := draw.choice(known))[: draw.randrange(min(len(given), 4 * SHORT))],
            "damaged ids": lambda: _damaged_ids(draw.choice(known), draw, size=size),
        }
    kinds = list({**strings, **ids}.items())
    for turn in range(count):
        kind, make = kinds[turn % len(kinds)]
        broken = make()
        started = time.thread_time()
        if kind in ids:
            result = codec.decode_ids(broken, codec.grid, tokenizer=tokenizer)
        else:
            result = codec.decode(broken, codec.grid)
        tally.add(kind, broken, seconds=time.thread_time() - started, result=result)


def _damaged_ids(ids: list[int], draw: random.Random, *, size: int) -> list[int]:
    """Ids of a good answer with a part lost, doubled, mixed or exchanged."""
    place, length = draw.randrange(len(ids)), draw.randrange(1, 12)
    part = ids[place : place + length]
    middle = draw.choice(([], part * 2, draw.sample(part, len(part)), draw.choices(range(size), k=length)))
    return [*ids[:place], *middle, *ids[place + length :]]
