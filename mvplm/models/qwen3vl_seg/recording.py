"""How sure a model was of every token that ``generate`` chose."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mvplm.models.text_mask.writing import Written


class ChoiceRecorder:
    """A logits processor for ``generate`` that changes nothing and keeps the log-probability of each chosen token.

    It must be the last one. What was chosen shows in the ids of the next call, or in the finished sequence.
    """

    def __init__(self) -> None:
        self._logits: Tensor | None = None
        self._log_probs: list[Tensor] = []
        self._free: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Remember what is on offer (B, vocabulary), and what was taken of the last offer."""
        self._take(input_ids)
        self._logits = scores
        return scores

    def _take(self, ids: Tensor) -> None:
        if self._logits is None:
            return
        offered = self._logits.float()
        chosen = offered.log_softmax(-1).gather(1, ids[:, -1:])[:, 0]
        self._log_probs.append(chosen)
        self._free.append(offered.isfinite().sum(-1) > 1)
        self._logits = None

    def read(self, sequences: Tensor, *, start: int, ends: Sequence[int]) -> list[Written]:
        """The answers in finished sequences (B, T), which begin at ``start`` and stop at one of ``ends``."""
        self._take(sequences)
        log_probs = torch.stack(self._log_probs, dim=1).tolist()
        free = torch.stack(self._free, dim=1).tolist()
        answers = []
        for row, ids in enumerate(sequences[:, start:].tolist()):
            stop = next((place for place, token in enumerate(ids) if token in ends), len(ids))
            answers.append(Written(ids[:stop], log_probs[row][:stop], free[row][:stop], stop < len(ids)))
        return answers
