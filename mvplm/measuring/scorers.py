"""Scorers: they compare files of predictions with records, one record at a time; no model takes part."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from mvplm.data.panoptic_files import PanopticFile
from mvplm.data.prediction_files import DetectionFile, Entry, PredictionFile, ReferringFile, SemanticFile
from mvplm.evaluation import Interval, Metric, PanopticQuality, Protocol, SemanticIoU, Sums, Table
from mvplm.evaluation.detection_groups import DetectionGroups
from mvplm.evaluation.detection_rules import DetectionRules
from mvplm.evaluation.expressions import ExpressionAnswer, ExpressionMetrics
from mvplm.evaluation.named import named_differences, named_intervals
from mvplm.evaluation.overlaps import Listed
from mvplm.evaluation.tables import panoptic_tables, semantic_tables
from mvplm.evaluation.truth import incomplete_classes, scored_classes, true_objects, true_panoptic, true_semantic
from mvplm.structures import Expression, Record, Vocabulary
from mvplm.structures.masks import decode_mask, encode_mask


class Scorer(ABC):
    """What all scorers share.

    Attributes:
        file: the predictions. metrics: by name; ``merge`` joins them one by one.
        used: keys of the answers that were asked for, where they are not known by their image.
    """

    def __init__(self, file: PredictionFile, metrics: Mapping[str, Metric]) -> None:
        self.file = file
        self.metrics = dict(metrics)
        self.used: set[Any] = set()

    def merge(self, other: "Scorer") -> None:
        """Take over what another scorer of the same files has seen."""
        for name, metric in self.metrics.items():
            metric.merge(other.metrics[name])
        self.used |= other.used

    @abstractmethod
    def update(self, record: Record) -> None:
        """Compare the predictions for a record with it. Raises ValueError naming file and entry."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Named results in percent."""

    @abstractmethod
    def tables(self) -> dict[str, Table]:
        """Tables of classes, sizes and kinds, by name."""

    def image_sums(self) -> dict[str, Sums]:
        """Beginning of the names -> metrics by image; empty where the results are no sums over images."""
        return {}

    def intervals(self) -> dict[str, Interval]:
        """Confidence intervals of the results that have one, under their names."""
        return self._known(named_intervals(self.image_sums()))

    def differences(self, other: "Scorer") -> dict[str, Interval]:
        """Intervals of ``other - self`` in points, the same images drawn for both. Raises ValueError: other images."""
        return self._known(named_differences(self.image_sums(), other.image_sums()))

    def _known(self, found: Mapping[str, Interval]) -> dict[str, Interval]:
        """Those of results."""
        results = self.compute() if found else {}
        return {name: interval for name, interval in found.items() if name in results}


class PanopticScorer(Scorer):
    """Keys ``panoptic/{PQ,SQ,RQ}`` and the same with ``_th`` and ``_st``. Category ids are those of the data."""

    def __init__(self, file: PanopticFile, vocabulary: Vocabulary) -> None:
        rows = zip(vocabulary.dataset_ids, vocabulary.names, vocabulary.isthing, strict=True)
        categories = [{"id": id_, "name": name, "isthing": isthing} for id_, name, isthing in rows]
        self._quality = PanopticQuality(categories)
        self._file, self._vocabulary = file, vocabulary
        super().__init__(file, {"quality": self._quality})

    def update(self, record: Record) -> None:
        """Add one image."""
        answer, truth = self._file.read(record.image_id, record.size), true_panoptic(record)
        ids = self._vocabulary.dataset_ids
        true = [{**segment, "category_id": ids[segment["category_id"]]} for segment in truth.segments]
        with _named(f"{self._file.path}: image {record.image_id}"):
            self._quality.update(answer.segment_map, answer.segments, truth.segment_map, true, key=record.image_id)

    def compute(self) -> dict[str, float]:
        """``panoptic/*``."""
        return {name: value for name, value in self._quality.compute().items() if name != "per_class"}

    def tables(self) -> dict[str, Table]:
        """``panoptic/per_class``."""
        return panoptic_tables(self._quality)

    def image_sums(self) -> dict[str, Sums]:
        """``panoptic/*``."""
        return {"": self._quality.image_sums()}


