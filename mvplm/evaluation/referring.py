"""Referring segmentation: cumulative and generalised IoU, precision, and accuracies of "is there a target"."""

from collections.abc import Hashable, Sequence
from operator import ge, gt
from typing import Any, NamedTuple

import numpy as np

from mvplm.evaluation import protocols
from mvplm.evaluation.intervals import ImageSums
from mvplm.evaluation.mask_pairs import MaskSet, Pair, merged, pair_masks, pair_unions
from mvplm.evaluation.metric import Metric
from mvplm.evaluation.protocols import Protocol
from mvplm.evaluation.sizes import size_of
from mvplm.structures.choices import check_choice

STATUSES = ("answered", "no_target", "unparsed")
"""What an answer can be: masks (or none at all), the words "no target", or nothing that can be read."""


class _Score(NamedTuple):
    """One expression: IoU of each pair, the sums of their pixels, how many masks, and what was answered."""

    ious: tuple[float, ...]
    overlap: int
    union: int
    predictions: int
    truths: int
    targeted: bool
    guessed: bool
    status: str
    size: str
    kind: str
    image: Hashable


class ReferringIoU(Metric):
    """cIoU, gIoU, Pr@t, N-acc and T-acc over expressions, counted as a protocol says.

    Args:
        protocol: the protocol, or the name of a preset. The default is that of "GRES: Generalized Referring Expression
            Segmentation" for every sentence: an expression without a target scores IoU 1 and adds nothing to the
            cumulative sums when the prediction is empty; otherwise it scores 0 and its predicted pixels enter the
            union.
    """

    def __init__(self, protocol: Protocol | str = "per_sentence") -> None:
        super().__init__()
        self.protocol = protocols.get(protocol) if isinstance(protocol, str) else protocol

    def update(
        self,
        predicted: np.ndarray | None,
        true: np.ndarray | None,
        *,
        status: str = "answered",
        kind: str = "",
        image: Hashable = None,
        key: Any = None,
    ) -> None:
        """Add one expression.

        Args:
            predicted: (H, W) or (n, H, W) bool, or None for "nothing fits".
            true: (H, W) or (n, H, W), or None for an expression without a target. Bool, or integers: 0 is background,
                the protocol's ``ignore_label`` takes no part, all else is the target.
            status: one of ``STATUSES``.
            kind: how the target is told apart; see :meth:`by_kind`.
            image: what :meth:`image_sums` puts together; None makes the expression an image of its own.
            key: identifies the expression across ranks.

        Raises:
            ValueError: the masks differ in size, or an unknown status.
        """
        check_choice("status", status, choices=STATUSES)
        guess = MaskSet.read(predicted)
        target = MaskSet.read(true, ignore_label=self.protocol.ignore_label)
        if guess is not None and target is not None and guess.size != target.size:
            raise ValueError(f"predicted mask {guess.size} and true mask {target.size} differ in size")
        # Without a key it is like no other expression, here and in another process.
        key = object() if key is None else key
        score = _scored(self.protocol, guess, target=target, status=status)
        self._add(key, score._replace(kind=kind, image=("expression", key) if image is None else image))

    def merge(self, other: Metric) -> None:
        """Take over the expressions of another process or shard; one that both have under the same ``key`` counts once.

        Raises:
            ValueError: the other one counts by another protocol.
        """
        theirs = getattr(other, "protocol", None)
        if theirs != self.protocol:
            raise ValueError(f"expressions counted by {theirs} cannot join those counted by {self.protocol}")
        super().merge(other)

    def compute(self) -> dict[str, float]:
        """``cIoU gIoU Pr@t N-acc T-acc`` in percent; what has nothing to count is left out, but cIoU and gIoU."""
        return _percent(self.image_sums())

    def by_kind(self) -> dict[str, dict[str, float]]:
        """The same for the expressions of each kind that occurs."""
        entries = self._gathered()
        kinds = sorted({entry.kind for entry in entries})
        return {kind: _percent(_summed(self.protocol, [e for e in entries if e.kind == kind])) for kind in kinds}

    def table(self, by: str) -> dict[str, dict[str, float]]:
        """Group of expressions -> how many ``expressions``, and their metrics in percent.

        Args:
            by: "kind", or "size", that of all targets of an expression together.
        """
        entries = self._gathered()
        found: dict[str, dict[str, float]] = {}
        for group in sorted({getattr(entry, by) for entry in entries}):
            chosen = [entry for entry in entries if getattr(entry, by) == group]
            found[group] = {"expressions": len(chosen), **_percent(_summed(self.protocol, chosen))}
        return found

    def statuses(self) -> dict[str, int]:
        """How many answers had each of ``STATUSES``."""
        found = [entry.status for entry in self._gathered()]
        return {status: found.count(status) for status in STATUSES}

    def image_sums(self, kind: str | None = None) -> ImageSums:
        """Numerator and denominator of every metric by image, for confidence intervals; of one kind, or of all."""
        return _summed(self.protocol, [e for e in self._gathered() if kind is None or e.kind == kind])


