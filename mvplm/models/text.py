"""Text embeddings: hidden states of names and expressions become vectors the decoder's queries are compared with.

Source: MVP-LM, section 3.3.
"""

import torch
from torch import Tensor, nn

from mvplm.models.layers import MLP
from mvplm.structures.choices import check_choice

PROJECTIONS = ("mlp2", "linear")
HIDDEN = ("last", "layer_mean")


def span_weights(spans: Tensor, mask: Tensor, *, length: int) -> Tensor:
    """Row-stochastic averaging matrix A (B, K, T) float32 of token spans; rows of padded names are zero.

    Args:
        spans: (B, K, 2) int64, first position and position after the last.
        mask: (B, K) bool, False on padded names.
        length: T.
    """
    positions = torch.arange(length, device=spans.device)
    inside = (positions >= spans[..., :1]) & (positions < spans[..., 1:]) & mask[..., None]
    return inside.float() / inside.sum(-1, keepdim=True).clamp(min=1)


class TextEmbedder(nn.Module):
    """Pools the language model's hidden states over spans and projects them to the decoder's width.

    Args:
        in_width: D of the language model. width: C of the decoder.
        projection: "mlp2" (D to C to C with ReLU) or "linear"; words and sentences have one each.
        no_object: learn a no-object vector (C,) and bias for the word family. False where a name of the list stands
            for no object, or where there is no such column.
        hidden: states that are pooled: "last", after the final norm, or "layer_mean", the mean over all layers.

    Raises:
        ValueError: for another projection or other states.
    """

    def __init__(
        self, in_width: int, width: int, *, projection: str = "mlp2", no_object: bool = True, hidden: str = "last"
    ) -> None:
        super().__init__()
        check_choice("text projection", projection, choices=PROJECTIONS)
        check_choice("hidden states of text", hidden, choices=HIDDEN)
        self.layer_mean = hidden == "layer_mean"

        def build() -> nn.Module:
            return MLP(in_width, width, width, layers=2) if projection == "mlp2" else nn.Linear(in_width, width)

        self.word = build()
        self.sentence = build()
        self.no_object = nn.Parameter(torch.randn(width) * 0.02) if no_object else None
        self.no_object_bias = nn.Parameter(torch.zeros(1)) if no_object else None

    def forward(self, hidden: Tensor, spans: Tensor, *, mask: Tensor, family: str) -> Tensor:
        """Embeddings (B, K, C) float32 in the caller's order.

        Args:
            hidden: (B, T, D) states of the language model, those of ``hidden`` above.
            spans: (B, K, 2) int64. mask: (B, K) bool, False on padded names.
            family: "word" or "sentence".
        """
        with torch.autocast(hidden.device.type, enabled=False):
            pooled = span_weights(spans, mask, length=hidden.shape[1]) @ hidden.float()
            project = self.word if family == "word" else self.sentence
            return project(pooled)