class SemanticScorer(Scorer):
    """Keys ``semantic/{mIoU,pixel_accuracy}``: every pixel has the category of its segment; void is a miss."""

    def __init__(self, file: PanopticFile | SemanticFile, vocabulary: Vocabulary) -> None:
        self._iou = SemanticIoU(len(vocabulary))
        self._file, self._vocabulary = file, vocabulary
        self._places = {id_: place for place, id_ in enumerate(vocabulary.dataset_ids)}
        super().__init__(file, {"iou": self._iou})

    def update(self, record: Record) -> None:
        """Add one image."""
        self._iou.update(self.class_map(record), true_semantic(record), key=record.image_id)

    def class_map(self, record: Record) -> np.ndarray:
        """What was predicted: class positions (H, W), -1 for void. Raises ValueError naming file and entry."""
        file = self._file
        return self._of_segments(file, record) if isinstance(file, PanopticFile) else self._of_masks(file, record)

    def _of_segments(self, file: PanopticFile, record: Record) -> np.ndarray:
        """Class positions (H, W), -1 for void."""
        answer = file.read(record.image_id, record.size)
        with _named(f"{file.path}: image {record.image_id}"):
            listed = Listed.of(answer.segments, places=self._places, name="predicted")
            rows = listed.rows(answer.segment_map)
        return np.where(rows == 0, -1, listed.places[rows])

    def _of_masks(self, file: SemanticFile, record: Record) -> np.ndarray:
        """Class positions (H, W), -1 where no mask is."""
        class_map = np.full(record.size, -1, np.int64)
        for entry in file.of(record.image_id):
            with _named(entry.name):
                place = self._vocabulary.index_of(entry.values["category_id"])
                mask = decode_mask(entry.values["segmentation"], record.size)
                if (class_map[mask] >= 0).any():
                    raise ValueError("the mask lies over that of an earlier entry of its image")
            class_map[mask] = place
        return class_map

    def compute(self) -> dict[str, float]:
        """``semantic/*``."""
        return {f"semantic/{name}": value for name, value in self._iou.compute().items()}

    def tables(self) -> dict[str, Table]:
        """``semantic/per_class``."""
        return semantic_tables(self._iou, self._vocabulary.names)

    def image_sums(self) -> dict[str, Sums]:
        """``semantic/*``."""
        return {"semantic": self._iou.image_sums()}

    def confusion(self) -> np.ndarray:
        """Pixels (K, K + 1) int64 of every true class by the predicted one; the last column are misses."""
        return self._iou.confusion()


