"""What answers to expressions are measured by, whether they come from a model or from a file."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from mvplm.evaluation.box_accuracy import BoxAccuracy
from mvplm.evaluation.intervals import ImageSums, Interval
from mvplm.evaluation.metric import Metric
from mvplm.evaluation.named import named_intervals
from mvplm.evaluation.protocols import Protocol
from mvplm.evaluation.referring import ReferringIoU
from mvplm.evaluation.tables import Table, expression_tables
from mvplm.evaluation.truth import true_masks
from mvplm.structures.masks import tight_box
from mvplm.structures.record import Expression, Record


@dataclass(frozen=True)
class ExpressionAnswer:
    """The answer to an expression.

    Attributes:
        masks: all that fit, (H, W) or (n, H, W) bool; None when nothing does.
        best: the mask that is given in any case, of the same forms; None when there is none.
        box: the best box, XYXY_ABS.
        status: one of ``mvplm.evaluation.referring.STATUSES``.
        has_masks, has_box: whether the one who answers gives masks, and boxes, at all.
    """

    masks: np.ndarray | None = None
    best: np.ndarray | None = None
    box: tuple[float, ...] | None = None
    status: str = "answered"
    has_masks: bool = True
    has_box: bool = True


class ExpressionMetrics:
    """Referring segmentation and comprehension on expressions of every kind.

    Single-target expressions give ``referring/all/*`` (and ``referring/<kind>/*``) and ``rec_from_mask/Acc@0.5`` from
    the best mask, and ``rec/Acc@0.5`` from the best box. All expressions, those for several targets and for none
    included, give ``grec/*`` from all masks that fit. Expressions without true masks are compared by frames alone.

    Args:
        protocol: how masks are counted.
        dataset: catalog name of the data set, for what the protocol says about single ones.

    Attributes:
        metrics: by name. statuses: how many answers of each status were added here.
    """

    def __init__(self, protocol: Protocol | str = "per_sentence", *, dataset: str = "") -> None:
        self.single, self.general = ReferringIoU(protocol), ReferringIoU(protocol)
        self.boxes, self.frames = BoxAccuracy(0.5), BoxAccuracy(0.5)
        self.metrics: dict[str, Metric] = {
            "single": self.single,
            "general": self.general,
            "boxes": self.boxes,
            "frames": self.frames,
        }
        self.statuses: Counter[str] = Counter()
        self.protocol = self.general.protocol
        self.first_text = dataset.startswith(self.protocol.first_text_of)
        self.ignore_label = self.protocol.ignore_label if dataset.startswith(self.protocol.ignore_regions_in) else None

    def counts(self, record: Record, expression: Expression) -> bool:
        """Whether the protocol asks an expression of a record."""
        return not self.first_text or expression == record.expressions[0]

    def add(self, record: Record, expression: Expression, *, answer: ExpressionAnswer) -> None:
        """Add an expression that :meth:`counts`. Raises ValueError for masks of another size than the true ones."""
        key, image = (record.image_id, expression.text, expression.id), record.image_id
        self.statuses[answer.status] += 1
        single, kind = len(expression.targets) == 1, expression.kind
        if single:
            target = record.annotations[expression.targets[0]].box
            readable = answer.status != "unparsed"
            if answer.has_box:
                self.boxes.update(answer.box if readable else None, target, kind=kind, image=image, key=key)
            if answer.has_masks:
                frame = _frame(answer.best) if readable else None
                self.frames.update(frame, target, kind=kind, image=image, key=key)
        if not answer.has_masks or any(record.annotations[i].segmentation is None for i in expression.targets):
            return
        truth = true_masks(record, expression, ignore_label=self.ignore_label)
        if single:  # the best mask is given in any case: "no target" is not said about it
            status = "unparsed" if answer.status == "unparsed" else "answered"
            self.single.update(answer.best, truth, status=status, kind=kind, image=image, key=key)
        self.general.update(answer.masks, truth, status=answer.status, kind=kind, image=image, key=key)

    def compute(self) -> dict[str, float]:
        """``referring/all/{cIoU,gIoU,Pr@t}``, ``referring/<kind>/{cIoU,gIoU}``, ``rec/Acc@0.5``,
        ``rec_from_mask/Acc@0.5`` and ``grec/{cIoU,gIoU,Pr@t,N-acc,T-acc}``, in percent."""
        accuracies = ("N-acc", "T-acc")
        out = {f"referring/all/{name}": v for name, v in self.single.compute().items() if name not in accuracies}
        for kind, found in self.single.by_kind().items():
            if kind:
                out |= {f"referring/{kind}/{name}": found[name] for name in ("cIoU", "gIoU")}
        for part, metric in (("rec", self.boxes), ("rec_from_mask", self.frames), ("grec", self.general)):
            out |= {f"{part}/{name}": value for name, value in metric.compute().items()}
        return out

    def image_sums(self) -> dict[str, ImageSums]:
        """First parts of the names (``referring/{all,KIND}``, ``rec``, ...) -> metrics by image, for intervals."""
        kinds = {f"referring/{kind}": self.single.image_sums(kind) for kind in self.single.by_kind() if kind}
        parts = {"rec": self.boxes, "rec_from_mask": self.frames, "grec": self.general}
        sums = {name: metric.image_sums() for name, metric in parts.items()}
        return {"referring/all": self.single.image_sums(), **kinds, **sums}

    def intervals(self) -> dict[str, Interval]:
        """Intervals of all of them."""
        found, metrics = named_intervals(self.image_sums(), draws=self.protocol.draws), self.compute()
        return {name: interval for name, interval in found.items() if name in metrics}

    def tables(self) -> dict[str, Table]:
        """``referring``, ``grec``, ``rec`` and ``rec_from_mask``, each with ``/per_size`` and ``/per_kind``."""
        parts: dict[str, ReferringIoU | BoxAccuracy] = {"referring": self.single, "grec": self.general}
        return expression_tables(parts | {"rec": self.boxes, "rec_from_mask": self.frames})


def _frame(mask: np.ndarray | None) -> list[float] | None:
    """The tight frame XYXY_ABS of a mask (H, W) or of the union of (n, H, W); None without pixels."""
    if mask is None:
        return None
    frame = tight_box(mask if mask.ndim == 2 else mask.any(0))
    return None if frame is None else frame.tolist()
