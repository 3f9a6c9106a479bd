"""Prompts: conversations, the fixed sentences, the tokenizer, and rendering to ids, labels and spans."""

from mvplm.prompts.chunks import render_lists, render_question
from mvplm.prompts.conversation import Conversation, clean_text
from mvplm.prompts.layout import IMAGE_FIRST, INSTRUCTION_FIRST, PromptLayout
from mvplm.prompts.released import render_released
from mvplm.prompts.render import fixed_length, render
from mvplm.prompts.responses import RESPONSE_KINDS, compose_response, normalise_caption
from mvplm.prompts.show import show_legend, show_prompt
from mvplm.prompts.style import NO_OBJECT_NAME, PromptStyle
from mvplm.prompts.templates import FAMILY_OF_TASK, OBJECT_NAME, family_of, template_texts
from mvplm.prompts.tokens import (
    PAPER_CONTROLS,
    RELEASED_CONTROLS,
    SUFFIX_TOKEN,
    SUMMARY_TOKEN,
    PromptTokenizer,
    train_scenes_tokenizer,
)

__all__ = [
    "FAMILY_OF_TASK",
    "IMAGE_FIRST",
    "INSTRUCTION_FIRST",
    "NO_OBJECT_NAME",
    "OBJECT_NAME",
    "PAPER_CONTROLS",
    "RELEASED_CONTROLS",
    "RESPONSE_KINDS",
    "SUFFIX_TOKEN",
    "SUMMARY_TOKEN",
    "Conversation",
    "PromptLayout",
    "PromptStyle",
    "PromptTokenizer",
    "clean_text",
    "compose_response",
    "family_of",
    "fixed_length",
    "normalise_caption",
    "render",
    "render_lists",
    "render_question",
    "render_released",
    "show_legend",
    "show_prompt",
    "template_texts",
    "train_scenes_tokenizer",
]
