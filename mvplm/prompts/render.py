"""From a conversation to token ids, labels and spans, in lock-step.

Every piece of a prompt is tokenised on its own, so no token crosses the border of a name, spans are exact and a name's
ids do not depend on its place in the list. Source: MVP-LM, section 3.2.
"""

from dataclasses import dataclass, field

import torch

from mvplm.prompts.conversation import Conversation
from mvplm.prompts.templates import (
    DESCRIPTIONS,
    LIST_END,
    NAME_SEPARATOR,
    RESULT_TEXT,
    WRAPPER_END,
    WRAPPER_START,
)
from mvplm.prompts.tokens import PromptTokenizer
from mvplm.structures.sample import RenderedPrompt

IGNORED = -100


@dataclass
class _Tape:
    """Ids and labels that only ever grow together."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def append(self, ids: list[int], *, supervised: bool = False) -> tuple[int, int]:
        """Add a piece and return its (start, end)."""
        start = len(self.ids)
        self.ids.extend(ids)
        self.labels.extend(ids if supervised else [IGNORED] * len(ids))
        return start, len(self.ids)


def render(
    conversation: Conversation, tokenizer: PromptTokenizer, *, num_image_tokens: int, max_length: int = 2048
) -> RenderedPrompt:
    """Token ids (T,), labels (T,) and spans of a conversation.

    Word: wrapper, image, description, " name" and "," or "." for each name, " [/INST]". Sentence: " expression" instead
    of the list. Then, unless the prompt is left open: " response", " The perception result is", ``<PER>``, end token,
    all supervised. Caption: image, " caption", end token, without a wrapper.

    Args:
        conversation: what is asked and answered.
        tokenizer: text to ids; gives the ids of ``<PER>``, end and padding.
        num_image_tokens: V, positions kept for visual tokens (filled with the padding id).
        max_length: context of the language model.

    Raises:
        ValueError: ``num_image_tokens`` is not positive, or the prompt is longer than ``max_length``.
    """
    if num_image_tokens < 1:
        raise ValueError(f"num_image_tokens must be positive, got {num_image_tokens}")
    tape, spans, summary_index = _Tape(), torch.zeros(0, 2, dtype=torch.long), None
    image_ids = [tokenizer.pad_id] * num_image_tokens
    if conversation.family == "caption":
        image_span = tape.append(image_ids)
    else:
        tape.append(tokenizer.encode(WRAPPER_START))
        image_span = tape.append(image_ids)
        tape.append(tokenizer.encode(DESCRIPTIONS[conversation.family]))
        spans = torch.tensor(_append_names(tape, conversation, tokenizer=tokenizer), dtype=torch.long).reshape(-1, 2)
        tape.append(tokenizer.encode(WRAPPER_END))
    if conversation.response is not None:
        if conversation.response:
            tape.append(tokenizer.encode(f" {conversation.response}"), supervised=True)
        if conversation.family != "caption":
            tape.append(tokenizer.encode(RESULT_TEXT), supervised=True)
            summary_index = tape.append([tokenizer.summary_id], supervised=True)[0]
        tape.append([tokenizer.end_id], supervised=True)
    if len(tape.ids) > max_length:
        raise ValueError(
            f"the prompt has {len(tape.ids)} tokens ({num_image_tokens} of the image, {len(conversation.names)} names)"
            f", the context holds {max_length}"
        )
    return RenderedPrompt(
        input_ids=torch.tensor(tape.ids, dtype=torch.long),
        labels=torch.tensor(tape.labels, dtype=torch.long),
        image_span=image_span,
        name_spans=spans,
        summary_index=summary_index,
    )


def fixed_length(tokenizer: PromptTokenizer, *, num_image_tokens: int) -> int:
    """Tokens of an answered word prompt that are there whatever is asked: all but names, separators and response."""
    texts = (WRAPPER_START, DESCRIPTIONS["word"], WRAPPER_END, RESULT_TEXT)
    framing = 2  # the summary and the end
    return num_image_tokens + sum(len(tokenizer.encode(text)) for text in texts) + framing


def _append_names(tape: _Tape, conversation: Conversation, *, tokenizer: PromptTokenizer) -> list[tuple[int, int]]:
    """Add names in prompt order and return their spans in the caller's order; equal names share one span."""
    if conversation.family == "sentence":
        return [tape.append(tokenizer.encode(f" {conversation.names[0]}"))]
    places = list(dict.fromkeys(conversation.names[index] for index in conversation.order))
    span_of: dict[str, tuple[int, int]] = {}
    for place, name in enumerate(places):
        span_of[name] = tape.append(tokenizer.encode(f" {name}"))
        tape.append(tokenizer.encode(LIST_END if place == len(places) - 1 else NAME_SEPARATOR))
    return [span_of[name] for name in conversation.names]
