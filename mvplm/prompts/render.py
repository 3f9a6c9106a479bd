"""From a conversation to token ids, labels and spans, in lock-step.

Every piece of a prompt is tokenised on its own, so no token crosses the border of a name, spans are exact and a name's
ids do not depend on its place in the list. Source: MVP-LM, section 3.2.
"""

from mvplm.prompts.conversation import Conversation
from mvplm.prompts.released import longest_frame
from mvplm.prompts.style import PromptStyle
from mvplm.prompts.tape import Span, Tape, finish
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


def render(
    conversation: Conversation,
    tokenizer: PromptTokenizer,
    *,
    num_image_tokens: int,
    max_length: int = 2048,
    style: PromptStyle | None = None,
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

    Raises:
        ValueError: ``num_image_tokens`` is not positive, or the prompt is longer than ``max_length``.
    """
    if num_image_tokens < 1:
        raise ValueError(f"num_image_tokens must be positive, got {num_image_tokens}")
    tape, summary_index = Tape(), None
    spans: list[Span] = []
    suffix = [tokenizer.suffix_id] if style is not None and style.suffix else []
    image_ids = [tokenizer.pad_id] * num_image_tokens
    if conversation.family == "caption":
        image_span = tape.append(image_ids)
    else:
        tape.append(tokenizer.encode(WRAPPER_START))
        image_span = tape.append(image_ids)
        tape.append(tokenizer.encode(DESCRIPTIONS[conversation.family]))
        spans = _append_names(tape, conversation, tokenizer=tokenizer, suffix=suffix)
        tape.append(tokenizer.encode(WRAPPER_END))
    if conversation.response is not None:
        if conversation.response:
            tape.append(tokenizer.encode(f" {conversation.response}"), supervised=True)
        if conversation.family != "caption":
            tape.append(tokenizer.encode(RESULT_TEXT), supervised=True)
            summary_index = tape.append([tokenizer.summary_id], supervised=True)[0]
        tape.append([tokenizer.end_id], supervised=True)
    return finish(
        tape, conversation, spans=spans, image_span=image_span, max_length=max_length, summary_index=summary_index
    )


def fixed_length(tokenizer: PromptTokenizer, *, num_image_tokens: int, style: PromptStyle | None = None) -> int:
    """Tokens of an answered word prompt that are there whatever is asked: all but names, separators and response.

    In the released wording the longest question counts.
    """
    if style is not None and style.templates == "released":
        return longest_frame(tokenizer) + num_image_tokens
    texts = (WRAPPER_START, DESCRIPTIONS["word"], WRAPPER_END, RESULT_TEXT)
    framing = 2  # the summary and the end
    return num_image_tokens + sum(len(tokenizer.encode(text)) for text in texts) + framing


def _append_names(
    tape: Tape, conversation: Conversation, *, tokenizer: PromptTokenizer, suffix: list[int]
) -> list[Span]:
    """Add names in prompt order and return their spans in the caller's order; equal names share one span."""
    if conversation.family == "sentence":
        return [tape.append([*tokenizer.encode(f" {conversation.names[0]}"), *suffix])]
    places = list(dict.fromkeys(conversation.names[index] for index in conversation.order))
    span_of: dict[str, tuple[int, int]] = {}
    for place, name in enumerate(places):
        span_of[name] = tape.append([*tokenizer.encode(f" {name}"), *suffix])
        tape.append(tokenizer.encode(LIST_END if place == len(places) - 1 else NAME_SEPARATOR))
    return [span_of[name] for name in conversation.names]
