"""Scorers: they compare files of predictions with records, one record at a time; no model takes part."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from mvplm.data.panoptic_files import PanopticFile
from mvplm.data.prediction_files import DetectionFile, Entry, ReferringFile
from mvplm.evaluation import (
    BoxAccuracy,
    DetectionAP,
    Interval,
    Metric,
    PanopticQuality,
    ReferringIoU,
    SemanticIoU,
    Sums,
    Table,
)
from mvplm.evaluation.ap_tables import detection_tables
from mvplm.evaluation.named import named_differences, named_intervals
from mvplm.evaluation.overlaps import Listed
from mvplm.evaluation.referring_evaluator import expression_sums
from mvplm.evaluation.tables import expression_tables, panoptic_tables, semantic_tables
from mvplm.evaluation.truth import scored_classes, true_mask, true_objects, true_panoptic, true_semantic
from mvplm.structures import Expression, Record, Vocabulary
from mvplm.structures.masks import decode_mask, encode_mask


class Scorer(ABC):
    """What all scorers share.

    Attributes:
        file: the predictions. metrics: by name; ``merge`` joins them one by one.
        used: keys of the answers that were asked for, where they are not known by their image.
    """

    def __init__(self, file: PanopticFile | DetectionFile | ReferringFile, metrics: Mapping[str, Metric]) -> None:
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

    def __init__(self, file: PanopticFile, vocabulary: Vocabulary) -> None:
        self._iou = SemanticIoU(len(vocabulary))
        self._file, self._names = file, vocabulary.names
        self._places = {id_: place for place, id_ in enumerate(vocabulary.dataset_ids)}
        super().__init__(file, {"iou": self._iou})

    def update(self, record: Record) -> None:
        """Add one image."""
        answer = self._file.read(record.image_id, record.size)
        with _named(f"{self._file.path}: image {record.image_id}"):
            listed = Listed.of(answer.segments, places=self._places, name="predicted")
            rows = listed.rows(answer.segment_map)
        class_map = np.where(rows == 0, -1, listed.places[rows])
        self._iou.update(class_map, true_semantic(record), key=record.image_id)

    def compute(self) -> dict[str, float]:
        """``semantic/*``."""
        return {f"semantic/{name}": value for name, value in self._iou.compute().items()}

    def tables(self) -> dict[str, Table]:
        """``semantic/per_class``."""
        return semantic_tables(self._iou, self._names)

    def image_sums(self) -> dict[str, Sums]:
        """``semantic/*``."""
        return {"semantic": self._iou.image_sums()}

    def confusion(self) -> np.ndarray:
        """Pixels (K, K + 1) int64 of every true class by the predicted one; the last column are misses."""
        return self._iou.confusion()


class DetectionScorer(Scorer):
    """Keys ``detection/{box_AP,box_AP50}``, and ``mask_AP``, ``mask_AP50`` where predictions and truth have masks.

    Args:
        file: the finds. vocabulary: of the data.
        masks: the truth has masks. max_detections: finds per image that count.
    """

    def __init__(
        self, file: DetectionFile, vocabulary: Vocabulary, *, masks: bool = True, max_detections: int = 100
    ) -> None:
        things = [place for place, isthing in enumerate(vocabulary.isthing) if isthing]
        self._ap = DetectionAP(len(vocabulary), things, masks=masks and file.masks, max_detections=max_detections)
        self._file, self._vocabulary = file, vocabulary
        super().__init__(file, {"ap": self._ap})

    def update(self, record: Record) -> None:
        """Add one image."""
        self._ap.update(self.finds(record), true_objects(record), size=record.size, key=record.image_id)

    @property
    def max_detections(self) -> int:
        """Finds per image that count."""
        return self._ap.max_detections

    def finds(self, record: Record) -> list[dict[str, Any]]:
        """What was found in an image, of names that it is judged for: COCO results, ``category_id`` = class position.

        Raises:
            ValueError: an entry is malformed; the message names it.
        """
        predictions, scored = [], scored_classes(record)
        for entry in self._file.of(record.image_id):
            with _named(entry.name):
                found = self._find(entry, record.size)
            if scored is None or found["category_id"] in scored:
                predictions.append(found)
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
        """``detection/*``."""
        return {f"detection/{name}": value for name, value in self._ap.compute().items()}

    def tables(self) -> dict[str, Table]:
        """``detection/per_class`` and ``detection/per_size``."""
        return detection_tables(self._ap, self._vocabulary.names)


class ReferringScorer(Scorer):
    """Every sentence by itself: ``referring/{KIND,all}/*`` and ``grec/*`` of masks, ``rec/Acc@0.5`` of boxes."""

    def __init__(self, file: ReferringFile) -> None:
        self._single, self._general, self._boxes = ReferringIoU(), ReferringIoU(), BoxAccuracy(0.5)
        self._file = file
        super().__init__(file, {"single": self._single, "general": self._general, "boxes": self._boxes})

    def update(self, record: Record) -> None:
        """Add all expressions about an image."""
        for expression in record.expressions:
            key = self._file.key(record.image_id, expression)
            self.used.add(key)
            self._add(record, expression, entry=self._file[key])

    def _add(self, record: Record, expression: Expression, *, entry: Entry) -> None:
        key, single = (record.image_id, expression.text, expression.id), len(expression.targets) == 1
        targets = [record.annotations[place] for place in expression.targets]
        if single and self._file.boxes:
            box = entry.values.get("box")
            self._boxes.update(box, targets[0].box, kind=expression.kind, image=record.image_id, key=key)
        if not self._file.masks or any(target.segmentation is None for target in targets):
            return
        code, truth = entry.values.get("segmentation"), true_mask(record, expression)
        with _named(entry.name):
            mask = None if code is None else decode_mask(code, record.size)
        if single:
            self._single.update(mask, truth, kind=expression.kind, image=record.image_id, key=key)
        self._general.update(mask, truth, kind=expression.kind, image=record.image_id, key=key)

    def compute(self) -> dict[str, float]:
        """``referring/*``, ``grec/*`` and ``rec/*``."""
        single = {name: value for name, value in self._single.compute().items() if name not in ("N-acc", "T-acc")}
        out = {f"referring/all/{name}": value for name, value in single.items()}
        for kind, result in self._single.by_kind().items():
            if kind:
                out |= {f"referring/{kind}/{name}": result[name] for name in ("cIoU", "gIoU")}
        out |= {f"grec/{name}": value for name, value in self._general.compute().items()}
        return out | {f"rec/{name}": value for name, value in self._boxes.compute().items()}

    def tables(self) -> dict[str, Table]:
        """``referring``, ``grec`` and ``rec``, each with ``/per_size`` and ``/per_kind``."""
        return expression_tables({"referring": self._single, "grec": self._general, "rec": self._boxes})

    def image_sums(self) -> dict[str, Sums]:
        """``referring/*``, ``grec/*`` and ``rec/*``."""
        return dict(expression_sums(self._single, self._general, boxes=self._boxes))


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Errors inside say where they come from."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
