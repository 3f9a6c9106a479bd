"""Masks as text: encoding, decoding, reading damaged answers, against plain loops over cells.

Masks are smoothed noise, the upper 30 %, on a grid of 64.

Example: python tools/benchmark.py textmask
"""

import argparse
import random
import time
from functools import partial

import numpy as np
from measuring import Row, interleave
from naive_mask_text import bricks_of, labels_of_rows, paint, rows_of_labels

SIDE, BATCH = 64, 256
LABELS = ["others", "dog on the left"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many broken answers are read."""
    parser.add_argument("--fuzz", type=int, default=10_000, help="random and damaged answers per codec")


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Masks per second, ratios, milliseconds, and what broken answers do."""
    masks = draw_masks(16 if arguments.quick else BATCH)
    quick = bool(arguments.quick)
    rows = [*_bricks(masks, quick=quick), *_rows(masks, quick=quick), *_pixels(masks, quick=quick)]
    rows += _damaged(masks, quick=quick)
    return rows + _fuzz(masks, count=50 if quick else arguments.fuzz)


def draw_masks(count: int) -> np.ndarray:
    """(count, 64, 64) bool."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).standard_normal((count, SIDE, SIDE))
    smooth = np.stack([gaussian_filter(one, 6) for one in noise])
    return smooth > np.quantile(smooth, 0.7, axis=(1, 2), keepdims=True)


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
    seconds = interleave(contenders, repeats=3 if quick else 60, warmups=2)
    each = {"all": seconds["all"] / len(masks), "one": seconds["one"] / 16, "loops": seconds["loops"] / 16}
    how = f"encode and decode, {len(masks)} masks of 64x64, median in turns"
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

    seconds = interleave({"ours": ours, "loops": loops}, repeats=3 if quick else 60, warmups=2)
    how = "encode and decode, one mask of 64x64 per call, median in turns"
    return [
        Row("rows of labels: loops", 1e6 * seconds["loops"] / 16, "us", "", "one mask, plain loops over cells"),
        Row("S3 rows of labels", 16 / seconds["ours"], "masks/s", "" if quick else ">= 5000", how),
        Row("S3 against loops", seconds["loops"] / seconds["ours"], "x", "" if quick else ">= 8", how),
    ]


def _pixels(masks: np.ndarray, *, quick: bool) -> list[Row]:
    from mvplm.textmask.grid import to_pixels

    seconds = interleave(
        {"up": lambda: to_pixels(masks[:1], (480, 640), up="bilinear")}, repeats=3 if quick else 60, warmups=2
    )
    return [Row("S4 to 480x640", 1e3 * seconds["up"], "ms", "" if quick else "<= 6", "bilinear and threshold")]


def damage(text: str, draw: random.Random) -> str:
    """An answer that is cut, has lost or doubled a part, or has other characters in it."""
    place, length = draw.randrange(len(text)), draw.randrange(1, 30)
    part = text[place : place + length]
    middle = ("", part * 2, "".join(draw.sample(part, len(part))), "".join(draw.choices(text, k=length)))
    if draw.random() < 0.2:
        return text[:place]
    return text[:place] + draw.choice(middle) + text[place + length :]


def _damaged(masks: np.ndarray, *, quick: bool) -> list[Row]:
    """Time to read damaged answers."""
    from mvplm.textmask import get_codec

    rows, draw = [], random.Random(0)
    for name in ("bsd_bricks", "bsd", "isd_rrle", "isd_full"):
        codec = get_codec(name, grid=SIDE)
        texts = [damage(codec.encode(mask[None], LABELS[1:]), draw) for mask in masks[:16]]
        seconds = interleave(
            {str(i): partial(codec.decode, text, (SIDE, SIDE)) for i, text in enumerate(texts)},
            repeats=2 if quick else 15,
        )
        how = f"slowest of {len(texts)} answers, median each"
        rows.append(Row(f"S5 damaged {name}", 1e3 * max(seconds.values()), "ms", "" if quick else "<= 5", how))
    return rows


def _fuzz(masks: np.ndarray, *, count: int) -> list[Row]:
    """Random bytes and damaged answers: nothing raises, everything has a status."""
    from mvplm.textmask import CODECS, get_codec
    from mvplm.textmask.result import STATUSES

    draw, longest, silent, statuses = random.Random(0), [], 0, dict.fromkeys(STATUSES, 0)
    for name in CODECS:
        codec = get_codec(name)
        good = [codec.encode(mask[None], LABELS[1:]) for mask in masks[:16]]
        for turn in range(count):
            text = damage(draw.choice(good), draw)
            if turn % 2:
                text = draw.randbytes(draw.randrange(400)).decode("latin1")
            started = time.perf_counter()
            result = codec.decode(text, (SIDE, SIDE))
            longest.append(time.perf_counter() - started)
            statuses[result.status] += 1
            silent += result.status == "ok" and not result.empty_by_model and not result.masks.any()
    how = ", ".join(f"{status} {number}" for status, number in statuses.items())
    total = f"{len(longest)} random and damaged answers over all codecs"
    return [
        Row("fuzz: empty masks without a reason", float(silent), "answers", "<= 0", f"{total}: {how}"),
        Row("fuzz: 99.9 % take at most", 1e3 * float(np.quantile(longest, 0.999)), "ms", "", total),
        Row("fuzz: median", 1e3 * float(np.median(longest)), "ms", "", total),
    ]