def _percent(sums: ImageSums) -> dict[str, float]:
    if not sums.images:
        return {}
    return {
        name: value for name, value in sums.values().items() if name in ("cIoU", "gIoU") or sums.sums[name][:, 1].any()
    }


def _scored(protocol: Protocol, guess: MaskSet | None, *, target: MaskSet | None, status: str) -> _Score:
    """One expression by a protocol; ``kind`` and ``image`` are still to be set."""
    size = size_of(0 if target is None else target.area())
    if protocol.frame is not None:
        guess, target = (None if side is None else side.framed(protocol.frame) for side in (guess, target))
    if guess is not None:
        guess = guess.without(None if target is None else target.ignored)
    if status == "unparsed":
        guess = None
    area = 0 if guess is None else guess.area()
    targeted = target is not None and target.area() > 0
    withdrawn = status != "answered" or 0 < area < protocol.min_area
    denied = 0
    if withdrawn:
        denied = _denied(protocol, guess, target=target if targeted else None)
        guess = None
    pairs = _pairs(protocol, guess, target=target)
    ious = tuple(_iou(protocol, pair) for pair in pairs)
    if protocol.count_per == "sample" and (targeted or (area and not withdrawn)):
        # A mask without pixels that is left over is a wrong answer, not a right "nothing".
        ious = tuple(iou if pair.union else 0.0 for iou, pair in zip(ious, pairs, strict=True))
    union = sum(pair.union for pair in pairs) + denied
    if status == "unparsed" and not targeted:
        ious = (0.0,) * len(ious)
    if not targeted and not protocol.count_union_for_false_mask:
        union = 0
    matched = protocol.targets == "matched"
    return _Score(
        ious=ious,
        overlap=sum(pair.overlap for pair in pairs),
        union=union,
        predictions=_count(guess) if matched else 1,
        truths=_count(target) if matched else 1,
        targeted=targeted,
        guessed=area > 0 and not withdrawn,
        status=status,
        size=size,
        kind="",
        image=None,
    )


def _denied(protocol: Protocol, guess: MaskSet | None, *, target: MaskSet | None) -> int:
    """Pixels outside the target of an answer that says "no target" although there is one, where they count."""
    if guess is None or target is None or not protocol.count_union_for_denied_mask:
        return 0
    return guess.without(merged(target.masks)[0]).area()


def _pairs(protocol: Protocol, guess: MaskSet | None, *, target: MaskSet | None) -> list[Pair]:
    """The pairs of masks that are compared: one of the two unions, or one for each mask."""
    matched = protocol.targets == "matched"
    sides = [side for side in (guess, target) if side is not None]
    if not sides:
        return [] if matched and protocol.count_per != "sample" else [Pair(0, 0)]
    nothing = np.zeros((0, *sides[0].size), bool)
    predicted, true = (nothing if side is None else side.masks for side in (guess, target))
    if matched:
        pairs = pair_masks(predicted, true, leftover=protocol.unmatched != "dropped")
        return pairs or ([Pair(0, 0)] if protocol.count_per == "sample" else [])
    return [pair_unions(predicted, true)]


def _iou(protocol: Protocol, pair: Pair) -> float:
    return pair.overlap / (pair.union + protocol.union_offset) if pair.union else protocol.empty_iou


def _count(masks: MaskSet | None) -> int:
    return 0 if masks is None else len(masks.masks)


def _summed(protocol: Protocol, entries: Sequence[_Score]) -> ImageSums:
    """Numerators and denominators by image."""
    groups: dict[Hashable, list[_Score]] = {}
    for entry in entries:
        groups.setdefault(entry.image, []).append(entry)
    rows = [_image(protocol, group) for group in groups.values()]
    names = rows[0] if rows else ()
    return ImageSums(list(groups), {name: np.array([row[name] for row in rows], np.float64) for name in names})


def _image(protocol: Protocol, entries: Sequence[_Score]) -> dict[str, tuple[float, float]]:
    """Numerator and denominator of every metric over the expressions of one image."""
    ious = [iou for entry in entries for iou in entry.ious]
    means = ious
    count = sum(max(entry.predictions, entry.truths) for entry in entries)
    if protocol.count_per == "image":
        count = max(sum(entry.predictions for entry in entries), sum(entry.truths for entry in entries))
    elif protocol.count_per == "sample":
        means, count = [sum(entry.ious) / len(entry.ious) for entry in entries], len(entries)
    out = {
        "cIoU": (sum(entry.overlap for entry in entries), sum(entry.union for entry in entries)),
        "gIoU": (sum(means), count),
    }
    reached = ge if protocol.threshold_operator == ">=" else gt
    if protocol.precision_over == "targeted":
        ious = [iou for entry in entries if entry.targeted for iou in entry.ious]
    for threshold in protocol.thresholds:
        out[f"Pr@{threshold}"] = (sum(reached(iou, threshold) for iou in ious), len(ious))
    absent = [not e.guessed and e.status != "unparsed" for e in entries if not e.targeted]
    present = [e.guessed for e in entries if e.targeted]
    if protocol.n_acc is not None:
        out["N-acc"] = (sum(absent), len(absent))
    if protocol.t_acc is not None:
        out["T-acc"] = (sum(present), len(present))
    return out
