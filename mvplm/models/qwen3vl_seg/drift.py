"""How far an adapted model has moved from its base on ordinary questions, and whether it answers them with boxes.

Both are asked the same; distributions are compared token by token along the base's own greedy answer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import exp
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.models.qwen3vl_seg.parse import parse_boxes


@dataclass(frozen=True)
class ModelPair:
    """A base model and what became of it.

    Attributes:
        base: asked inside ``disabled()``; the same object as ``adapted`` where adapters can be switched off.
        adapted: the trained one. new_tokens: ids that the base does not know. ends: ids that end an answer.
        pad: id of padding.
    """

    base: nn.Module
    adapted: nn.Module
    new_tokens: Sequence[int]
    ends: tuple[int, ...]
    pad: int

    def disabled(self) -> AbstractContextManager[Any]:
        """The context in which ``base`` answers as the base model."""
        if self.base is not self.adapted:
            return nullcontext()
        switch: Callable[[], AbstractContextManager[Any]] = self.base.disable_adapter  # type: ignore[assignment]
        return switch()


@dataclass(frozen=True)
class Drift:
    """One question.

    Attributes:
        tokens: of the base's answer, its end included. agreeing: of them, those that both find most likely.
        kl: sum over the tokens of KL(base || adapted), nats. base_loss, adapted_loss: sums of -log p of the answer.
        base_ids, adapted_ids: both greedy answers, without the end.
    """

    tokens: int
    agreeing: int
    kl: float
    base_loss: float
    adapted_loss: float
    base_ids: list[int]
    adapted_ids: list[int]


@torch.inference_mode()
def measure_drift(pair: ModelPair, inputs: Mapping[str, Any], *, max_new_tokens: int = 64) -> Drift:
    """Ask both models one question.

    Args:
        pair: the models. inputs: arguments of either for one question, ``input_ids`` (1, T).
        max_new_tokens: longest answer.
    """
    with pair.disabled():
        answer = _greedy(pair.base, inputs, pair=pair, most=max_new_tokens, barred=pair.new_tokens)
        expected = _log_probs(pair.base, inputs, answer=answer)
    found = _log_probs(pair.adapted, inputs, answer=answer)
    written = _greedy(pair.adapted, inputs, pair=pair, most=max_new_tokens)
    # Spare rows may be cut or added; the base never writes tokens that it does not know.
    rows = min(expected.shape[1], found.shape[1])
    expected = expected[:, :rows].clone()
    expected[:, list(pair.new_tokens)] = float("-inf")
    expected, found = expected.log_softmax(-1), found.log_softmax(-1)[:, :rows]
    own = expected.exp()
    terms = torch.where(own > 0, own * (expected - found), torch.zeros_like(own))
    chosen = torch.tensor(answer, device=found.device)[:, None]
    return Drift(
        len(answer),
        int((expected.argmax(-1) == found.argmax(-1)).sum()),
        kl=float(terms.sum()),
        base_loss=-float(expected.gather(1, chosen).sum()),
        adapted_loss=-float(found.gather(1, chosen).sum()),
        base_ids=[token for token in answer if token not in pair.ends],
        adapted_ids=[token for token in written if token not in pair.ends],
    )


def _greedy(
    model: Any, inputs: Mapping[str, Any], *, pair: ModelPair, most: int, barred: Sequence[int] = ()
) -> list[int]:
    """A greedy answer, its end token included."""
    from transformers import GenerationConfig

    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=most,
        eos_token_id=list(pair.ends),
        pad_token_id=pair.pad,
        suppress_tokens=list(barred) or None,
    )
    sequences = model.generate(**inputs, generation_config=settings)
    ids: list[int] = sequences[0, inputs["input_ids"].shape[1] :].tolist()
    return ids


def _log_probs(model: nn.Module, inputs: Mapping[str, Any], *, answer: Sequence[int]) -> Tensor:
    """Scores (tokens, rows) float32 that a model gives at each token of an answer."""
    ids = inputs["input_ids"]
    longer = {"input_ids": torch.cat([ids, ids.new_tensor([list(answer)])], dim=1)}
    for key, fill in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        if key in inputs:
            longer[key] = torch.cat([inputs[key], inputs[key].new_full((1, len(answer)), fill)], dim=1)
    logits: Tensor = model(**{**inputs, **longer}, logits_to_keep=len(answer) + 1, use_cache=False).logits
    return logits[0, :-1].float()


def is_unwanted(text: str, ids: Sequence[int], *, new_tokens: Sequence[int]) -> bool:
    """Whether an answer to an ordinary question is one with boxes: a list of them, an empty list, or mask tokens."""
    return bool({*ids} & {*new_tokens}) or parse_boxes(text, (1000, 1000)).status != "invalid"


def summarise(drifts: Iterable[Drift], unwanted: Sequence[bool]) -> dict[str, float]:
    """Numbers of several questions.

    ``agreement``: percent of tokens on which both agree. ``kl``: nats per token. ``perplexity_base`` and
    ``perplexity``: of the base's answers under both. ``same_answer`` and ``json_rate``: percent of the questions.
    """
    found = list(drifts)
    tokens = sum(drift.tokens for drift in found)
    return {
        "agreement": 100 * sum(drift.agreeing for drift in found) / tokens,
        "kl": sum(drift.kl for drift in found) / tokens,
        "perplexity_base": exp(sum(drift.base_loss for drift in found) / tokens),
        "perplexity": exp(sum(drift.adapted_loss for drift in found) / tokens),
        "same_answer": 100 * sum(drift.base_ids == drift.adapted_ids for drift in found) / len(found),
        "json_rate": 100 * sum(unwanted) / len(found),
    }
