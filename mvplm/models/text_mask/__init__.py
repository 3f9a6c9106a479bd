"""Multimodal language models that write masks as text."""

from mvplm.models.text_mask.constraint import AnswerConstraints
from mvplm.models.text_mask.model import TextMaskModel
from mvplm.models.text_mask.pictures import ReadPictures
from mvplm.models.text_mask.tokens import add_mask_tokens, token_tables
from mvplm.models.text_mask.writing import Written

__all__ = ["AnswerConstraints", "ReadPictures", "TextMaskModel", "Written", "add_mask_tokens", "token_tables"]
