"""Multimodal language models that write masks as text."""

from mvplm.models.text_mask.model import TextMaskModel
from mvplm.models.text_mask.scores import AnswerScores, InstanceScore, answer_scores
from mvplm.models.text_mask.tokens import add_mask_tokens, token_tables
from mvplm.models.text_mask.writing import ChoiceRecorder, Written, write

__all__ = [
    "AnswerScores",
    "ChoiceRecorder",
    "InstanceScore",
    "TextMaskModel",
    "Written",
    "add_mask_tokens",
    "answer_scores",
    "token_tables",
    "write",
]
