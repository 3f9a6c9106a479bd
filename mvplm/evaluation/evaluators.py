"""Evaluators: they take a record and what was perceived in it, feed the metrics of a task and name the results."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from mvplm.evaluation.box_accuracy import BoxAccuracy
from mvplm.evaluation.detection import DetectionAP
from mvplm.evaluation.panoptic import PanopticQuality, categories_of
from mvplm.evaluation.referring import ReferringIoU
from mvplm.evaluation.semantic import SemanticIoU
from mvplm.evaluation.truth import scored_classes, true_mask, true_objects, true_panoptic, true_semantic
from mvplm.structures.choices import check_choice
from mvplm.structures.record import Expression, Record
from mvplm.structures.results import Perception
from mvplm.structures.vocabulary import Vocabulary


class Evaluator(Protocol):
    """What the evaluation loop needs of an evaluator.

    Attributes:
        tasks: what the predictions have to be post-processed for; all come from one forward pass.
    """

    tasks: tuple[str, ...]

    def update(
        self, record: Record, answers: Mapping[str, Perception], *, expression: Expression | None = None
    ) -> None:
        """Add one image, or one expression about it; ``answers`` holds a perception for each of ``tasks``."""
        ...

    def compute(self) -> dict[str, float]:
        """Named results in percent."""
        ...


class PanopticEvaluator:
    """Panoptic quality and semantic mIoU. Keys ``panoptic/*`` and ``semantic/mIoU``."""

    tasks = ("panoptic", "semantic")

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.quality = PanopticQuality(categories_of(vocabulary))
        self.iou = SemanticIoU(len(vocabulary))

    def update(
        self, record: Record, answers: Mapping[str, Perception], *, expression: Expression | None = None
    ) -> None:
        """Add one image."""
        panoptic, semantic = answers["panoptic"].panoptic, answers["semantic"].semantic
        assert panoptic is not None and semantic is not None
        truth = true_panoptic(record)
        self.quality.update(
            panoptic.segment_map.cpu().numpy(),
            [{"id": s.id, "category_id": s.class_index} for s in panoptic.segments],
            truth.segment_map,
            truth.segments,
            key=record.image_id,
        )
        self.iou.update(semantic.class_map.cpu().numpy(), true_semantic(record), key=record.image_id)

    def compute(self) -> dict[str, float]:
        """``panoptic/{PQ,SQ,RQ,PQ_th,...}`` and ``semantic/mIoU``."""
        out = {name: value for name, value in self.quality.compute().items() if name != "per_class"}
        return {**out, "semantic/mIoU": self.iou.compute()["mIoU"]}


class SemanticEvaluator:
    """Semantic mIoU. Keys ``semantic/*``."""

    tasks = ("semantic",)

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.iou = SemanticIoU(len(vocabulary))

    def update(
        self, record: Record, answers: Mapping[str, Perception], *, expression: Expression | None = None
    ) -> None:
        """Add one image."""
        semantic = answers["semantic"].semantic
        assert semantic is not None
        self.iou.update(semantic.class_map.cpu().numpy(), true_semantic(record), key=record.image_id)

    def compute(self) -> dict[str, float]:
        """``semantic/mIoU`` and ``semantic/pixel_accuracy``."""
        return {f"semantic/{name}": value for name, value in self.iou.compute().items()}


class DetectionEvaluator:
    """Average precision. Keys ``detection/*``, or ``<group>/*`` for each group of names when there are groups.

    Args:
        vocabulary: names of the truth.
        task: "instance" (boxes and masks), "detection" or "grounding" (boxes).
        groups: name of a group -> names it holds.
        max_detections: finds per image that count.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        task: str,
        groups: Mapping[str, Sequence[str]] | None = None,
        max_detections: int = 100,
    ) -> None:
        self.tasks = (task,)
        self.places = {_cleaned(name): place for place, name in enumerate(vocabulary.names)}
        masks, count = task == "instance", len(vocabulary)
        things = [place for place, isthing in enumerate(vocabulary.isthing) if isthing]
        classes: dict[str, list[int]] = {"detection": things}
        if groups:
            classes = {group: [self.places[_cleaned(name)] for name in names] for group, names in groups.items()}
        self.metrics = {
            group: DetectionAP(count, places, masks=masks, max_detections=max_detections)
            for group, places in classes.items()
        }

    def update(
        self, record: Record, answers: Mapping[str, Perception], *, expression: Expression | None = None
    ) -> None:
        """Add one image."""
        answer = answers[self.tasks[0]]
        predictions = answer.to_coco(category_ids=[self.places[name] for name in answer.query])
        truth, scored = true_objects(record), scored_classes(record)
        if scored is not None:
            predictions = [p for p in predictions if p["category_id"] in scored]
        for metric in self.metrics.values():
            metric.update(predictions, truth, size=record.size, key=record.image_id)

    def compute(self) -> dict[str, float]:
        """``<group>/{box_AP,box_AP50,mask_AP,mask_AP50}``."""
        return {f"{group}/{name}": v for group, metric in self.metrics.items() for name, v in metric.compute().items()}


class ReferringEvaluator:
    """Referring segmentation and comprehension on expressions of every kind.

    Single-target expressions give ``referring/all/*`` (and ``referring/<kind>/*``) from the best mask and
    ``rec/Acc@0.5`` from the best box. All expressions, those for several targets and for none included, give
    ``grec/*`` from the union of the masks above the threshold. Expressions without true masks score boxes only.
    """

    tasks = ("res", "gres", "rec")

    def __init__(self) -> None:
        self.single = ReferringIoU()
        self.general = ReferringIoU()
        self.boxes = BoxAccuracy(0.5)

    def update(
        self, record: Record, answers: Mapping[str, Perception], *, expression: Expression | None = None
    ) -> None:
        """Add one expression."""
        if expression is None:
            raise ValueError(f"image {record.image_id}: the referring evaluator needs an expression")
        key = (record.image_id, expression.text, expression.id)
        single = len(expression.targets) == 1
        if single:
            boxes = answers["rec"].instances.boxes.tolist()
            self.boxes.update(boxes[0] if boxes else None, record.annotations[expression.targets[0]].box, key=key)
        if any(record.annotations[i].segmentation is None for i in expression.targets):
            return
        truth = true_mask(record, expression)
        if single:
            self.single.update(_union(answers["res"]), truth, kind=expression.kind, key=key)
        self.general.update(_union(answers["gres"]), truth, key=key)

    def compute(self) -> dict[str, float]:
        """``referring/<kind>/{cIoU,gIoU}``, ``rec/Acc@0.5`` and ``grec/{cIoU,gIoU,N-acc,T-acc}``."""
        groups = {"all": self.single.compute(), **self.single.by_kind()}
        out = {
            f"referring/{kind}/{name}": metrics[name]
            for kind, metrics in groups.items()
            for name in ("cIoU", "gIoU")
            if kind and name in metrics
        }
        out |= {f"rec/{name}": value for name, value in self.boxes.compute().items()}
        for name, value in self.general.compute().items():
            if name in ("cIoU", "gIoU", "N-acc", "T-acc"):
                out[f"grec/{name}"] = value
        return out


def _cleaned(name: str) -> str:
    """A name as prompts and answers spell it: runs of whitespace collapsed."""
    return " ".join(name.split())


def _union(answer: Perception) -> np.ndarray | None:
    """Union (H, W) bool of the answered masks, or None when there are none."""
    masks = None if answer.instances is None else answer.instances.masks
    return None if masks is None or not len(masks) else masks.any(0).cpu().numpy()


_TASKS = ("panoptic", "semantic", "instance", "detection", "grounding", "referring")


def make_evaluator(
    task: str,
    vocabulary: Vocabulary | None = None,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    max_detections: int = 100,
) -> Evaluator:
    """The evaluator of a task.

    Args:
        task: panoptic, semantic, instance, detection, grounding or referring.
        vocabulary: names asked for; needed by all but referring.
        groups: for detection, groups of names to score apart.
        max_detections: of objects: finds per image that count.

    Raises:
        ValueError: unknown task (with the choices), or no vocabulary where one is needed.
    """
    check_choice("task", task, choices=_TASKS)
    if task == "referring":
        return ReferringEvaluator()
    if vocabulary is None:
        raise ValueError(f"evaluating {task} needs the vocabulary that was asked for")
    if task == "panoptic":
        return PanopticEvaluator(vocabulary)
    if task == "semantic":
        return SemanticEvaluator(vocabulary)
    return DetectionEvaluator(vocabulary, task=task, groups=groups, max_detections=max_detections)
