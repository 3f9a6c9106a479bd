"""Post-processing: predictions and original sizes become panoptic and semantic maps, instances and answers."""

from mvplm.postprocess.settings import PostprocessSettings
from mvplm.postprocess.tasks import SENTENCE_TASKS, WORD_TASKS, postprocess

__all__ = ["SENTENCE_TASKS", "WORD_TASKS", "PostprocessSettings", "postprocess"]
