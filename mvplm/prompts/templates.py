"""The fixed sentences of a prompt: system text, chat wrapper, task descriptions, response tail.

Source: MVP-LM, section 3.2 (task descriptions and response); the chat wrapper is that of the LLaVA family.
"""

from mvplm.structures.choices import check_choice

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
OBJECT_NAME = "object"
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
        ValueError: unknown task; the message names the near matches and the choices.
    """
    return FAMILY_OF_TASK[check_choice("task", task, choices=FAMILY_OF_TASK)]


def template_texts() -> tuple[str, ...]:
    """Every fixed piece of text a prompt can contain, for training a tokenizer on them."""
    existing = "There exists"
    return (WRAPPER_START, WRAPPER_END, *DESCRIPTIONS.values(), NAME_SEPARATOR, LIST_END, RESULT_TEXT, existing)
