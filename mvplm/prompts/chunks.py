"""Lists that are too long for one prompt: equal parts, one prompt each.

Source: MVP-LM, section 3.2 (lists of names); the parts share all that stands before the list.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate

import torch

from mvplm.prompts.conversation import Conversation
from mvplm.prompts.layout import INSTRUCTION_FIRST, PromptLayout, check_style
from mvplm.prompts.released import render_released
from mvplm.prompts.render import fixed_length, render, render_list
from mvplm.prompts.style import PromptStyle
from mvplm.prompts.templates import DESCRIPTIONS, OBJECT_NAME, WRAPPER_START
from mvplm.prompts.tokens import PromptTokenizer
from mvplm.structures.sample import RenderedPrompt


def chunk_sizes(costs: Sequence[int], *, budget: int, most: int) -> list[int]:
    """Sizes of the fewest contiguous, equally long (up to one) parts of a list that all fit.

    Args:
        costs: tokens of each of K names, with its separator.
        budget: most tokens of a part. most: most names of a part.

    Raises:
        ValueError: a single name is longer than the budget.
    """
    if max(costs) > budget:
        raise ValueError(f"a name of {max(costs)} tokens does not fit into a list of {budget}")
    total = [0, *accumulate(costs)]
    count = max(-(-len(costs) // most), -(-total[-1] // budget))
    while True:
        base, more = divmod(len(costs), count)
        sizes = [base + (place < more) for place in range(count)]
        ends = list(accumulate(sizes))
        if all(total[end] - total[end - size] <= budget for size, end in zip(sizes, ends, strict=True)):
            return sizes
        count += 1


def split_list(
    conversation: Conversation,
    tokenizer: PromptTokenizer,
    *,
    budget: int,
    most: int,
    style: PromptStyle | None = None,
) -> list[tuple[Conversation, list[int]]]:
    """Parts of a conversation (family "word") in prompt order, each with the positions of its names in the whole.

    The name that stands for no object and the word "object" of ``with_object`` end the last part.

    Raises:
        ValueError: a name is longer than the budget.
    """
    style = PromptStyle() if style is None else style
    blank = "" if style.templates == "released" else " "
    names, asked = conversation.names, len(conversation.names) - conversation.no_object
    order = [place for place in conversation.order if place < asked]
    costs = [len(tokenizer.encode(f"{blank}{names[place]}")) + style.name_cost for place in order]
    closing = [*names[asked:], *([OBJECT_NAME] if conversation.with_object else [])]
    budget -= sum(len(tokenizer.encode(f"{blank}{name}")) + style.name_cost for name in closing)
    parts, start = [], 0
    for size in chunk_sizes(costs, budget=budget, most=most):
        places = order[start : start + size]
        start += size
        last = start == len(order)
        own = tuple(names[place] for place in places)
        part = replace(
            conversation,
            names=own + names[asked:] if last else own,
            order=(),
            with_object=conversation.with_object and last,
            no_object=conversation.no_object and last,
        )
        parts.append((part, places))
    return parts


def render_question(
    conversation: Conversation,
    tokenizer: PromptTokenizer,
    *,
    num_image_tokens: int,
    max_length: int = 2048,
    layout: PromptLayout | None = None,
    style: PromptStyle | None = None,
    task: str = "instance",
) -> list[RenderedPrompt]:
    """The prompt or prompts of one question at inference; one per part of a long list.

    A name has its span in the prompt of its part and (0, 0) in the others. With order "instruction_first" there is one
    prompt, without the list: see :func:`render_lists` for what stands in for it.

    Args:
        conversation: what is asked; an open one (no response) keeps room for the response, at most half of the space.
        tokenizer: text to ids.
        num_image_tokens: V. max_length: context of the language model. layout: order and limits.
        style: wording; None: the paper's. task: of the sample; it picks the sentences of the released wording.

    Raises:
        ValueError: a name, an expression or a response does not fit, or the wording does not go with the order.
    """
    layout = PromptLayout() if layout is None else layout
    style = PromptStyle() if style is None else style
    check_style(style, layout)
    apart = layout.order == INSTRUCTION_FIRST and conversation.family == "word"
    make = partial(render, order=layout.order, with_list=not apart)
    if style.templates == "released":
        make = partial(render_released, task=task)
    make = partial(make, tokenizer=tokenizer, num_image_tokens=num_image_tokens, max_length=max_length, style=style)
    if apart or conversation.family != "word":
        return [make(conversation)]
    room = layout.response_room if conversation.response is None else len(tokenizer.encode(conversation.response))
    space = max_length - fixed_length(tokenizer, num_image_tokens=num_image_tokens, style=style)
    budget = max(space - min(room, space // 2), 0)
    parts = split_list(conversation, tokenizer, budget=budget, most=layout.max_names, style=style)
    if len(parts) == 1:
        return [make(conversation)]
    prompts = [make(part) for part, _ in parts]
    count = len(conversation.names) - conversation.no_object
    return [_with_places(prompt, places, count=count) for prompt, (_, places) in zip(prompts, parts, strict=True)]


def render_lists(
    conversation: Conversation,
    tokenizer: PromptTokenizer,
    *,
    max_length: int = 2048,
    layout: PromptLayout,
    style: PromptStyle | None = None,
) -> list[RenderedPrompt]:
    """The lists of an "instruction_first" question, each after wrapper and description and without an image.

    Raises:
        ValueError: a name does not fit.
    """
    texts = (WRAPPER_START, DESCRIPTIONS["word"].lstrip())
    budget = max_length - sum(len(tokenizer.encode(text)) for text in texts)
    parts = split_list(conversation, tokenizer, budget=budget, most=layout.max_names, style=style)
    count = len(conversation.names) - conversation.no_object
    prompts = [render_list(part, tokenizer, max_length=max_length, style=style) for part, _ in parts]
    return [_with_places(prompt, places, count=count) for prompt, (_, places) in zip(prompts, parts, strict=True)]


def _with_places(prompt: RenderedPrompt, places: Sequence[int], *, count: int) -> RenderedPrompt:
    """The prompt of a part with spans (count, 2) for all names; (0, 0) for those of other parts."""
    spans = torch.zeros(count, 2, dtype=torch.long)
    spans[list(places)] = prompt.name_spans
    return replace(prompt, name_spans=spans)
