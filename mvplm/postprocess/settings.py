"""Every threshold of post-processing, with the paper's values as defaults."""

from dataclasses import dataclass

from mvplm.structures.choices import check_choice

_CLASSIFIERS = ("softmax_ce", "sigmoid_focal")
_BOX_NAMES = ("overlap", "own")
_BOX_SCORES = ("class", "class_times_mask")


@dataclass(frozen=True)
class PostprocessSettings:
    """How predictions become results.

    Attributes:
        classifier: ``softmax_ce`` or ``sigmoid_focal`` word heads.
        top_k: most (query, name) pairs kept for instances and boxes, before any mask is made.
        score_threshold: instances and boxes below it are left out.
        things_before_top_k: whether names of stuff are removed before (True) or after the top k.
        box_score: ``class``, or ``class_times_mask`` to weigh boxes by how sure their masks are.
        box_tasks_with_masks: whether detection and grounding return masks too.
        panoptic_score, focal_panoptic_score: lowest score of a query in the panoptic map, per classifier.
        focal_temperature: sharpness of the scores that compete for pixels with ``sigmoid_focal`` heads.
        overlap: share of its mask a query must own to become a segment.
        mask_threshold: probability from which a pixel belongs to a query's mask in the panoptic map.
        restrict_kind: whether stuff queries may only say stuff names and the others only things.
        gres_threshold: score from which a query is part of the answer to a sentence.
        gres_fallback_top1: whether the best query answers when none reaches the threshold.
        mask_chunk: masks enlarged at the same time.
        box_names: what names a box prompt without a name: the ordinary queries by their ``overlap`` with it, or its
            ``own`` query, which must have learned to do so.

    Raises:
        ValueError: unknown choices, counts below 1, or thresholds outside [0, 1].

    Source: MVP-LM, section 4; Mask2Former; OpenSeeD.
    """

    classifier: str = "softmax_ce"
    top_k: int = 100
    score_threshold: float = 0.0
    things_before_top_k: bool = True
    box_score: str = "class"
    box_tasks_with_masks: bool = False
    panoptic_score: float = 0.1
    focal_panoptic_score: float = 0.25
    focal_temperature: float = 0.06
    overlap: float = 0.8
    mask_threshold: float = 0.5
    restrict_kind: bool = False
    gres_threshold: float = 0.6
    gres_fallback_top1: bool = False
    mask_chunk: int = 16
    box_names: str = "overlap"

    def __post_init__(self) -> None:
        check_choice("classifier", self.classifier, choices=_CLASSIFIERS)
        check_choice("box_score", self.box_score, choices=_BOX_SCORES)
        check_choice("box_names", self.box_names, choices=_BOX_NAMES)
        for name in ("top_k", "mask_chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.focal_temperature <= 0:
            raise ValueError(f"focal_temperature must be positive, got {self.focal_temperature}")
        thresholds = ("score_threshold", "panoptic_score", "focal_panoptic_score", "overlap", "mask_threshold")
        for name in (*thresholds, "gres_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
