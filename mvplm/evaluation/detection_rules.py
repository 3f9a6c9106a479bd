"""By which rules the finds of a data set are counted: those of COCO, or those of LVIS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DetectionRules:
    """What the official evaluations of data sets do differently.

    Attributes:
        max_detections: finds that count per picture: the best of each class (COCO), or of all classes together.
        whole_picture: the limit is one for all classes together, those nobody is judged for included (LVIS).
        per_class_limit: also give "fixed" average precision: no limit per picture, but only so many best finds of a
            class over the whole set (10 000 in Dave et al., "Evaluating Large-Vocabulary Object Detectors", 2021).
        frequencies: "r", "c", "f" ... -> positions of classes with an average precision of their own, ``APr`` ...

    Raises:
        ValueError: a limit below 1.
    """

    max_detections: int = 100
    whole_picture: bool = False
    per_class_limit: int | None = None
    frequencies: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("max_detections", "per_class_limit"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise ValueError(f"{name} must be at least 1, got {limit}")
