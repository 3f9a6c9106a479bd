"""The fixed sentences of a prompt: system text, chat wrapper, task descriptions, response tail.

Source: MVP-LM, section 3.2 (task descriptions and response); the chat wrapper is that of the LLaVA family.
"""

from difflib import get_close_matches

SYSTEM_TEXT = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
WRAPPER_START = f"[INST] <<SYS>>\n{SYSTEM_TEXT}\n<</SYS>>\n\n"
WRAPPER_END = " [/INST]"
DESCRIPTIONS = {
    "word": "\nPlease identify all objects according to the given phrase list. This is all the candidate phrases.",
    "sentence": "\nPlease identify the target according to the following instruction.",
}
NAME_SEPARATOR = ","
LIST_END = "."
RESULT_TEXT = " The perception result is"
NOTHING_EXISTS = "There exists nothing."

FAMILY_OF_TASK = {
    "panoptic": "word",
    "semantic": "word",
    "instance": "word",
    "detection": "word",
    "grounding": "word",
    "res": "sentence",
    "gres": "sentence",
    "rec": "sentence",
    "caption": "caption",
}


def family_of(task: str) -> str:
    """Prompt family ("word", "sentence" or "caption") of a task.

    Raises:
        ValueError: unknown task; the message lists the choices, near matches first.
    """
    if task in FAMILY_OF_TASK:
        return FAMILY_OF_TASK[task]
    raise ValueError(unknown_choice("task", task, choices=FAMILY_OF_TASK))


def unknown_choice(what: str, value: object, *, choices: "dict[str, str] | tuple[str, ...]") -> str:
    """Message for an unknown ``value``: what it is, near matches, all choices."""
    near = get_close_matches(str(value), list(choices), n=2)
    hint = f"; did you mean {' or '.join(repr(match) for match in near)}?" if near else ""
    return f"unknown {what} {value!r}{hint} (choices: {', '.join(choices)})"


def template_texts() -> tuple[str, ...]:
    """Every fixed piece of text a prompt can contain, for training a tokenizer on them."""
    existing = "There exists"
    return (WRAPPER_START, WRAPPER_END, *DESCRIPTIONS.values(), NAME_SEPARATOR, LIST_END, RESULT_TEXT, existing)
