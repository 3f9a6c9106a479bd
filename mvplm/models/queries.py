"""Dynamic queries: the summary token's base queries and the selected visual features become decoder queries.

Source: MVP-LM, section 3.3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mvplm.models.layers import MLP
from mvplm.models.selection import Selected
from mvplm.structures.choices import check_choice

EXPANSIONS = ("slots", "full")
FUSIONS = ("sum", "visual_only", "base_only", "concat_mlp")
_SLOT_SCALE = 0.02


@dataclass
class Queries:
    """Decoder queries: content (B, Q, C) and reference box logits (B, Q, 4) float32, valid frame."""

    content: Tensor
    references: Tensor

    def join(self, after: "Queries") -> "Queries":
        """These queries, followed by others of the same images."""
        content = torch.cat([self.content, after.content.to(self.content.dtype)], dim=1)
        return Queries(content, torch.cat([self.references, after.references], dim=1))


class QueryGenerator(nn.Module):
    """Base queries from the summary token and their fusion with the selected features.

    Args:
        in_width: D of the language model. width: C. num: N.
        expand: "slots" (one vector from the summary plus N learned slots) or "full" (N vectors from the summary).
        fusion: "sum" of base query and feature, "visual_only", "base_only" (learned boxes, no selection), "concat_mlp".
            Only "visual_only" does without a summary.

    Raises:
        ValueError: for another expansion or fusion.
    """

    def __init__(self, in_width: int, width: int, *, num: int, expand: str = "slots", fusion: str = "sum") -> None:
        super().__init__()
        check_choice("query expansion", expand, choices=EXPANSIONS)
        check_choice("query fusion", fusion, choices=FUSIONS)
        self.num = num
        self.fusion = fusion
        self.base = None
        self.slots = None
        if fusion != "visual_only":
            self.base = MLP(in_width, width, width if expand == "slots" else num * width, layers=2)
            if expand == "slots":
                scale = 1.0 if fusion == "base_only" else _SLOT_SCALE
                self.slots = nn.Parameter(torch.randn(num, width) * scale)
        self.fuse = MLP(2 * width, width, width, layers=2) if fusion == "concat_mlp" else None
        self.boxes = nn.Parameter(torch.randn(num, 4)) if fusion == "base_only" else None

    def forward(self, summary: Tensor | None, selected: Selected | None) -> Queries:
        """N queries per image.

        Args:
            summary: (B, D) hidden state of ``<PER>``; may be None with fusion "visual_only".
            selected: the visual features; None (and only then) with fusion "base_only". They enter without gradient.
        """
        if self.fusion == "base_only":
            boxes = self.boxes.float().expand(len(summary), -1, -1)
            return Queries(self._base(summary), boxes)
        features, anchors = selected.features.detach(), selected.anchors.detach()
        if self.fusion == "visual_only":
            return Queries(features, anchors)
        base = self._base(summary)
        if self.fusion == "sum":
            return Queries(base + features, anchors)
        return Queries(self.fuse(torch.cat([base, features.to(base.dtype)], dim=-1)), anchors)

    def _base(self, summary: Tensor) -> Tensor:
        base = self.base(summary)
        if self.slots is None:
            return base.unflatten(-1, (self.num, -1))
        return base[:, None] + self.slots


class StuffQueries(nn.Module):
    """Learned queries for uncountable regions, placed after the matching queries.

    Args:
        width: C. num: S.
        detach: keep the decoder from moving content and boxes (the contents then learn from the selection set only).
    """

    def __init__(self, width: int, *, num: int, detach: bool = False) -> None:
        super().__init__()
        self.num = num
        self.detach = detach
        self.content = nn.Parameter(torch.randn(num, width))
        self.boxes = nn.Parameter(torch.randn(num, 4))

    def forward(self, batch_size: int) -> Queries:
        """S queries for each of ``batch_size`` images, as the decoder takes them."""
        content, boxes = self.content, self.boxes
        if self.detach:
            content, boxes = content.detach(), boxes.detach()
        return Queries(content.expand(batch_size, -1, -1), boxes.float().expand(batch_size, -1, -1))

    def for_selection(self, batch_size: int) -> Queries:
        """The same queries for the selection set: there the content always learns."""
        boxes = self.boxes.detach() if self.detach else self.boxes
        return Queries(self.content.expand(batch_size, -1, -1), boxes.float().expand(batch_size, -1, -1))
