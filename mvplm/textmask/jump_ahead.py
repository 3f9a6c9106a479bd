"""Generation of one answer in which tokens without a choice are written without asking the model."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mvplm.textmask.processor import ConstrainedLogits


@dataclass(frozen=True)
class JumpedAnswer:
    """One answer.

    Attributes:
        ids: its tokens, the end token included. forwards: how often the model was asked.
        log_probs: (tokens,) float32, of the chosen tokens among the allowed ones; 0 where there was no choice.
        cache: of the model after its last forward pass. unread: tokens at the end that it has not read.
    """

    ids: list[int]
    forwards: int
    log_probs: Tensor
    cache: Any = None
    unread: tuple[int, ...] = ()


@torch.inference_mode()
def generate_with_jumps(
    model: Any,
    input_ids: Tensor,
    *,
    constraint: ConstrainedLogits,
    max_new_tokens: int,
    do_sample: bool = False,
    cache: Any = None,
    **inputs: Any,
) -> JumpedAnswer:
    """The same tokens as ``model.generate`` with the constraint, in fewer forward passes.

    Args:
        model: a causal language model of transformers. input_ids: (1, T) prompt.
        constraint: from :func:`constrain`. max_new_tokens: where the answer is cut if it has not ended.
        do_sample: draw from the probabilities of the allowed tokens; otherwise the best one.
        cache: of a beginning of the text that the model has read; ``input_ids`` go on from there.
        inputs: what else the first forward pass takes, as a processor gives it: pixel values, an attention mask ...

    Raises:
        ValueError: more than one prompt.
    """
    if input_ids.shape[0] != 1:
        raise ValueError(f"one prompt at a time, got {input_ids.shape[0]}: use the constraint in generate for batches")
    grammar, state = constraint.grammar, constraint.grammar.start()
    ids: list[int] = []
    log_probs: list[float] = []
    pending, forwards, read = input_ids, 0, 0
    while len(ids) < max_new_tokens and not grammar.is_final(state):
        budget = None if constraint.budget is None else constraint.budget - len(ids)
        certain = grammar.forced(state, budget)[: max_new_tokens - len(ids)]
        for token in certain:
            after = grammar.advance(state, token)
            assert after is not None, "a forced token leads on"
            state = after
        ids += certain
        log_probs += [0.0] * len(certain)
        if grammar.is_final(state) or len(ids) >= max_new_tokens:
            break
        if certain:
            inputs = {name: _longer(value, name, prompt=pending, more=len(certain)) for name, value in inputs.items()}
            pending = torch.cat([pending, pending.new_tensor([certain])], dim=1)
        output = model(input_ids=pending, past_key_values=cache, use_cache=True, **inputs)
        forwards, cache, inputs, read = forwards + 1, output.past_key_values, {}, len(ids)
        scores = output.logits[:, -1].float()
        masked = constraint.mask_row(scores[0], state, written=len(ids)).log_softmax(-1)
        token = int(torch.multinomial(masked.exp(), 1) if do_sample else masked.argmax())
        log_probs.append(float(masked[token]))
        ids.append(token)
        following = grammar.advance(state, token)
        assert following is not None, "an allowed token leads on"
        state, pending = following, input_ids.new_tensor([[token]])
    return JumpedAnswer(ids, forwards, torch.tensor(log_probs), cache, unread=tuple(ids[read:]))


def _longer(value: Any, name: str, *, prompt: Tensor, more: int) -> Any:
    """What goes along with each token of the prompt (1, T), for ``more`` tokens of text behind it."""
    if not isinstance(value, Tensor) or value.shape != prompt.shape:
        return value
    return torch.cat([value, value.new_full((1, more), int(name == "attention_mask"))], dim=1)
