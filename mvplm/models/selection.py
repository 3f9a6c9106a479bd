"""Selection: the encoder tokens most similar to the names or the expression become visual query features.

Source: MVP-LM, section 3.3 (dynamic query generation); two-stage selection of Deformable-DETR.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mvplm.models.geometry import Proposals
from mvplm.models.heads import Heads
from mvplm.structures.choices import check_choice

SCORES = ("head", "bare")
KINDS = ("all", "things")


@dataclass
class Selected:
    """The N best encoder tokens of each image, best first.

    Attributes:
        features: (B, N, C), with gradient. anchors: (B, N, 4) float32 box logits in the valid frame, with gradient.
        index: (B, N) int64, places in the memory.
    """

    features: Tensor
    anchors: Tensor
    index: Tensor


class Selector(nn.Module):
    """Scores encoder tokens against the text embeddings and takes the N best.

    Args:
        width: C. num: N.
        score: "head" (decoder norm, then the family's visual projection, as in training) or "bare" (no norm).
        kinds: "all" names count, or only "things" where stuff queries are used too.

    Raises:
        ValueError: for another score or kind; at call when there are fewer tokens than N.
    """

    def __init__(self, width: int, *, num: int, score: str = "head", kinds: str = "all") -> None:
        super().__init__()
        check_choice("selection score", score, choices=SCORES)
        check_choice("selection kinds", kinds, choices=KINDS)
        self.num = num
        self.score = score
        self.kinds = kinds
        self.proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        nn.init.xavier_uniform_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(
        self,
        memory: Tensor,
        proposals: Proposals,
        *,
        text: Tensor,
        text_mask: Tensor,
        heads: Heads,
        decoder_norm: nn.Module,
        family: str,
    ) -> Selected:
        """Selected tokens of ``memory`` (B, M, C).

        Args:
            memory: encoder tokens. proposals: their boxes, and which of them count.
            text: (B, K, C) float32. text_mask: (B, K) bool, names that are asked for.
            heads, decoder_norm: the parts shared with the decoder. family: "word" or "sentence".
        """
        if memory.shape[1] < self.num:
            raise ValueError(f"cannot select {self.num} queries from {memory.shape[1]} encoder tokens")
        with torch.no_grad():
            candidates = self._candidates(memory, proposals.valid)
            visual = (heads.word if family == "word" else heads.sentence)(
                decoder_norm(candidates) if self.score == "head" else candidates
            )
            index = (
                _scores(visual, text, mask=text_mask).masked_fill(~proposals.valid, float("-inf")).topk(self.num, dim=1)
            )
            index = index.indices
        # Only the chosen tokens are computed again, with gradient: same values, a fraction of the memory.
        valid = proposals.valid.gather(1, index)
        features = self._candidates(_take(memory, index), valid)
        return Selected(features, heads.box(features) + _take(proposals.logits, index), index)

    def _candidates(self, memory: Tensor, valid: Tensor) -> Tensor:
        return self.norm(self.proj(memory.masked_fill(~valid[..., None], 0)))


def _take(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def _scores(visual: Tensor, text: Tensor, *, mask: Tensor) -> Tensor:
    """Largest dot product (B, M) float32 of each token with the names of the mask."""
    with torch.autocast(visual.device.type, enabled=False):
        similarity = visual.float() @ text.float().transpose(1, 2)
    return similarity.masked_fill(~mask[:, None], float("-inf")).amax(-1)
