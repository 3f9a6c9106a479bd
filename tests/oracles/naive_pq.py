"""The naive panoptic quality of the tools, and maps of all kinds to compare with it."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_FILE = Path(__file__).resolve().parents[2] / "tools" / "naive_panoptic_quality.py"
_SPEC = importlib.util.spec_from_file_location("naive_panoptic_quality", _FILE)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
NaivePanopticQuality, pairs_by_codes = _MODULE.NaivePanopticQuality, _MODULE.pairs_by_codes

CATEGORIES = [{"id": 3 * place + 7, "name": f"name {place}", "isthing": place % 2} for place in range(6)]
KINDS = ("regions", "displaced", "noise", "empty prediction", "empty truth", "all crowd", "one pixel", "void", "halves")
Sample = dict[str, Any]


def draw_sample(kind: str, rng: np.random.Generator) -> Sample:
    """Arguments of ``update`` for one image of a kind; ids lie anywhere in [1, 2^24)."""
    size = tuple(rng.integers(1, 25, 2)) if kind != "one pixel" else (1, 1)
    gt_map = _regions(rng, size, void=0.5 if kind == "void" else 0.15)
    pred_map = _regions(rng, size, void=0.15)
    if kind == "noise":
        pred_map, gt_map = (
            rng.choice(np.append(np.unique(m), [0, 5, 9]), size).astype(m.dtype) for m in (pred_map, gt_map)
        )
    elif kind in ("displaced", "all crowd", "void"):
        pred_map = np.where(rng.random(size) < 0.9, np.roll(gt_map, 1, rng.integers(2)), 0)
    elif kind == "halves":  # overlaps of exactly one half
        size = (8, 8)
        gt_map, pred_map = np.full(size, 1 << 20), np.full(size, 4)
        gt_map[:4], pred_map[:4, :4] = 77, 2
    gt_map = gt_map * (kind != "empty truth")
    pred_map = pred_map * (kind != "empty prediction")
    gt_segments = _entries(rng, gt_map, crowd=1.0 if kind == "all crowd" else 0.25)
    same = {entry["id"]: entry["category_id"] for entry in gt_segments}
    pred_segments = [
        {"id": entry["id"], "category_id": same.get(entry["id"], entry["category_id"])}
        for entry in _entries(rng, pred_map, crowd=0)
    ]
    return {"pred_map": pred_map, "pred_segments": pred_segments, "gt_map": gt_map, "gt_segments": gt_segments}


def many_segments(rng: np.random.Generator, *, count: int = 2000) -> Iterator[Sample]:
    """Images with about ``count`` segments in the truth, in the prediction and in both."""
    height, width = 80, 100  # 2 x 2 pixels each
    tiles = np.arange(1, count + 1).reshape(height // 2, width // 2).repeat(2, 0).repeat(2, 1)
    shuffled = rng.permutation(1 << 16)[: count + 1][tiles] + 1
    one = np.full_like(tiles, 3)
    for gt_map, pred_map in (
        (shuffled, one),
        (one, tiles),
        (shuffled, np.where(rng.random(tiles.shape) < 0.8, shuffled, 0)),
    ):
        gt_segments = _entries(rng, gt_map, crowd=0.1)
        names = {entry["id"]: entry["category_id"] for entry in gt_segments}
        pred_segments = [
            {**e, "category_id": names.get(e["id"], e["category_id"])} for e in _entries(rng, pred_map, crowd=0)
        ]
        yield {"pred_map": pred_map, "pred_segments": pred_segments, "gt_map": gt_map, "gt_segments": gt_segments}


def perturbed(gt_map: np.ndarray, gt_segments: list[dict], rng: np.random.Generator, *, ids: list[int]) -> Sample:
    """A true map displaced by some pixels, a part of it lost, some categories wrong, as a prediction."""
    pred_map = np.roll(gt_map, rng.integers(-9, 10, 2), (0, 1)).copy()
    pred_map[: rng.integers(1, 60)] = 0
    present = set(np.unique(pred_map).tolist())
    pred_segments = [
        {"id": e["id"], "category_id": e["category_id"] if rng.random() < 0.85 else int(rng.choice(ids))}
        for e in gt_segments
        if e["id"] in present
    ]
    return {"pred_map": pred_map, "pred_segments": pred_segments, "gt_map": gt_map, "gt_segments": gt_segments}


def _regions(rng: np.random.Generator, size: tuple[int, int], *, void: float) -> np.ndarray:
    """A coarse map of a few ids, enlarged."""
    ids = rng.choice(1 << 24, 5, replace=False).astype(rng.choice([np.int32, np.int64, np.uint32]))
    coarse = rng.choice(np.append(ids, 0), (6, 6), p=[*[(1 - void) / 5] * 5, void])
    rows, columns = (np.sort(rng.integers(0, 6, side)) for side in size)
    return coarse[rows][:, columns]


def _entries(rng: np.random.Generator, values: np.ndarray, *, crowd: float) -> list[dict]:
    """An entry for every id of a map, in any order."""
    ids = [int(id_) for id_ in rng.permutation(np.unique(values)) if id_]
    return [
        {"id": id_, "category_id": int(rng.choice([c["id"] for c in CATEGORIES])), "iscrowd": int(rng.random() < crowd)}
        for id_ in ids
    ]
