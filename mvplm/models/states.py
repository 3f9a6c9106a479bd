"""What the parts of MVP-LM hand to each other: visual features, a generated response, a perception."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.models.names import NameStates
from mvplm.models.pixel_decoder import PixelMemory
from mvplm.structures import PerceptionOutput


@dataclass
class VisualFeatures:
    """What is computed once per image and serves every question about it.

    Attributes:
        tokens: (B, V, D) visual tokens for the language model.
        pixel: multi-scale memory and mask features of the pixel decoder.
    """

    tokens: Tensor
    pixel: PixelMemory

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, rows: Sequence[int]) -> "VisualFeatures":
        """The features of the given rows, repeated as often as they are named (one image, several prompts)."""
        index = torch.tensor(list(rows), device=self.tokens.device)
        return VisualFeatures(self.tokens.index_select(0, index), self.pixel.select(rows))


@dataclass
class Generation:
    """A response written by the language model.

    Attributes:
        caption_ids: B lists of token ids, without ``<PER>``, end token and announcing tail.
        forced: B flags, True where the model did not write ``<PER>`` itself.
        summary: (B, D) hidden state of ``<PER>``; None for captions.
        names: embeddings of names or expression; None for captions.
    """

    caption_ids: list[list[int]]
    forced: list[bool]
    summary: Tensor | None
    names: NameStates | None


@dataclass
class Perceived:
    """The decoder's output and the response that came before it.

    Attributes:
        output: one prediction set (L = 1).
        caption_ids: B lists of token ids, or None when the response was skipped.
        forced: B flags, True where ``<PER>`` was appended instead of written.
    """

    output: PerceptionOutput
    caption_ids: list[list[int]] | None
    forced: list[bool]
