"""Box prompts as decoder queries: the denoising path at inference, without noise.

Source: OpenSeeD (conditioned mask decoding); MVP-LM, section 3.4 (denoising queries carry the name's embedding).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.models.queries import Queries
from mvplm.structures import PromptedBoxes

_EPS = 1e-5


@dataclass
class BoxQueries:
    """P queries per image, one for each box; each is a group of its own, so no box changes the answer to another.

    Attributes:
        queries: content (B, P, C) and reference logits (B, P, 4); zeros where a row has fewer boxes.
        groups: P. slots: 1.
    """

    queries: Queries
    groups: int
    slots: int = 1

    def __len__(self) -> int:
        return self.groups * self.slots


def box_queries(prompts: PromptedBoxes, text: Tensor, *, anything: Tensor | None) -> BoxQueries:
    """Queries of box prompts.

    Args:
        prompts: boxes, in the decoder's format, and the names in them.
        text: (B, K, C) embeddings of the names.
        anything: (B, C) embedding for boxes without a name; needed when there are such boxes.

    Raises:
        ValueError: a box has no name and there is no embedding for that.
    """
    boxes, labels = prompts.boxes, prompts.labels
    count = boxes.shape[1]
    places = torch.arange(count, device=boxes.device)
    filled = places < torch.tensor(prompts.counts, device=boxes.device)[:, None]
    named = text.gather(1, labels.clamp(min=0)[..., None].expand(-1, -1, text.shape[-1]))
    if anything is None and prompts.nameless:
        raise ValueError("a box without a name needs the embedding of the word that stands for anything")
    content = named if anything is None else torch.where((labels < 0)[..., None], anything[:, None], named)
    references = torch.logit(boxes.float(), eps=_EPS)
    return BoxQueries(Queries(content * filled[..., None], references * filled[..., None]), count)
