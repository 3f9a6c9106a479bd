"""Evaluators: they take a record and what was perceived in it, feed the metrics of a task and name the results."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mvplm.evaluation.ap_tables import detection_tables
from mvplm.evaluation.detection import DetectionAP
from mvplm.evaluation.intervals import Interval
from mvplm.evaluation.named import named_intervals
from mvplm.evaluation.panoptic import PanopticQuality, categories_of
from mvplm.evaluation.protocols import Protocol as ReferringProtocol
from mvplm.evaluation.referring_evaluator import ReferringEvaluator
from mvplm.evaluation.semantic import SemanticIoU
from mvplm.evaluation.tables import Table, panoptic_tables, semantic_tables
from mvplm.evaluation.truth import scored_classes, true_objects, true_panoptic, true_semantic
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

    def intervals(self) -> dict[str, Interval]:
        """Confidence intervals of the results that have one, under their names."""
        ...

    def tables(self) -> dict[str, Table]:
        """Tables of classes, sizes and kinds, by name."""
        ...


class PanopticEvaluator:
    """Panoptic quality and semantic mIoU. Keys ``panoptic/*`` and ``semantic/mIoU``."""

    tasks = ("panoptic", "semantic")

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.quality = PanopticQuality(categories_of(vocabulary))
        self.iou = SemanticIoU(len(vocabulary))
        self.names = vocabulary.names

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

    def intervals(self) -> dict[str, Interval]:
        """Intervals of all of them."""
        found = named_intervals({"": self.quality.image_sums(), "semantic": self.iou.image_sums()})
        found.pop("semantic/pixel_accuracy", None)
        return found

    def tables(self) -> dict[str, Table]:
        """``panoptic/per_class`` and ``semantic/per_class``."""
        return panoptic_tables(self.quality) | semantic_tables(self.iou, self.names)


class SemanticEvaluator:
    """Semantic mIoU. Keys ``semantic/*``."""

    tasks = ("semantic",)

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.iou = SemanticIoU(len(vocabulary))
        self.names = vocabulary.names

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

    def intervals(self) -> dict[str, Interval]:
        """Intervals of both."""
        return named_intervals({"semantic": self.iou.image_sums()})

    def tables(self) -> dict[str, Table]:
        """``semantic/per_class``."""
        return semantic_tables(self.iou, self.names)


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
        self.names = vocabulary.names
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

    def intervals(self) -> dict[str, Interval]:
        """None: average precision is no sum over images."""
        return {}

    def tables(self) -> dict[str, Table]:
        """``<group>/per_class`` and ``<group>/per_size``."""
        found: dict[str, Table] = {}
        for group, metric in self.metrics.items():
            found |= detection_tables(metric, self.names, part=group)
        return found


def _cleaned(name: str) -> str:
    """A name as prompts and answers spell it: runs of whitespace collapsed."""
    return " ".join(name.split())


_TASKS = ("panoptic", "semantic", "instance", "detection", "grounding", "referring")


def make_evaluator(
    task: str,
    vocabulary: Vocabulary | None = None,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    max_detections: int = 100,
    protocol: ReferringProtocol | str = "per_sentence",
    dataset: str = "",
) -> Evaluator:
    """The evaluator of a task.

    Args:
        task: panoptic, semantic, instance, detection, grounding or referring.
        vocabulary: names asked for; needed by all but referring.
        groups: for detection, groups of names to score apart.
        max_detections: of objects: finds per image that count.
        protocol: for referring, how expressions are counted.
        dataset: for referring, the catalog name, for what a protocol says about single data sets.

    Raises:
        ValueError: unknown task or protocol (with the choices), or no vocabulary where one is needed.
    """
    check_choice("task", task, choices=_TASKS)
    if task == "referring":
        return ReferringEvaluator(protocol, dataset=dataset)
    if vocabulary is None:
        raise ValueError(f"evaluating {task} needs the vocabulary that was asked for")
    if task == "panoptic":
        return PanopticEvaluator(vocabulary)
    if task == "semantic":
        return SemanticEvaluator(vocabulary)
    return DetectionEvaluator(vocabulary, task=task, groups=groups, max_detections=max_detections)
