"""Evaluation: exact metrics with ``update / compute / reset``, evaluators that feed them, and the report at the end."""

from mvplm.evaluation import protocols
from mvplm.evaluation.box_accuracy import BoxAccuracy
from mvplm.evaluation.class_sums import ClassMean, ClassSums
from mvplm.evaluation.comparable import by_protocol, check_comparable
from mvplm.evaluation.detection import DetectionAP, paired_intervals
from mvplm.evaluation.detection_rules import DetectionRules
from mvplm.evaluation.evaluators import Evaluator, make_evaluator
from mvplm.evaluation.grounding import GroundingRecall
from mvplm.evaluation.intervals import ImageSums, Interval, Sums, bootstrap, by_image, paired_bootstrap
from mvplm.evaluation.metric import Metric
from mvplm.evaluation.panoptic import PanopticQuality
from mvplm.evaluation.protocols import Protocol
from mvplm.evaluation.referring import ReferringIoU
from mvplm.evaluation.report import metrics_table, print_metrics, write_metrics
from mvplm.evaluation.semantic import SemanticIoU
from mvplm.evaluation.set_averages import set_averages
from mvplm.evaluation.tables import Table, write_tables

__all__ = [
    "BoxAccuracy",
    "ClassMean",
    "ClassSums",
    "DetectionAP",
    "DetectionRules",
    "Evaluator",
    "GroundingRecall",
    "ImageSums",
    "Interval",
    "Metric",
    "PanopticQuality",
    "Protocol",
    "ReferringIoU",
    "SemanticIoU",
    "Sums",
    "Table",
    "bootstrap",
    "by_image",
    "by_protocol",
    "check_comparable",
    "make_evaluator",
    "metrics_table",
    "paired_bootstrap",
    "paired_intervals",
    "print_metrics",
    "protocols",
    "set_averages",
    "write_metrics",
    "write_tables",
]
