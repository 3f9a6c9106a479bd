"""Letting a model write: greedy or sampled generation that remembers how sure it was of every token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Written:
    """One answer as ids.

    Attributes:
        ids: written tokens, without the end token and what follows it.
        log_probs: of each id, after whatever restricts the choice. free: whether there was a choice at all.
        finished: the model ended the answer; False: it was cut at the limit.
    """

    ids: list[int]
    log_probs: list[float]
    free: list[bool]
    finished: bool


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


@torch.inference_mode()
def write(
    model: Any,
    inputs: dict[str, Any],
    *,
    ends: Sequence[int],
    pad: int,
    max_new_tokens: int,
    processors: Sequence[Any] = (),
) -> list[Written]:
    """Greedy answers to a batch; the settings stored with a base model are not used.

    Args:
        model: of ``AutoModelForImageTextToText``, or one with adapters. inputs: its arguments, text padded on the left.
        ends: ids that end an answer. pad: id for padding. max_new_tokens: longest answer.
        processors: logits processors that restrict the choice.
    """
    from transformers import GenerationConfig, LogitsProcessorList

    recorder = ChoiceRecorder()
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=list(ends), pad_token_id=pad, use_cache=True
    )
    sequences = model.generate(
        **inputs, generation_config=settings, logits_processor=LogitsProcessorList([*processors, recorder])
    )
    return recorder.read(sequences, start=inputs["input_ids"].shape[1], ends=ends)
