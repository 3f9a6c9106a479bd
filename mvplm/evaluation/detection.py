"""Average precision of boxes and masks, with the numbers of pycocotools and memory that hardly grows."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mvplm.evaluation import detection_intervals, detection_tables
from mvplm.evaluation.accumulate import accumulate
from mvplm.evaluation.detection_rules import DetectionRules
from mvplm.evaluation.detection_tables import CalibrationBin, Curve
from mvplm.evaluation.intervals import Interval
from mvplm.evaluation.match_table import MatchTable
from mvplm.evaluation.matching import Matcher, TrueObject
from mvplm.evaluation.metric import Metric

__all__ = ["DetectionAP", "TrueObject"]


class DetectionAP(Metric):
    """Average precision by the rules of COCO or LVIS.

    A picture is matched when it is added, and only scores, outcomes and counts stay: about 30 bytes per find.

    The numbers are those of one pycocotools run over the whole set, whatever processes saw the pictures and in which
    order: equal scores of different pictures stand in the order of the keys (pycocotools' order of image ids), those
    of one picture in the order they were given. Pictures without a key stand last, in the order they were added, so
    among them merging in another order can change which of two equal scores comes first.

    Args:
        num_classes: K.
        classes: positions to average over; every class when None.
        masks: also score masks.
        rules: what counts.
    """

    def __init__(
        self,
        num_classes: int,
        classes: Sequence[int] | None = None,
        *,
        masks: bool = True,
        rules: DetectionRules | None = None,
    ) -> None:
        super().__init__()
        self.num_classes, self.masks = num_classes, masks
        self.rules = DetectionRules() if rules is None else rules
        self.classes = list(range(num_classes)) if classes is None else list(classes)
        self.kinds = ("box", "mask") if masks else ("box",)
        self._matcher = Matcher(frozenset(self.classes), self.kinds, self.rules)

    def update(
        self,
        predictions: Sequence[Mapping[str, Any]],
        truth: Sequence[TrueObject],
        *,
        size: tuple[int, int],
        key: Any = None,
        scored: Collection[int] | None = None,
        incomplete: Collection[int] = (),
    ) -> None:
        """Add one image.

        Args:
            predictions: COCO result entries (``category_id`` = class position, ``bbox`` XYWH pixels, ``score``,
                ``segmentation`` RLE when masks are scored); their ``image_id`` is not used.
            truth: objects of the image.
            size: (H, W) of the image.
            key: identifies the sample across ranks.
            scored: classes that finds are judged for in this image; None for all of them. Other finds still count
                towards a limit for all classes together.
            incomplete: classes of which not all objects are marked: finds that match none are neither right nor wrong.

        Raises:
            ValueError: masks are scored and a find or a true object has none.
        """
        if self.masks:
            missing = [p for p in predictions if "segmentation" not in p]
            if missing:
                raise ValueError(f"{len(missing)} predictions have no 'segmentation'; pass masks=False to score boxes")
        self._add(key, self._matcher.match(predictions, truth, size=size, scored=scored, incomplete=incomplete))

    def compute(self) -> dict[str, float]:
        """Percent: ``box_`` and with masks ``mask_`` before ``AP``, ``AP50``, ``AP75``, ``APs``, ``APm``, ``APl``,
        ``AR1``, ``AR10``, ``AR100``, ``ARs``, ``ARm``, ``ARl``, the twelve numbers of pycocotools.

        With a limit for all classes together there is one recall, ``AR300``; with frequencies there are ``APr`` ...;
        with a limit per class ``AP_fixed``, ``APr_fixed`` ... Sizes and frequencies without true objects are left out.
        """
        return self.compute_groups({"": self.classes})[""]

    def compute_groups(self, groups: Mapping[str, Sequence[int]]) -> dict[str, dict[str, float]]:
        """What :meth:`compute` gives, over the classes of each group."""
        table = self.table()
        out: dict[str, dict[str, float]] = {group: {} for group in groups}
        for kind in self.kinds:
            found = accumulate(table, self.classes, kind=kind, rules=self.rules)
            for group, classes in groups.items():
                results = found.results(classes, rules=self.rules)
                out[group] |= {f"{kind}_{name}": value for name, value in results.items()}
        return out

    def table(self) -> MatchTable:
        """Matches of all pictures of all processes, by class."""
        return MatchTable(list(self._ordered().values()), kinds=self.kinds)

    def per_class(self) -> dict[int, dict[str, float]]:
        """Position -> ``objects`` (count), ``box_AP``, ``box_AP50`` ..., for classes with true objects."""
        return detection_tables.per_class(self.table(), self.classes, kinds=self.kinds, rules=self.rules)

    def per_size(self, classes: Sequence[int] | None = None) -> dict[str, dict[str, float]]:
        """ "all", "small", "medium", "large" -> ``objects`` (count), ``box_AP``, ``box_AR`` ...

        A size without true objects has the count alone.

        Args:
            classes: positions; all that are scored when None.
        """
        chosen = self.classes if classes is None else classes
        return detection_tables.per_size(self.table(), chosen, kinds=self.kinds, rules=self.rules)

    def curves(self, class_index: int, *, iou: float = 0.5) -> dict[str, Curve]:
        """ "box", "mask" -> precision at 101 recalls of one class.

        Raises:
            ValueError: ``iou`` is not one of 0.5, 0.55 ... 0.95, or no such class is scored.
        """
        if class_index not in self.classes:
            raise ValueError(f"class {class_index} is not scored; there are {len(self.classes)} of {self.num_classes}")
        return detection_tables.curves(self.table(), class_index, kinds=self.kinds, iou=iou)

    def calibration(self, *, bins: int = 10, iou: float = 0.5) -> dict[str, list[CalibrationBin]]:
        """ "box", "mask" -> how many finds of each range of scores are right, over all classes.

        Raises:
            ValueError: ``iou`` is not one of 0.5, 0.55 ... 0.95, or ``bins`` is below 1.
        """
        return detection_tables.calibration(self.table(), kinds=self.kinds, bins=bins, iou=iou)

    def intervals(
        self, classes: Sequence[int] | None = None, *, draws: int = 200, level: float = 0.95, seed: int = 0
    ) -> dict[str, Interval]:
        """``box_AP``, ``box_AP50``, ``box_AP75`` ... with intervals over pictures drawn with replacement.

        Args:
            classes: positions to average over; all that are scored when None.
            draws: bootstrap samples. level: share of the draws inside, in (0, 1). seed: of the generator.

        Raises:
            ValueError: ``level`` or ``draws`` out of range, or no picture.
        """
        chosen = self.classes if classes is None else classes
        return detection_intervals.intervals(
            self.table(), chosen, kinds=self.kinds, draws=draws, level=level, seed=seed
        )

    def keys(self) -> list[Any]:
        """Keys of the pictures in the order of :meth:`table`."""
        return list(self._ordered())


def paired_intervals(
    first: DetectionAP,
    second: DetectionAP,
    *,
    classes: tuple[Sequence[int], Sequence[int]] | None = None,
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of ``second - first`` in points; each draw takes the same pictures for both.

    Args:
        first, second: what is compared.
        classes: positions to average over on each side; all that are scored when None.
        draws: bootstrap samples. level: share of the draws inside, in (0, 1). seed: of the generator.

    Raises:
        ValueError: other pictures, ``level`` or ``draws`` out of range, or no picture.
    """
    keys = (set(first.keys()), set(second.keys()))
    if missing := keys[0] ^ keys[1]:
        some = ", ".join(sorted(map(str, missing))[:3])
        raise ValueError(
            f"paired differences need the same pictures on both sides; {len(missing)} are on one only: {some} ..."
        )
    kinds = [kind for kind in first.kinds if kind in second.kinds]
    return detection_intervals.paired_intervals(
        (first.table(), second.table()),
        (first.classes, second.classes) if classes is None else classes,
        kinds=kinds,
        draws=draws,
        level=level,
        seed=seed,
    )
