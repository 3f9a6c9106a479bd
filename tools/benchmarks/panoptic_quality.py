"""Panoptic quality of maps of photo size against plain loops over pairs of segments.

Example: python tools/benchmark.py panoptic_quality --maps 5000
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from measuring import Row
from naive_panoptic_quality import NaivePanopticQuality, pairs_by_codes

SIZE, SEGMENTS, CATEGORIES, DRAWN = (480, 640), 11, 20, 50
Sample = dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many maps."""
    parser.add_argument("--maps", type=int, default=5000, help="pairs of maps; 50 different ones, over and over")
    parser.add_argument("--seed", type=int, default=0)


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Seconds for all maps of either implementation, their ratio, and how far apart their numbers are."""
    from mvplm.evaluation import PanopticQuality

    count = 20 if arguments.quick else arguments.maps
    if count < 1:
        raise ValueError(f"--maps must be at least 1, got {count}")
    categories = [{"id": i + 1, "name": f"name {i}", "isthing": i % 2} for i in range(CATEGORIES)]
    contenders = {
        "mvplm": PanopticQuality(categories),
        "naive": NaivePanopticQuality(categories),
        "naive, sorted codes": NaivePanopticQuality(categories, pairs_by_codes),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    samples = list(draw_samples(min(DRAWN, count), seed=arguments.seed))
    for turn in range(count):
        sample = samples[turn % len(samples)]
        # Map by map, now in one order and now in the other: what else the machine does favours none of them.
        for name in sorted(contenders, reverse=turn % 2 == 1):
            started = time.perf_counter()
            contenders[name].update(**sample)
            seconds[name].append(time.perf_counter() - started)
    results = {name: metric.compute() for name, metric in contenders.items()}
    apart = max(
        abs(value - results["mvplm"][name])
        for who in ("naive", "naive, sorted codes")
        for name, value in results[who].items()
    )
    how = f"{count} maps of {SIZE[1]}x{SIZE[0]} with about {SEGMENTS} segments, one process, in turns"
    median = {name: 1000 * statistics.median(times) for name, times in seconds.items()}
    rows = [Row(f"{name}: all maps", sum(times), "s", detail=how) for name, times in seconds.items()]
    rows += [Row(f"{name}: one map", value, "ms", detail="median") for name, value in median.items()]
    for name, bar, detail in (
        ("naive", "" if arguments.quick else ">= 10", "plain loops over pairs of segments"),
        ("naive, sorted codes", "", "the same with numpy sorting one code per pixel"),
    ):
        ratio = sum(seconds[name]) / sum(seconds["mvplm"])
        rows.append(Row(f"times faster than {name}", ratio, "x", bar, detail))
    rows.append(Row("largest difference", float(apart), "%", "<= 1e-12", "of PQ, SQ, RQ over all, things, stuff"))
    return rows


def draw_samples(count: int, *, seed: int) -> Iterator[Sample]:
    """Arguments of ``update``: each true map is cut into regions around random points, the prediction is it displaced.

    Args:
        count: how many. seed: of all that is random.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        number = int(rng.integers(SEGMENTS - 4, SEGMENTS + 5))
        gt_map, gt_segments = _regions(rng, number)
        pred_map = np.roll(gt_map, rng.integers(-20, 21, 2), axis=(0, 1))
        present = set(np.unique(pred_map).tolist())
        pred_segments = [
            {
                "id": s["id"],
                "category_id": s["category_id"] if rng.random() < 0.8 else int(rng.integers(CATEGORIES)) + 1,
            }
            for s in gt_segments
            if s["id"] in present
        ]
        yield {"pred_map": pred_map, "pred_segments": pred_segments, "gt_map": gt_map, "gt_segments": gt_segments}


def _regions(rng: np.random.Generator, number: int) -> Any:
    """Map (H, W) whose pixels go to the nearest of ``number`` points, a tenth of the regions void; and its segments."""
    height, width = SIZE
    points = rng.random((number, 2)) * SIZE
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    wave = 12 * np.sin(columns / 17) + 7 * np.sin(rows / 5)  # boundaries are not straight
    owner = ((rows + wave - points[:, 0]) ** 2 + (columns + wave - points[:, 1]) ** 2).argmin(-1)
    ids = rng.choice(1 << 24, number, replace=False).astype(np.int32)
    ids[rng.random(number) < 0.1] = 0
    segment_map = ids[owner]
    segments = [
        {"id": int(id_), "category_id": int(rng.integers(CATEGORIES)) + 1, "iscrowd": int(rng.random() < 0.02)}
        for id_ in np.unique(segment_map)
        if id_
    ]
    return segment_map, segments
