"""Box prompts: one instance per given box, in the given order.

Source: OpenSeeD (conditioned mask decoding).
"""

from dataclasses import replace

import torch
from torch import Tensor

from mvplm.postprocess.instances import make_masks
from mvplm.postprocess.settings import PostprocessSettings
from mvplm.postprocess.view import ImageView, view_image
from mvplm.structures.batch import Batch
from mvplm.structures.boxes import BoxFormat, box_iou, convert_boxes
from mvplm.structures.outputs import PerceptionOutput
from mvplm.structures.results import Instances, Perception


def answer_boxes(output: PerceptionOutput, batch: Batch, *, image: int, settings: PostprocessSettings) -> Perception:
    """The refined box, mask, name and score of every box prompt of one image.

    The name is the given one, else the likeliest of the list (see ``PostprocessSettings.box_names``); score = its
    probability x mask score, or the mask score alone where no names are offered. For a sentence it is the probability
    that the box fits.

    Args:
        output: with ``prompted`` predictions. batch: with ``box_prompts``. image: row. settings: of the scores.

    Raises:
        ValueError: there are no box prompts.
    """
    prompted, prompts = output.prompted, batch.box_prompts
    if prompted is None or prompts is None:
        raise ValueError("task 'boxes' needs box prompts")
    masks = prompted.mask_embeddings
    ordinary = view_image(output, batch, image=image)
    output = replace(
        output,
        logits=prompted.logits[None],
        boxes=prompted.boxes[None],
        mask_embeddings=None if masks is None else masks[None],
    )
    view = view_image(output, batch, image=image)
    chosen = torch.arange(prompts.counts[image], device=view.boxes.device)
    if output.family == "sentence":
        scores, labels = view.logits[chosen, 0].sigmoid(), torch.zeros_like(chosen)
    else:
        given = prompts.labels[image, chosen]
        own = view.name_probabilities(settings)[chosen]
        free = _free_probabilities(own, view.boxes[chosen], ordinary=ordinary, settings=settings)
        probabilities = torch.where(given[:, None] < 0, free, own)
        labels = torch.where(given < 0, probabilities.argmax(-1), given)
        scores = probabilities.gather(1, labels[:, None])[:, 0]
    found = None
    if view.has_masks:
        full = make_masks(view, chosen, chunk=settings.mask_chunk)
        found, scores = full.masks, scores * full.scores
    names = [view.names[label] for label in labels.tolist()]
    instances = Instances(view.pixel_boxes(chosen).cpu(), scores.cpu(), names, labels.cpu(), found)
    return Perception(size=view.size, task="boxes", query=list(view.names), instances=instances)


def _free_probabilities(own: Tensor, boxes: Tensor, *, ordinary: ImageView, settings: PostprocessSettings) -> Tensor:
    """(P, K) how likely each name is for boxes (P, 4) CXCYWH_NORM without one; ``own`` (P, K) is what they say."""
    if len(ordinary.names) == 1:
        return torch.ones_like(own)
    if settings.box_names == "own":
        return own
    corners = [
        convert_boxes(each, BoxFormat.CXCYWH_NORM, target=BoxFormat.XYXY_NORM) for each in (boxes, ordinary.boxes)
    ]
    overlap = box_iou(corners[0], corners[1])
    return (overlap[:, :, None] * ordinary.name_probabilities(settings)).amax(1)