class DetectionScorer(Scorer):
    """Keys ``detection/{box_AP,box_AP50 ...}``, and ``mask_AP`` ... where predictions and truth have masks.

    Args:
        file: the finds. vocabulary: of the data.
        masks: the truth has masks. rules: what counts.
        groups: name of a group -> names it holds; each is scored apart, under its name instead of ``detection``.

    Attributes:
        groups: what measures the finds.
    """

    def __init__(
        self,
        file: DetectionFile,
        vocabulary: Vocabulary,
        *,
        masks: bool = True,
        rules: DetectionRules | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.groups = DetectionGroups(vocabulary, masks=masks and file.masks, groups=groups, rules=rules)
        self._file, self._vocabulary = file, vocabulary
        super().__init__(file, {"ap": self.groups.ap})

    def update(self, record: Record) -> None:
        """Add one image."""
        self.groups.ap.update(
            self.finds(record),
            true_objects(record),
            size=record.size,
            key=record.image_id,
            scored=scored_classes(record),
            incomplete=incomplete_classes(record),
        )

    def finds(self, record: Record) -> list[dict[str, Any]]:
        """What was found in an image: COCO results, ``category_id`` = class position.

        Raises:
            ValueError: an entry is malformed; the message names it.
        """
        predictions = []
        for entry in self._file.of(record.image_id):
            with _named(entry.name):
                predictions.append(self._find(entry, record.size))
        return predictions

    def _find(self, entry: Entry, size: tuple[int, int]) -> dict[str, Any]:
        from pycocotools import mask as coco

        values = entry.values
        found = {"category_id": self._vocabulary.index_of(values["category_id"]), "score": float(values["score"])}
        code = values.get("segmentation")
        if code is not None:
            whole = isinstance(code, Mapping) and isinstance(code.get("counts"), str)
            code = dict(code) if whole and tuple(code["size"]) == size else encode_mask(decode_mask(code, size))
            found["segmentation"] = code
        found["bbox"] = values["bbox"] if values.get("bbox") is not None else coco.toBbox(code).tolist()
        return found

    def compute(self) -> dict[str, float]:
        """``<group>/*``."""
        return self.groups.compute()

    def tables(self) -> dict[str, Table]:
        """``<group>/per_class`` and ``<group>/per_size``."""
        return self.groups.tables()

    def intervals(self) -> dict[str, Interval]:
        """Those of AP, AP50 and AP75; none of very many finds."""
        return self.groups.intervals()

    def differences(self, other: Scorer) -> dict[str, Interval]:
        """Intervals of AP, AP50 and AP75 as ``other - self``. Raises ValueError: other images or kind of scorer."""
        if not isinstance(other, DetectionScorer):
            raise ValueError(f"finds cannot be compared with what {type(other).__name__} scores")
        return self.groups.differences(other.groups)


class ReferringScorer(Scorer):
    """``referring/{KIND,all}/*``, ``rec_from_mask/*`` and ``grec/*`` of masks, ``rec/*`` of boxes.

    Args:
        file: the answers. protocol, dataset: see ``ExpressionMetrics``.

    Attributes:
        expressions: what measures the answers.
    """

    def __init__(self, file: ReferringFile, *, protocol: Protocol | str = "per_sentence", dataset: str = "") -> None:
        self.expressions = ExpressionMetrics(protocol, dataset=dataset)
        self._file = file
        super().__init__(file, self.expressions.metrics)

    def merge(self, other: Scorer) -> None:
        """Take over what another scorer of the same files has seen."""
        super().merge(other)
        if isinstance(other, ReferringScorer):
            self.expressions.statuses += other.expressions.statuses

    def update(self, record: Record) -> None:
        """Add the expressions about an image that the protocol counts; the others may be answered, too."""
        for expression in record.expressions:
            counts = self.expressions.counts(record, expression)
            try:
                key = self._file.key(record.image_id, expression)
            except ValueError:
                if counts:
                    raise
                continue
            self.used.add(key)
            if counts:
                entry = self._file[key]
                with _named(entry.name):
                    answer = self._answer(entry, record.size)
                    self.expressions.add(record, expression, answer=answer)

    def answer(self, record: Record, expression: Expression) -> ExpressionAnswer:
        """The answer to an expression of a record. Raises ValueError where there is none, or it is malformed."""
        entry = self._file[self._file.key(record.image_id, expression)]
        with _named(entry.name):
            return self._answer(entry, record.size)

    def _answer(self, entry: Entry, size: tuple[int, int]) -> ExpressionAnswer:
        values = entry.values
        masks = _decoded(values.get("segmentation"), size)
        silent = values.get("segmentation") is None and values.get("box") is None
        return ExpressionAnswer(
            masks=masks,
            best=_decoded(values["best"], size) if "best" in values else masks,
            box=values.get("box"),
            status=values.get("status", "no_target" if silent else "answered"),
            has_masks=self._file.masks,
            has_box=self._file.boxes,
        )

    def compute(self) -> dict[str, float]:
        """``referring/*``, ``grec/*``, ``rec/*`` and ``rec_from_mask/*``."""
        return self.expressions.compute()

    def tables(self) -> dict[str, Table]:
        """``referring``, ``grec``, ``rec`` and ``rec_from_mask``, each with ``/per_size`` and ``/per_kind``."""
        return self.expressions.tables()

    def image_sums(self) -> dict[str, Sums]:
        """``referring/*``, ``grec/*``, ``rec/*`` and ``rec_from_mask/*``."""
        return dict(self.expressions.image_sums())


def _decoded(code: Any, size: tuple[int, int]) -> np.ndarray | None:
    """Mask (H, W) of an RLE or of polygons, (n, H, W) of a list of RLEs; None for none."""
    if isinstance(code, list) and all(isinstance(one, Mapping) for one in code):
        return np.stack([decode_mask(one, size) for one in code]) if code else None
    return None if code is None else decode_mask(code, size)


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Errors inside say where they come from."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
