"""Evaluation: exact metrics with ``update / compute / reset``, evaluators that feed them, and the report at the end."""

from mvplm.evaluation.box_accuracy import BoxAccuracy
from mvplm.evaluation.detection import DetectionAP
from mvplm.evaluation.evaluators import Evaluator, make_evaluator
from mvplm.evaluation.metric import Metric
from mvplm.evaluation.panoptic import PanopticQuality
from mvplm.evaluation.referring import ReferringIoU
from mvplm.evaluation.report import metrics_table, write_metrics
from mvplm.evaluation.semantic import SemanticIoU

__all__ = [
    "BoxAccuracy",
    "DetectionAP",
    "Evaluator",
    "Metric",
    "PanopticQuality",
    "ReferringIoU",
    "SemanticIoU",
    "make_evaluator",
    "metrics_table",
    "write_metrics",
]
