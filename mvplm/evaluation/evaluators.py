"""Evaluators: they take a record and what was perceived in it, feed the metrics of a task and name the results."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mvplm.evaluation.detection_groups import DetectionGroups, cleaned
from mvplm.evaluation.detection_rules import DetectionRules
from mvplm.evaluation.grounding_evaluator import GroundingEvaluator
from mvplm.evaluation.intervals import Interval
from mvplm.evaluation.named import named_intervals
from mvplm.evaluation.panoptic import PanopticQuality, categories_of
from mvplm.evaluation.protocols import Protocol as ReferringProtocol
from mvplm.evaluation.referring_evaluator import ReferringEvaluator
from mvplm.evaluation.semantic import SemanticIoU
from mvplm.evaluation.tables import Table, panoptic_tables, semantic_tables
from mvplm.evaluation.truth import incomplete_classes, scored_classes, true_objects, true_panoptic, true_semantic
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


class DetectionEvaluator(DetectionGroups):
    """Average precision. Keys ``detection/*``, or ``<group>/*`` for each group of names when there are groups.

    Args:
        vocabulary: names of the truth.
        task: "instance" (boxes and masks), "detection" or "grounding" (boxes).
        groups: name of a group -> names it holds.
        rules: what counts.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        task: str,
        groups: Mapping[str, Sequence[str]] | None = None,
        rules: DetectionRules | None = None,
    ) -> None:
        super().__init__(vocabulary, masks=task == "instance", groups=groups, rules=rules)
        self.tasks = (task,)
        self.places = {cleaned(name): place for place, name in enumerate(vocabulary.names)}
        self._last: tuple[Perception, list[dict[str, Any]]] | None = None

    def update(
        self, record: Record, answers: Mapping[str, Perception], *, expression: Expression | None = None
    ) -> None:
        """Add one image."""
        self.ap.update(
            self.finds(answers),
            true_objects(record),
            size=record.size,
            key=record.image_id,
            scored=scored_classes(record),
            incomplete=incomplete_classes(record),
        )

    def finds(self, answers: Mapping[str, Perception]) -> list[dict[str, Any]]:
        """What was found, as COCO result entries whose ``category_id`` is the position in the vocabulary."""
        answer = answers[self.tasks[0]]
        # Masks take long to encode, and the one who writes the finds asks for them, too.
        if self._last is None or self._last[0] is not answer:
            places = [self.places[name] for name in answer.query]
            self._last = answer, answer.to_coco(category_ids=places)
        return self._last[1]


_TASKS = ("panoptic", "semantic", "instance", "detection", "grounding", "referring")


def make_evaluator(
    task: str,
    vocabulary: Vocabulary | None = None,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    rules: DetectionRules | None = None,
    protocol: ReferringProtocol | str = "per_sentence",
    dataset: str = "",
) -> Evaluator:
    """The evaluator of a task.

    Args:
        task: panoptic, semantic, instance, detection, grounding or referring.
        vocabulary: names asked for; needed by all but referring, and by grounding where every image has phrases of its
            own (then there are recalls).
        groups: for detection, groups of names to score apart.
        rules: of objects: what counts; COCO's rules when None.
        protocol: for referring, how expressions are counted.
        dataset: for referring, the catalog name, for what a protocol says about single data sets.

    Raises:
        ValueError: unknown task or protocol (with the choices), or no vocabulary where one is needed.
    """
    check_choice("task", task, choices=_TASKS)
    if task == "referring":
        return ReferringEvaluator(protocol, dataset=dataset)
    if task == "grounding" and vocabulary is None:
        return GroundingEvaluator()
    if vocabulary is None:
        raise ValueError(f"evaluating {task} needs the vocabulary that was asked for")
    if task == "panoptic":
        return PanopticEvaluator(vocabulary)
    if task == "semantic":
        return SemanticEvaluator(vocabulary)
    return DetectionEvaluator(vocabulary, task=task, groups=groups, rules=rules)
