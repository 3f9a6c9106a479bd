"""From a conversation to token ids, labels and spans, in lock-step.

Every piece of a prompt is tokenised on its own, so no token crosses the border of a name, spans are exact and a name's
ids do not depend on its place in the list. Source: MVP-LM, section 3.2.
"""

from dataclasses import replace

from mvplm.prompts.conversation import Conversation
from mvplm.prompts.layout import IMAGE_FIRST, ORDERS
from mvplm.prompts.released import longest_frame
from mvplm.prompts.style import PromptStyle
from mvplm.prompts.tape import Asked, Span, Tape, finish, place_list
from mvplm.prompts.templates import (
    DESCRIPTIONS,
    LIST_END,
    NAME_SEPARATOR,
    RESULT_TEXT,
    WRAPPER_END,
    WRAPPER_START,
)
from mvplm.prompts.tokens import PromptTokenizer
from mvplm.structures.choices import check_choice
from mvplm.structures.sample import RenderedPrompt


def render(
    conversation: Conversation,
    tokenizer: PromptTokenizer,
    *,
    num_image_tokens: int,
    max_length: int = 2048,
    style: PromptStyle | None = None,
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
        style: says whether names carry a suffix; None: they do not.
        order: "image_first", or "instruction_first": the image after the names, whose list is then an aside.
        with_list: False leaves a list out whose embeddings are known; its names then have the span (0, 0).

    Raises:
        ValueError: unknown order, ``num_image_tokens`` is not positive, or the prompt is longer than ``max_length``.
    """
    image_first = check_choice("prompt order", order, choices=ORDERS) == IMAGE_FIRST
    if num_image_tokens < 1:
        raise ValueError(f"num_image_tokens must be positive, got {num_image_tokens}")
    tape, summary_index = Tape(), None
    image_ids = [tokenizer.pad_id] * num_image_tokens
    if conversation.family == "caption":
        asked = Asked(image_span=tape.append(image_ids))
    else:
        description, suffix = DESCRIPTIONS[conversation.family], _suffix(tokenizer, style)
        tape.append(tokenizer.encode(WRAPPER_START))
        before = tape.append(image_ids) if image_first else None
        tape.append(tokenizer.encode(description if image_first else description.lstrip()))
        asked = _append_asked(tape, conversation, tokenizer=tokenizer, suffix=suffix, with_list=with_list)
        asked = replace(asked, image_span=before or _append_image(tape, image_ids, tokenizer=tokenizer))
        tape.append(tokenizer.encode(WRAPPER_END))
    if conversation.response is not None:
        if conversation.response:
            tape.append(tokenizer.encode(f" {conversation.response}"), supervised=True)
        if conversation.family != "caption":
            tape.append(tokenizer.encode(RESULT_TEXT), supervised=True)
            summary_index = tape.append([tokenizer.summary_id], supervised=True)[0]
        tape.append([tokenizer.end_id], supervised=True)
    aside = asked.list_span is not None and not image_first
    return finish(tape, conversation, asked=asked, max_length=max_length, aside=aside, summary_index=summary_index)


def render_list(
    conversation: Conversation, tokenizer: PromptTokenizer, *, max_length: int = 2048, style: PromptStyle | None = None
) -> RenderedPrompt:
    """The beginning of an "instruction_first" prompt up to the end of its list: all that the names' states depend on.

    Raises:
        ValueError: the list is longer than ``max_length`` allows.
    """
    tape = Tape()
    tape.append(tokenizer.encode(WRAPPER_START))
    tape.append(tokenizer.encode(DESCRIPTIONS["word"].lstrip()))
    suffix = _suffix(tokenizer, style)
    asked = _append_asked(tape, conversation, tokenizer=tokenizer, suffix=suffix, with_list=True)
    return finish(tape, conversation, asked=asked, max_length=max_length)


def fixed_length(tokenizer: PromptTokenizer, *, num_image_tokens: int, style: PromptStyle | None = None) -> int:
    """Tokens of an answered word prompt that are there whatever is asked: all but names, separators and response.

    In the released wording the longest question counts.
    """
    if style is not None and style.templates == "released":
        return longest_frame(tokenizer) + num_image_tokens
    texts = (WRAPPER_START, DESCRIPTIONS["word"], WRAPPER_END, RESULT_TEXT)
    framing = 2  # the summary and the end
    return num_image_tokens + sum(len(tokenizer.encode(text)) for text in texts) + framing


def _suffix(tokenizer: PromptTokenizer, style: PromptStyle | None) -> list[int]:
    return [tokenizer.suffix_id] if style is not None and style.suffix else []


def _append_image(tape: Tape, image_ids: list[int], *, tokenizer: PromptTokenizer) -> Span:
    """Add the image on a line of its own."""
    tape.append(tokenizer.encode("\n"))
    return tape.append(image_ids)


def _append_asked(
    tape: Tape, conversation: Conversation, *, tokenizer: PromptTokenizer, suffix: list[int], with_list: bool
) -> Asked:
    """Add names in prompt order and return their spans in the caller's order; equal names share one span."""
    if conversation.family == "sentence":
        return Asked([tape.append([*tokenizer.encode(f" {conversation.names[0]}"), *suffix])])
    if not with_list:
        return Asked([(0, 0)] * len(conversation.names))
    span_of: dict[str, Span] = {}
    start, listed = len(tape.ids), conversation.listed
    for name in listed:
        span_of[name] = tape.append([*tokenizer.encode(f" {name}"), *suffix])
        tape.append(tokenizer.encode(LIST_END if len(span_of) == len(listed) else NAME_SEPARATOR))
    return place_list(conversation, span_of, list_span=(start, len(tape.ids)))
