"""Out-of-distribution buckets of a user's own samples, by the rules of ORS-Bench that need no judgement.

Categories: a label that training has not seen, or in less than one of ten thousand instances. Areas: all objects of a
sample cover less than 0.2 % or more than 70 % of the image.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvplm.data.datasets.ors import bucket_of, read_samples
from mvplm.data.journal import write_whole
from mvplm.data.ors.words import normalise_tag
from mvplm.structures.masks import to_rle


@dataclass(frozen=True)
class BucketRules:
    """What is out of the distribution.

    Attributes:
        min_frequency: least share of a label among training's instances.
        min_area, max_area: shares of the image that are in the distribution, both included.
    """

    min_frequency: float = 1e-4
    min_area: float = 0.002
    max_area: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.min_frequency <= 1 or not 0 <= self.min_area <= self.max_area <= 1:
            raise ValueError(f"min_frequency must lie in [0, 1], and 0 <= min_area <= max_area <= 1; got {self}")


@dataclass
class BucketSummary:
    """Samples of each bucket, and labels that training has not seen."""

    buckets: Counter[str] = field(default_factory=Counter)
    unseen: set[str] = field(default_factory=set)


def label_counts(paths: Iterable[Path]) -> Counter[str]:
    """Training's instances of each label, labels in their normal form; see ``normalise_tag``."""
    counts: Counter[str] = Counter()
    for path in paths:
        for sample in read_samples(path):
            counts.update(normalise_tag(one["label"]) for one in sample["instances"])
    return counts


def ood_of(sample: Mapping[str, Any], counts: Mapping[str, int], *, total: int, rules: BucketRules) -> str | None:
    """ "category", "area" or None; what a sample already says about itself stays.

    Args:
        sample: of ORS-Bench's form. counts: training's instances by label. total: sum of all. rules: thresholds.
    """
    if sample.get("ood"):
        return str(sample["ood"])
    labels = {normalise_tag(one["label"]) for one in sample["instances"]}
    if any(counts.get(label, 0) == 0 or counts[label] < rules.min_frequency * total for label in labels):
        return "category"
    share = covered(sample)
    return "area" if sample["instances"] and not rules.min_area <= share <= rules.max_area else None


def covered(sample: Mapping[str, Any]) -> float:
    """Share of the image that all objects of a sample cover together."""
    from pycocotools import mask as coco

    size = (sample["height"], sample["width"])
    codes = [to_rle(one["mask_rle"], size) for one in sample["instances"]]
    return float(coco.area(coco.merge(codes))) / (size[0] * size[1]) if codes else 0.0


def assign_buckets(
    samples: Path, training: Sequence[Path], *, out: Path, rules: BucketRules | None = None
) -> BucketSummary:
    """Write the samples with their ``ood``.

    Args:
        samples: JSONL file. training: JSONL files of what was trained on. out: JSONL file to write, as a whole.
        rules: thresholds.

    Raises:
        ValueError: a malformed line, or training without instances.
    """
    counts = label_counts(training)
    total = counts.total()
    if not total:
        raise ValueError("the training samples have no instances, so that every category would be unseen")
    summary, lines = BucketSummary(), []
    for sample in read_samples(samples):
        told = {**sample, "ood": ood_of(sample, counts, total=total, rules=rules or BucketRules())}
        summary.buckets[bucket_of(told)] += 1
        summary.unseen |= {one["label"] for one in sample["instances"] if not counts[normalise_tag(one["label"])]}
        lines.append(json.dumps(told, ensure_ascii=False) + "\n")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, "".join(lines))
    return summary
