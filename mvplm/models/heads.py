"""Prediction heads, shared by all prediction sets: boxes, masks and similarity to words or a sentence.

Source: MVP-LM, section 3.4; DETR (boxes), Mask2Former (masks).
"""

import math

import torch
from torch import Tensor, nn

from mvplm.models.layers import MLP

_PRIOR_LOGIT = -math.log(99.0)


class BoxHead(MLP):
    """Three-layer perceptron from states to box logits (..., 4); float32 also under autocast; starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 4, layers=3)
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        """Changes (..., 4) float32 of box logits for states (..., C)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Heads(nn.Module):
    """Box, mask, word and sentence heads.

    Args:
        width: C of the decoder states.
        mask_width: channels of the mask features.
        text_width: width of the text embeddings.
        focal: independent sigmoid scores per name with a learned bias instead of a softmax with no-object column.
    """

    def __init__(self, width: int, *, mask_width: int, text_width: int, focal: bool = False) -> None:
        super().__init__()
        self.box = BoxHead(width)
        self.mask = MLP(width, width, mask_width, layers=3)
        self.word = MLP(width, width, text_width, layers=2)
        self.sentence = MLP(width, width, text_width, layers=2)
        self.focal_bias = nn.Parameter(torch.full((1,), _PRIOR_LOGIT)) if focal else None

    def mask_embeddings(self, hidden: Tensor) -> Tensor:
        """(..., Q, mask width) vectors whose dot products with the mask features are mask logits."""
        return self.mask(hidden)

    def word_logits(
        self,
        hidden: Tensor,
        text: Tensor,
        *,
        name_mask: Tensor,
        no_object: Tensor | None = None,
        no_object_bias: Tensor | None = None,
    ) -> Tensor:
        """Logits (..., B, Q, K + 1) float32, last column no object; padded names are -inf. K columns with ``focal``.

        Args:
            hidden: (B, Q, C) or (L, B, Q, C) normed decoder states.
            text: (B, K, text width) embeddings of the names.
            name_mask: (B, K) bool, False on padded names.
            no_object: (text width,) embedding of "nothing", or (B, text width), one per image; not used with ``focal``.
            no_object_bias: its bias, one value; None: 0.

        Raises:
            ValueError: when the softmax form gets no ``no_object``.
        """
        visual = self.word(hidden)
        with torch.autocast(visual.device.type, enabled=False):
            visual, text = visual.float(), text.float()
            if self.focal_bias is not None:
                logits = visual @ text.transpose(1, 2) + self.focal_bias
                return logits.masked_fill(~name_mask[:, None], float("-inf"))
            if no_object is None:
                raise ValueError("word logits need the no-object embedding")
            nothing = no_object.float().reshape(-1, 1, no_object.shape[-1])
            candidates = torch.cat([text, nothing.expand(len(text), 1, -1)], dim=1)
            logits = visual @ candidates.transpose(1, 2)
            missing = torch.cat([~name_mask, name_mask.new_zeros(len(text), 1)], dim=1)
            logits = logits.masked_fill(missing[:, None], float("-inf"))
            if no_object_bias is None:
                return logits
            bias = torch.cat([no_object_bias.new_zeros(text.shape[1]), no_object_bias.reshape(1)])
            return logits + bias.float()

    def sentence_logits(self, hidden: Tensor, text: Tensor) -> Tensor:
        """Logits (..., B, Q, 1) float32 of hidden (..., B, Q, C) against one expression (B, 1, text width) each."""
        visual = self.sentence(hidden)
        with torch.autocast(visual.device.type, enabled=False):
            return visual.float() @ text.float().transpose(1, 2)
