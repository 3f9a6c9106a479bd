"""From a conversation to token ids, labels and spans, in lock-step.

Every piece of a prompt is tokenised on its own, so no token crosses the border of a name, spans are exact and a name's
ids do not depend on its place in the list. Source: MVP-LM, section 3.2.
"""

from dataclasses import dataclass, field, replace

import torch

from mvplm.prompts.conversation import Conversation
from mvplm.prompts.layout import IMAGE_FIRST, ORDERS
from mvplm.prompts.templates import (
    DESCRIPTIONS,
    LIST_END,
    NAME_SEPARATOR,
    OBJECT_NAME,
    RESULT_TEXT,
    WRAPPER_END,
    WRAPPER_START,
)
from mvplm.prompts.tokens import PromptTokenizer
from mvplm.structures.choices import check_choice
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


@dataclass
class _Asked:
    """Where names, image, list and the word "object" stand; a prompt that leaves the list out has only the image."""

    names: list[tuple[int, int]]
    image_span: tuple[int, int] = (0, 0)
    list_span: tuple[int, int] | None = None
    object_span: tuple[int, int] | None = None


def render(
    conversation: Conversation,
    tokenizer: PromptTokenizer,
    *,
    num_image_tokens: int,
    max_length: int = 2048,
    order: str = IMAGE_FIRST,
    with_list: bool = True,
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
        order: "image_first", or "instruction_first": the image after the names, whose list is then an aside.
        with_list: False leaves a list out whose embeddings are known; its names then have the span (0, 0).

    Raises:
        ValueError: unknown order, ``num_image_tokens`` is not positive, or the prompt is longer than ``max_length``.
    """
    image_first = check_choice("prompt order", order, choices=ORDERS) == IMAGE_FIRST
    if num_image_tokens < 1:
        raise ValueError(f"num_image_tokens must be positive, got {num_image_tokens}")
    tape, asked, summary_index = _Tape(), _Asked([]), None
    image_ids = [tokenizer.pad_id] * num_image_tokens
    if conversation.family == "caption":
        image_span = tape.append(image_ids)
    else:
        asked = _append_question(
            tape, conversation, tokenizer=tokenizer, image_ids=image_ids, image_first=image_first, with_list=with_list
        )
        image_span = asked.image_span
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
        name_spans=torch.tensor(asked.names, dtype=torch.long).reshape(-1, 2),
        summary_index=summary_index,
        list_span=asked.list_span,
        aside=asked.list_span is not None and not image_first,
        object_span=asked.object_span,
    )


def render_list(conversation: Conversation, tokenizer: PromptTokenizer, *, max_length: int = 2048) -> RenderedPrompt:
    """The beginning of an "instruction_first" prompt up to the end of its list: all that the names' states depend on.

    Raises:
        ValueError: the list is longer than ``max_length`` allows.
    """
    tape = _Tape()
    tape.append(tokenizer.encode(WRAPPER_START))
    tape.append(tokenizer.encode(DESCRIPTIONS["word"].lstrip()))
    asked = _append_asked(tape, conversation, tokenizer=tokenizer, with_list=True)
    if len(tape.ids) > max_length:
        raise ValueError(f"the list has {len(tape.ids)} tokens, the context holds {max_length}")
    return RenderedPrompt(
        input_ids=torch.tensor(tape.ids, dtype=torch.long),
        labels=torch.tensor(tape.labels, dtype=torch.long),
        image_span=(0, 0),
        name_spans=torch.tensor(asked.names, dtype=torch.long).reshape(-1, 2),
        list_span=asked.list_span,
        object_span=asked.object_span,
    )


def fixed_length(tokenizer: PromptTokenizer, *, num_image_tokens: int) -> int:
    """Tokens of an answered word prompt that are there whatever is asked: all but names, separators and response."""
    texts = (WRAPPER_START, DESCRIPTIONS["word"], WRAPPER_END, RESULT_TEXT)
    framing = 2  # the summary and the end
    return num_image_tokens + sum(len(tokenizer.encode(text)) for text in texts) + framing


def _append_question(
    tape: _Tape,
    conversation: Conversation,
    *,
    tokenizer: PromptTokenizer,
    image_ids: list[int],
    image_first: bool,
    with_list: bool,
) -> _Asked:
    """Add everything up to the response."""
    tape.append(tokenizer.encode(WRAPPER_START))
    description = DESCRIPTIONS[conversation.family]
    if image_first:
        image_span = tape.append(image_ids)
        tape.append(tokenizer.encode(description))
        asked = _append_asked(tape, conversation, tokenizer=tokenizer, with_list=with_list)
    else:
        tape.append(tokenizer.encode(description.lstrip()))
        asked = _append_asked(tape, conversation, tokenizer=tokenizer, with_list=with_list)
        tape.append(tokenizer.encode("\n"))
        image_span = tape.append(image_ids)
    tape.append(tokenizer.encode(WRAPPER_END))
    return replace(asked, image_span=image_span)


def _append_asked(tape: _Tape, conversation: Conversation, *, tokenizer: PromptTokenizer, with_list: bool) -> _Asked:
    """Add names in prompt order and return their spans in the caller's order; equal names share one span."""
    if conversation.family == "sentence":
        return _Asked([tape.append(tokenizer.encode(f" {conversation.names[0]}"))])
    if not with_list:
        return _Asked([(0, 0)] * len(conversation.names))
    places = [conversation.names[index] for index in conversation.order]
    if conversation.with_object:
        places.append(OBJECT_NAME)
    places = list(dict.fromkeys(places))
    span_of: dict[str, tuple[int, int]] = {}
    start = len(tape.ids)
    for place, name in enumerate(places):
        span_of[name] = tape.append(tokenizer.encode(f" {name}"))
        tape.append(tokenizer.encode(LIST_END if place == len(places) - 1 else NAME_SEPARATOR))
    return _Asked(
        [span_of[name] for name in conversation.names],
        list_span=(start, len(tape.ids)),
        object_span=span_of[OBJECT_NAME] if conversation.with_object else None,
    )
