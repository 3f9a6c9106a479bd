"""Box prompts: one instance per given box, in the given order.

Source: OpenSeeD (conditioned mask decoding).
"""

from dataclasses import replace

import torch

from mvplm.postprocess.instances import make_masks
from mvplm.postprocess.settings import PostprocessSettings
from mvplm.postprocess.view import view_image
from mvplm.structures.batch import Batch
from mvplm.structures.outputs import PerceptionOutput
from mvplm.structures.results import Instances, Perception


def answer_boxes(output: PerceptionOutput, batch: Batch, *, image: int, settings: PostprocessSettings) -> Perception:
    """The refined box, mask, name and score of every box prompt of one image.

    The name is the given one, else the likeliest of the list; score = its probability x mask score. For a sentence it
    is the probability that the box fits.

    Args:
        output: with ``prompted`` predictions. batch: with ``box_prompts``. image: row. settings: of the scores.

    Raises:
        ValueError: there are no box prompts.
    """
    prompted, prompts = output.prompted, batch.box_prompts
    if prompted is None or prompts is None:
        raise ValueError("task 'boxes' needs box prompts")
    masks = prompted.mask_embeddings
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
        probabilities = view.name_probabilities(settings)[chosen]
        given = prompts.labels[image, chosen]
        labels = torch.where(given < 0, probabilities.argmax(-1), given)
        scores = probabilities.gather(1, labels[:, None])[:, 0]
    found = None
    if view.has_masks:
        full = make_masks(view, chosen, chunk=settings.mask_chunk)
        found, scores = full.masks, scores * full.scores
    names = [view.names[label] for label in labels.tolist()]
    instances = Instances(view.pixel_boxes(chosen).cpu(), scores.cpu(), names, labels.cpu(), found)
    return Perception(size=view.size, task="boxes", query=list(view.names), instances=instances)
