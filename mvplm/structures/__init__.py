"""Structures: the nouns every room shares. Boxes, masks, vocabularies, records, samples, batches, outputs, results."""

from mvplm.structures.batch import Batch, FurtherPrompts
from mvplm.structures.box_prompts import BoxPrompts, PromptedBoxes
from mvplm.structures.boxes import BoxFormat, convert_boxes
from mvplm.structures.outputs import DenoisingOutput, PerceptionOutput, PredictionSet
from mvplm.structures.record import Annotation, Exchange, Expression, Record
from mvplm.structures.results import Instances, PanopticMap, Perception, SegmentInfo, SemanticMap
from mvplm.structures.sample import RenderedPrompt, Sample, Target
from mvplm.structures.vocabulary import Vocabulary

__all__ = [
    "Annotation",
    "Batch",
    "BoxFormat",
    "BoxPrompts",
    "DenoisingOutput",
    "Exchange",
    "Expression",
    "FurtherPrompts",
    "Instances",
    "PanopticMap",
    "Perception",
    "PerceptionOutput",
    "PredictionSet",
    "PromptedBoxes",
    "Record",
    "RenderedPrompt",
    "Sample",
    "SegmentInfo",
    "SemanticMap",
    "Target",
    "Vocabulary",
    "convert_boxes",
]
