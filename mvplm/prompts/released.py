"""Prompts as the public MVP-LM checkpoints know them.

The image stands inside the question, every name is followed by an embedding that belongs to it, "background" closes the
list, and the answer comes after a placeholder of zero vectors, so that nothing of it can reach a mask. Source: the
wording of the MVP-LM release, a descendant of PSALM.
"""

from dataclasses import replace

from mvplm.prompts.conversation import Conversation
from mvplm.prompts.style import PromptStyle
from mvplm.prompts.tape import Asked, Span, Tape, finish, place_list
from mvplm.prompts.templates import WRAPPER_END, WRAPPER_START
from mvplm.prompts.tokens import PromptTokenizer
from mvplm.structures.choices import check_choice
from mvplm.structures.sample import RenderedPrompt

IMAGE_INTRODUCTION = "This is an image "
SEPARATOR = ", "
TRAINING_ZEROS = 100
_LIST = "This is all the candidate categories: "
_SEGMENT_THINGS = f"Please do Instance Segmentation (segment all thing classes).\n{_LIST}"
_REFER = "Referring Segmentation according to the following instruction:\n"

QUESTIONS = {
    "panoptic": f"Please do Panoptic Segmentation.\n{_LIST}",
    "semantic": f"Please do Panoptic Segmentation.\n{_LIST}",
    "instance": _SEGMENT_THINGS,
    "detection": _SEGMENT_THINGS,
    "grounding": (
        "Please do Visual Grounding (locate objects according to given phrases).\nThis is all the candidate phrases: "
    ),
    "res": f"Please doing {_REFER}",
    "rec": f"Please doing {_REFER}",
    "gres": f"Please do {_REFER}",
}
"""The question of each task in evaluation."""

TRAINING_QUESTIONS = {
    **QUESTIONS,
    "detection": f"Please do Instance Detection (locate all thing classes).\n{_LIST}",
    "gres": QUESTIONS["res"],
}
"""The question of each task in training."""


def render_released(
    conversation: Conversation,
    tokenizer: PromptTokenizer,
    *,
    style: PromptStyle,
    task: str,
    num_image_tokens: int,
    training: bool = False,
    max_length: int = 2048,
) -> RenderedPrompt:
    """Token ids, labels and spans of a conversation in the wording of the release.

    An expression is closed by a period. Labels are on the answer, from the first token behind ``[/INST]``, the zero
    vectors left out. ``summary_index`` is None: no state of the answer is ever read.

    Args:
        conversation: word or sentence family; its response comes after the placeholder.
        tokenizer: text to ids; gives the id of ``[SEG]`` when the style has the suffix.
        style: suffix, and the task whose sentences are used.
        task: of the sample.
        num_image_tokens: V, positions kept for visual tokens.
        training: sentences and number of zero vectors of training.
        max_length: context of the language model.

    Raises:
        ValueError: a conversation of the family "caption", an unknown task, or a prompt longer than ``max_length``.
    """
    questions = TRAINING_QUESTIONS if training else QUESTIONS
    task = check_choice("task of the released prompts", style.task or task, choices=questions)
    if conversation.family == "caption":
        raise ValueError("the released prompts have no family 'caption'")
    tape = Tape()
    tape.append(tokenizer.encode(WRAPPER_START + IMAGE_INTRODUCTION))
    image_span = tape.append([tokenizer.pad_id] * num_image_tokens)
    tape.append(tokenizer.encode(SEPARATOR + questions[task]))
    suffix = [tokenizer.suffix_id] if style.suffix else []
    if conversation.family == "word":
        asked = _append_names(tape, conversation, tokenizer=tokenizer, suffix=suffix)
        tape.append(tokenizer.encode(f".\n{WRAPPER_END}"))
    else:
        expression = conversation.names[0]
        closed = expression if expression.endswith(".") else f"{expression}."
        asked = Asked([tape.append([*tokenizer.encode(f" {closed}"), *suffix])])
        tape.append(tokenizer.encode(WRAPPER_END))
    result = {"grounding": "grounding", "detection": "detection" if training else "segmentation"}
    tape.append(tokenizer.encode(f" \nSure, the {result.get(task, 'segmentation')} result is "), supervised=True)
    zeros = TRAINING_ZEROS if training and task != "panoptic" else 1
    zero_span = tape.append([tokenizer.pad_id] * zeros)
    tape.append(tokenizer.encode(_closing(conversation, task=task)), supervised=True)
    tape.append([tokenizer.end_id], supervised=True)
    asked = replace(asked, image_span=image_span)
    return finish(tape, conversation, asked=asked, max_length=max_length, zero_span=zero_span)


def longest_frame(tokenizer: PromptTokenizer) -> int:
    """Most tokens that a word prompt of training has besides image, names and response."""
    questions = [TRAINING_QUESTIONS[task] for task in ("panoptic", "instance", "detection", "grounding")]
    framing = f"{WRAPPER_START}{IMAGE_INTRODUCTION}", f".\n{WRAPPER_END}", " \nSure, the segmentation result is ", ".  "
    longest = max(len(tokenizer.encode(SEPARATOR + question)) for question in questions)
    return longest + sum(len(tokenizer.encode(text)) for text in framing) + TRAINING_ZEROS + 1


def _closing(conversation: Conversation, *, task: str) -> str:
    """What follows the placeholder, the blank before the end token included."""
    if not conversation.response:
        return " "
    separator = "" if task == "grounding" else ". "
    return f"{separator}{conversation.response} "


def _append_names(tape: Tape, conversation: Conversation, *, tokenizer: PromptTokenizer, suffix: list[int]) -> Asked:
    """Add the list in prompt order and return spans in the caller's order; equal names share one span."""
    span_of: dict[str, Span] = {}
    start = len(tape.ids)
    for name in conversation.listed:
        if span_of:
            tape.append(tokenizer.encode(SEPARATOR))
        span_of[name] = tape.append([*tokenizer.encode(name), *suffix])
    return place_list(conversation, span_of, list_span=(start, len(tape.ids)))
