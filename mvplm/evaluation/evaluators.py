"""Evaluators: they take a record and what was perceived in it, feed the metrics of a task and name the results."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mvplm.evaluation.detection import DetectionAP
from mvplm.evaluation.detection_rules import DetectionRules
from mvplm.evaluation.grounding_evaluator import GroundingEvaluator
from mvplm.evaluation.panoptic import PanopticQuality, categories_of
from mvplm.evaluation.protocols import Protocol as ReferringProtocol
from mvplm.evaluation.referring_evaluator import ReferringEvaluator
from mvplm.evaluation.semantic import SemanticIoU
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
        self.tasks = (task,)
        self.places = {_cleaned(name): place for place, name in enumerate(vocabulary.names)}
        self._last: tuple[Perception, list[dict[str, Any]]] | None = None
        self.names = vocabulary.names
        self.groups = class_groups(vocabulary, groups)
        classes = sorted({place for places in self.groups.values() for place in places})
        self.ap = DetectionAP(len(vocabulary), classes, masks=task == "instance", rules=rules)

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

    def compute(self) -> dict[str, float]:
        """``<group>/{box_AP,box_AP50,mask_AP ...}``, see ``DetectionAP.compute``."""
        found = self.ap.compute_groups(self.groups)
        return {f"{group}/{name}": value for group, results in found.items() for name, value in results.items()}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Name -> ``objects`` (count), ``box_AP``, ``box_AP50`` ..., for names with true objects."""
        return {self.names[place]: numbers for place, numbers in self.ap.per_class().items()}


def class_groups(vocabulary: Vocabulary, groups: Mapping[str, Sequence[str]] | None = None) -> dict[str, list[int]]:
    """Positions of the names of each group; without groups one of all things, "detection"."""
    if not groups:
        return {"detection": [place for place, isthing in enumerate(vocabulary.isthing) if isthing]}
    places = {_cleaned(name): place for place, name in enumerate(vocabulary.names)}
    return {group: [places[_cleaned(name)] for name in names] for group, names in groups.items()}


def _cleaned(name: str) -> str:
    """A name as prompts and answers spell it: runs of whitespace collapsed."""
    return " ".join(name.split())


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
