"""The door of post-processing: a batch of predictions and a task in, one result per image out."""

import torch

from mvplm.postprocess.instances import find_boxes, find_instances
from mvplm.postprocess.panoptic import panoptic_map
from mvplm.postprocess.prompted import answer_boxes
from mvplm.postprocess.referring import SentenceAnswer, answer_all, answer_best, answer_box
from mvplm.postprocess.semantic import semantic_map
from mvplm.postprocess.settings import PostprocessSettings
from mvplm.postprocess.view import ImageView, view_image
from mvplm.structures.batch import Batch
from mvplm.structures.choices import check_choice
from mvplm.structures.outputs import PerceptionOutput
from mvplm.structures.results import Perception

WORD_TASKS = ("panoptic", "semantic", "instance", "detection", "grounding")
SENTENCE_TASKS = ("referring", "res", "gres", "rec")
BOX_TASK = "boxes"
_MASK_TASKS = ("panoptic", "semantic", "instance")


@torch.no_grad()
def postprocess(
    output: PerceptionOutput, batch: Batch, *, task: str, settings: PostprocessSettings | None = None
) -> list[Perception]:
    """Results of every image, on the host, in pixels of the original images.

    Args:
        output: predictions; only the last set is read.
        batch: names, original sizes.
        task: ``panoptic``, ``semantic``, ``instance`` (with masks), ``detection``, ``grounding`` (boxes) for words;
            ``referring`` or ``gres`` (everything above the threshold), ``res`` (best mask), ``rec`` (best box) for
            a sentence; ``boxes`` for box prompts of either kind.
        settings: thresholds; the paper's when None.

    Raises:
        ValueError: unknown task, a task of the other family, or a task that needs masks and gets none.
    """
    check_choice("task", task, choices=(*WORD_TASKS, *SENTENCE_TASKS, BOX_TASK))
    settings = PostprocessSettings() if settings is None else settings
    if task == BOX_TASK:
        return [answer_boxes(output, batch, image=image, settings=settings) for image in range(len(batch))]
    family = "word" if task in WORD_TASKS else "sentence"
    if output.family != family:
        raise ValueError(f"task {task!r} needs {family} predictions, got {output.family}")
    if task in _MASK_TASKS and (output.mask_features is None or output.mask_embeddings is None):
        raise ValueError(f"task {task!r} needs masks, but the predictions have boxes only")
    views = [view_image(output, batch, image=image) for image in range(len(batch))]
    return [_perceive(view, task=task, settings=settings) for view in views]


def _perceive(view: ImageView, *, task: str, settings: PostprocessSettings) -> Perception:
    result = Perception(size=view.size, task=task, query=list(view.names))
    if task == "panoptic":
        result.panoptic = panoptic_map(view, settings)
    elif task == "semantic":
        result.semantic = semantic_map(view, settings)
    elif task == "instance":
        result.instances = find_instances(view, settings)
    elif task in WORD_TASKS:
        result.instances = find_boxes(view, settings)
    else:
        answer = _answer(view, task=task, settings=settings)
        result.instances = answer.instances
        result.presence = answer.presence
        result.no_target = answer.no_target
    return result


def _answer(view: ImageView, *, task: str, settings: PostprocessSettings) -> SentenceAnswer:
    if task == "rec":
        return answer_box(view)
    if task == "res":
        return answer_best(view, settings)
    return answer_all(view, settings)
