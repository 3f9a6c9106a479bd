"""Names in prompts: where they stand, and their embeddings. Source: MVP-LM, section 3.3."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.models.text import TextEmbedder
from mvplm.structures import Batch, FurtherPrompts


@dataclass
class NameSpans:
    """Where names stand in R prompts; (0, 0) for those of other prompts.

    Attributes:
        names: (R, K, 2) int64.
        anything: (R, 2) int64 of the word that stands for anything, or None.
        no_object: (R, 2) int64 of the name that stands for no object, or None.
    """

    names: Tensor
    anything: Tensor | None = None
    no_object: Tensor | None = None

    @classmethod
    def of(cls, prompts: Batch | FurtherPrompts) -> "NameSpans":
        """Those of prompts that stand together."""
        return cls(prompts.name_spans, prompts.object_spans, prompts.no_object_spans)

    def join(self, after: "NameSpans") -> "NameSpans":
        """These prompts, and ``after`` them others that ask with the same words."""
        return NameSpans(
            torch.cat([self.names, after.names]),
            None if self.anything is None or after.anything is None else torch.cat([self.anything, after.anything]),
            None if self.no_object is None or after.no_object is None else torch.cat([self.no_object, after.no_object]),
        )

    def behind(self, start: int) -> "NameSpans":
        """The spans counted from position ``start``, before which no name stands."""
        anything, no_object = (
            None if spans is None else (spans - start).clamp(min=0) for spans in (self.anything, self.no_object)
        )
        return NameSpans((self.names - start).clamp(min=0), anything, no_object)


@dataclass
class NameStates:
    """Embeddings of names.

    Attributes:
        text: (B, K, C) float32. anything: (B, C) float32 of the word that stands for anything, or None.
        no_object: (B, C) float32 of the name that stands for no object, or None where that is learned.
    """

    text: Tensor
    anything: Tensor | None = None
    no_object: Tensor | None = None


def embed_names(text: TextEmbedder, hidden: Tensor, *, spans: NameSpans, mask: Tensor, family: str) -> NameStates:
    """Embeddings of spans (B, K, 2), ``mask`` (B, K), and in the same pass those of the words beside the names."""
    beside = [place for place in (spans.anything, spans.no_object) if place is not None]
    if not beside:
        return NameStates(text(hidden, spans.names, mask=mask, family=family))
    every = torch.cat([spans.names, *(place[:, None] for place in beside)], dim=1)
    there = torch.cat([mask, *(place[:, 1:] > place[:, :1] for place in beside)], dim=1)
    embedded = text(hidden, every, mask=there, family=family)
    rest = list(embedded[:, mask.shape[1] :].unbind(1))
    anything = None if spans.anything is None else rest.pop(0)
    no_object = None if spans.no_object is None else rest.pop(0)
    return NameStates(embedded[:, : mask.shape[1]], anything, no_object)
