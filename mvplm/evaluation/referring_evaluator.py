"""The evaluator of referring expressions: segmentation and comprehension, by a protocol."""

from collections.abc import Mapping

import numpy as np

from mvplm.evaluation.box_accuracy import BoxAccuracy
from mvplm.evaluation.intervals import ImageSums
from mvplm.evaluation.protocols import Protocol
from mvplm.evaluation.referring import ReferringIoU
from mvplm.evaluation.truth import true_masks
from mvplm.structures.record import Expression, Record
from mvplm.structures.results import Perception


class ReferringEvaluator:
    """Referring segmentation and comprehension on expressions of every kind.

    Single-target expressions give ``referring/all/*`` (and ``referring/<kind>/*``) from the best mask and
    ``rec/Acc@0.5`` from the best box. All expressions, those for several targets and for none included, give
    ``grec/*`` from the masks above the threshold. Expressions without true masks score boxes only.

    Args:
        protocol: how masks are counted.
        dataset: catalog name of the data set, for what the protocol says about single ones.
    """

    tasks = ("res", "gres", "rec")

    def __init__(self, protocol: Protocol | str = "per_sentence", *, dataset: str = "") -> None:
        self.single = ReferringIoU(protocol)
        self.general = ReferringIoU(protocol)
        self.boxes = BoxAccuracy(0.5)
        self.protocol = self.general.protocol
        self.first_text = dataset.startswith(self.protocol.first_text_of)
        self.ignore_label = self.protocol.ignore_label if dataset.startswith(self.protocol.ignore_regions_in) else None

    def update(
        self, record: Record, answers: Mapping[str, Perception], *, expression: Expression | None = None
    ) -> None:
        """Add one expression."""
        if expression is None:
            raise ValueError(f"image {record.image_id}: the referring evaluator needs an expression")
        if self.first_text and expression != record.expressions[0]:
            return
        key = (record.image_id, expression.text, expression.id)
        single = len(expression.targets) == 1
        if single:
            boxes = answers["rec"].instances.boxes.tolist()
            best, target = boxes[0] if boxes else None, record.annotations[expression.targets[0]].box
            self.boxes.update(best, target, image=record.image_id, key=key)
        if any(record.annotations[i].segmentation is None for i in expression.targets):
            return
        truth = true_masks(record, expression, ignore_label=self.ignore_label)
        merged = self.protocol.targets == "union"
        for metric, task in ((self.single, "res"), (self.general, "gres")):
            if single or metric is self.general:
                guess = _masks(answers[task], merged=merged)
                metric.update(
                    guess,
                    truth,
                    status=_status(answers[task]),
                    kind=expression.kind,
                    image=record.image_id,
                    key=key,
                )

    def compute(self) -> dict[str, float]:
        """``referring/all/{cIoU,gIoU,Pr@t}``, ``referring/<kind>/{cIoU,gIoU}``, ``rec/Acc@0.5`` and
        ``grec/{cIoU,gIoU,Pr@t,N-acc,T-acc}``."""
        accuracies = ("N-acc", "T-acc")
        out = {f"referring/all/{name}": v for name, v in self.single.compute().items() if name not in accuracies}
        for kind, metrics in self.single.by_kind().items():
            if kind:
                out |= {f"referring/{kind}/{name}": metrics[name] for name in ("cIoU", "gIoU")}
        out |= {f"rec/{name}": value for name, value in self.boxes.compute().items()}
        return out | {f"grec/{name}": value for name, value in self.general.compute().items()}

    def image_sums(self) -> dict[str, ImageSums]:
        """First parts of the names (``referring/all``, ``rec``, ``grec``) -> metrics by image, for intervals."""
        parts = {"referring/all": self.single, "rec": self.boxes, "grec": self.general}
        return {name: metric.image_sums() for name, metric in parts.items()}


def _status(answer: Perception) -> str:
    """Whether a written answer could be read at all: one that could not never counts as "nothing fits"."""
    failed = answer.written is not None and answer.written.status in ("unparsed", "invalid")
    return "unparsed" if failed else "answered"


def _masks(answer: Perception, *, merged: bool) -> np.ndarray | None:
    """The answered masks (n, H, W) bool, or their union (H, W); None when there are none."""
    masks = None if answer.instances is None else answer.instances.masks
    if masks is None or not len(masks):
        return None
    return (masks.any(0) if merged else masks).cpu().numpy()
