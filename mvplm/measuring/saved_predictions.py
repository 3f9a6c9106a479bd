"""What a model answers during an evaluation, written as it comes, in files that can be scored again without it."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from mvplm.data.panoptic_files import PanopticAnswer, PanopticWriter
from mvplm.data.prediction_writers import DetectionWriter, ReferringWriter, SemanticWriter
from mvplm.data.streamed_list import Share
from mvplm.evaluation.evaluators import DetectionEvaluator, Evaluator
from mvplm.evaluation.referring_evaluator import ReferringEvaluator
from mvplm.structures import Expression, Perception, Record, Vocabulary


class PredictionSaver:
    """Writes answers into a folder; a ``with`` block, whose files appear when it ends without an error.

    Boxes of phrases are not written.

    Args:
        folder: for ``panoptic.json`` with ``panoptic/*.png``, ``semantic.json``, ``detections.json`` or
            ``expressions.json``, whichever the evaluator asks for.
        evaluator: of the set.
        vocabulary: of the set; its ids are written. None for expressions.
        share: the process that writes.

    Attributes:
        files: metric (see ``mvplm.measuring.scoring.METRICS``) -> file.
    """

    def __init__(
        self, folder: str | Path, evaluator: Evaluator, *, vocabulary: Vocabulary | None = None, share: Share
    ) -> None:
        folder = Path(folder)
        self._evaluator, self._vocabulary, self._share = evaluator, vocabulary, share
        self._panoptic: PanopticWriter | None = None
        self._semantic: SemanticWriter | None = None
        self._detections: DetectionWriter | None = None
        self._expressions: ReferringWriter | None = None
        self._opened = ExitStack()
        self.files: dict[str, Path] = {}
        if isinstance(evaluator, ReferringEvaluator):
            self.files["referring"] = folder / "expressions.json"
            self._expressions = self._opened.enter_context(ReferringWriter(self.files["referring"], share=share))
            return
        if "panoptic" in evaluator.tasks:
            self.files["panoptic"] = folder / "panoptic.json"
            self._panoptic = self._opened.enter_context(
                PanopticWriter(self.files["panoptic"], _categories(self._names), share=share)
            )
        if "semantic" in evaluator.tasks:
            self.files["semantic"] = folder / "semantic.json"
            self._semantic = self._opened.enter_context(SemanticWriter(self.files["semantic"], share=share))
        if isinstance(evaluator, DetectionEvaluator):
            self.files["detection"] = folder / "detections.json"
            self._detections = self._opened.enter_context(DetectionWriter(self.files["detection"], share=share))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def write(
        self,
        record: Record,
        answers: Mapping[str, Perception],
        *,
        expression: Expression | None = None,
        place: int = 0,
    ) -> None:
        """Write the answers about one record, or about one expression of it.

        Args:
            record: the image. answers: by the evaluator's tasks. expression: the one that was asked.
            place: of the record in its data set; must not fall.
        """
        if self._expressions is not None and isinstance(self._evaluator, ReferringEvaluator):
            assert expression is not None
            answer = self._evaluator.answer(answers)
            self._expressions.write(record.image_id, expression, answer=answer, place=place)
            return
        if not self.files:  # phrases, which have no file format
            return
        ids = self._names.dataset_ids
        if self._panoptic is not None and (panoptic := answers["panoptic"].panoptic) is not None:
            segments = [{"id": s.id, "category_id": ids[s.class_index]} for s in panoptic.segments]
            found = PanopticAnswer(panoptic.segment_map.cpu().numpy(), segments)
            self._panoptic.add(record.image_id, found, place=place)
        if self._semantic is not None and (semantic := answers["semantic"].semantic) is not None:
            class_map = semantic.class_map.cpu().numpy()
            self._semantic.write(record.image_id, class_map, category_ids=ids, place=place)
        if self._detections is not None and isinstance(self._evaluator, DetectionEvaluator):
            finds = self._evaluator.finds(answers)
            known = [{**find, "category_id": ids[find["category_id"]]} for find in finds]
            self._detections.write(record.image_id, known, place=place)

    @property
    def _names(self) -> Vocabulary:
        assert self._vocabulary is not None
        return self._vocabulary


def _categories(vocabulary: Vocabulary) -> list[dict[str, object]]:
    rows = zip(vocabulary.dataset_ids, vocabulary.names, vocabulary.isthing, strict=True)
    return [{"id": id_, "name": name, "isthing": int(isthing)} for id_, name, isthing in rows]
