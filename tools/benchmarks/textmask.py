"""Masks as text: encoding, decoding, reading damaged answers, against plain loops over cells.

Masks are smoothed noise, the upper 30 %, on a grid of 64. Seconds are those of the processor, the best of
many, since cores are often shared.

Example: python tools/benchmark.py textmask
"""

import argparse
import random
import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from drawn_masks import LABELS, SIDE, damage, draw_masks
from measuring import Row, interleave
from naive_mask_text import bricks_of, labels_of_rows, paint, rows_of_labels

if TYPE_CHECKING:
    from mvplm.textmask.vocabulary import Vocabulary

BATCH, VOCABULARY = 256, 152_000
best_seconds = partial(interleave, pick=min, clock=time.process_time)


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Masks per second, ratios, milliseconds."""
    masks = draw_masks(16 if arguments.quick else BATCH)
    quick = bool(arguments.quick)
    rows = [*_bricks(masks, quick=quick), *_rows(masks, quick=quick), *_pixels(masks, quick=quick)]
    return rows + [*_damaged(masks, quick=quick), *_steps(masks, quick=quick)]


def _bricks(masks: np.ndarray, *, quick: bool) -> list[Row]:
    """Bricks there and back: all at once, one by one, and by loops."""
    from mvplm.textmask.bricks import decode_bricks, encode_bricks
    from mvplm.textmask.runs import tight_boxes

    boxes = tight_boxes(masks).tolist()

    def there_and_back(batch: np.ndarray) -> None:
        around = tight_boxes(batch)
        assert decode_bricks(encode_bricks(batch, around), around, shape=(SIDE, SIDE)).shape == batch.shape

    def loops() -> None:
        for mask, box in zip(masks[:16], boxes, strict=False):
            paint(bricks_of(mask, box), box, grid=np.zeros((SIDE, SIDE), bool))

    def one_by_one() -> None:
        for index in range(16):
            there_and_back(masks[index : index + 1])

    contenders = {"all": lambda: there_and_back(masks), "one": one_by_one, "loops": loops}
    seconds = best_seconds(contenders, repeats=3 if quick else 100, warmups=2)
    each = {"all": seconds["all"] / len(masks), "one": seconds["one"] / 16, "loops": seconds["loops"] / 16}
    how = f"encode and decode, {len(masks)} masks of 64x64, best of 100 in turns"
    return [
        Row("bricks: loops", 1e6 * each["loops"], "us", "", "one mask, plain loops over cells"),
        Row("S1 bricks in one call", 1 / each["all"], "masks/s", "" if quick else ">= 20000", how),
        Row("S1 against loops", each["loops"] / each["all"], "x", "" if quick else ">= 20", how),
        Row("S2 bricks, a mask per call", 1 / each["one"], "masks/s", "" if quick else ">= 4000", how),
        Row("S2 against loops", each["loops"] / each["one"], "x", "" if quick else ">= 5", how),
    ]


def _rows(masks: np.ndarray, *, quick: bool) -> list[Row]:
    """Row-wise labels there and back, one mask per call."""
    from mvplm.textmask.isd import decode_isd, encode_isd

    classes = masks[:16].astype(np.int64)

    def ours() -> None:
        for one in classes:
            body = encode_isd(one, LABELS, mode="rrle")
            assert decode_isd(body, shape=(SIDE, SIDE), mode="rrle").canonical

    def loops() -> None:
        for one in classes:
            labels_of_rows(rows_of_labels(one, LABELS), LABELS, grid=np.zeros((SIDE, SIDE), np.int64))

    seconds = best_seconds({"ours": ours, "loops": loops}, repeats=3 if quick else 100, warmups=2)
    how = "encode and decode, one mask of 64x64 per call, best of 100 in turns"
    return [
        Row("rows of labels: loops", 1e6 * seconds["loops"] / 16, "us", "", "one mask, plain loops over cells"),
        Row("S3 rows of labels", 16 / seconds["ours"], "masks/s", "" if quick else ">= 5000", how),
        Row("S3 against loops", seconds["loops"] / seconds["ours"], "x", "" if quick else ">= 8", how),
    ]


def _pixels(masks: np.ndarray, *, quick: bool) -> list[Row]:
    from mvplm.textmask.grid import to_pixels

    seconds = best_seconds(
        {"up": lambda: to_pixels(masks[:1], (480, 640), up="bilinear")},
        repeats=3 if quick else 100,
        warmups=2,
    )
    return [
        Row("S4 to 480x640", 1e3 * seconds["up"], "ms", "" if quick else "<= 6", "bilinear and threshold, best of 100")
    ]


def _damaged(masks: np.ndarray, *, quick: bool) -> list[Row]:
    """Time to read damaged answers."""
    from mvplm.textmask import get_codec

    rows, draw = [], random.Random(0)
    for name in ("bsd_bricks", "bsd", "isd_rrle", "isd_full"):
        codec = get_codec(name, grid=SIDE)
        texts = [damage(codec.encode(mask[None], LABELS[1:]), draw) for mask in masks[:16]]
        seconds = best_seconds(
            {str(i): partial(codec.decode, text, (SIDE, SIDE)) for i, text in enumerate(texts)},
            repeats=2 if quick else 15,
        )
        how = f"slowest of {len(texts)} answers, best of 15 each"
        rows.append(Row(f"S5 damaged {name}", 1e3 * max(seconds.values()), "ms", "" if quick else "<= 5", how))
    return rows


def _steps(masks: np.ndarray, *, quick: bool) -> list[Row]:
    """A step of constrained decoding: state, allowed tokens, masked scores; the way of random answers."""
    import torch

    from mvplm.textmask import get_codec
    from mvplm.textmask.automaton import TokenGrammar
    from mvplm.textmask.grammar_bsd import BoxGrammar
    from mvplm.textmask.grammar_isd import LabelGrammar
    from mvplm.textmask.processor import ConstrainedLogits

    vocabulary = _large_vocabulary()
    grammars = {
        "bsd_bricks": BoxGrammar(
            get_codec("bsd_bricks"), vocabulary.atoms, labels=LABELS[1:], most=1, may_refuse=False
        ),
        "canvas": BoxGrammar(get_codec("canvas"), vocabulary.atoms, labels=LABELS[1:], most=1, may_refuse=False),
        "isd_rrle": LabelGrammar(get_codec("isd_rrle", grid=SIDE), vocabulary.atoms, labels=LABELS[1:]),
    }
    rows = []
    for name, grammar in grammars.items():
        constraint = ConstrainedLogits(TokenGrammar(grammar, vocabulary), max_new_tokens=8192)
        draw, seconds = random.Random(0), []
        scores = torch.randn(vocabulary.size)
        for _ in range(2 if quick else 6):
            state, written = constraint.grammar.start(), 0
            while not constraint.grammar.is_final(state):
                started = time.process_time()
                constraint.mask_row(scores, state, written=written)
                seconds.append(time.process_time() - started)
                token = draw.choice(constraint.grammar.allowed(state).tolist())
                started = time.process_time()
                after = constraint.grammar.advance(state, token)
                seconds[-1] += time.process_time() - started
                assert after is not None
                state, written = after, written + 1
        how = f"{vocabulary.size} tokens, median of {len(seconds)} steps of random answers, grid 64 (canvas 32)"
        rows.append(Row(f"S6 step {name}", 1e3 * float(np.median(seconds)), "ms", "" if quick else "<= 0.2", how))
        rows.append(Row(f"S6 step {name}: mean", 1e3 * float(np.mean(seconds)), "ms", "", "first visits included"))
    return rows


def _large_vocabulary() -> "Vocabulary":
    """152 000 tokens: bytes, numbers of up to three digits, random words, tags and bricks."""
    from mvplm.textmask.items import SPELLING
    from mvplm.textmask.vocabulary import Vocabulary

    draw, letters = random.Random(0), b"abcdefghijklmnopqrstuvwxyz"
    texts = {bytes([byte]) for byte in range(256)} | {str(number).encode() for number in range(1000)}
    texts |= {b" *", b"| ", b" dog", b"others", b" others", b" on", b" the", b" left", b"[[", b"]]"}
    while len(texts) < VOCABULARY - 200:
        texts.add(b" " * draw.randrange(2) + bytes(draw.choices(letters, k=draw.randrange(2, 9))))
    atoms = {code: len(texts) + code for code, text in enumerate(SPELLING) if text != "\n"}
    return Vocabulary(dict(enumerate(sorted(texts))), atoms=atoms, ends=[VOCABULARY - 1])
