"""Data: the catalog of datasets, records made into samples and batches, mixing of tasks, checking of files."""

from mvplm.data.catalog import get_dataset, list_datasets, register_dataset
from mvplm.data.collate import collate
from mvplm.data.evaluation import EvaluationBatch, evaluation_batches
from mvplm.data.images import load_image
from mvplm.data.mapper import SampleMapper
from mvplm.data.mixing import MixSource, TaskMixture
from mvplm.data.transforms import resize_image

__all__ = [
    "EvaluationBatch",
    "MixSource",
    "SampleMapper",
    "TaskMixture",
    "collate",
    "evaluation_batches",
    "get_dataset",
    "list_datasets",
    "load_image",
    "register_dataset",
    "resize_image",
]
