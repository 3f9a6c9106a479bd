"""Text of users as token ids: a tokenizer in which no text can become one of its added tokens."""

import copy
import hashlib
import json
from collections.abc import Sequence
from typing import Any


def plain_backend(tokenizer: Any) -> Any:
    """A copy of a fast tokenizer's backend without any added token: ``<|endoftext|>`` or ``<fg3>`` is spelled out."""
    from tokenizers import Tokenizer

    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    definition["added_tokens"], definition["truncation"], definition["padding"] = [], None, None
    return Tokenizer.from_str(json.dumps(definition))


class PlainTokenizer:
    """A fast Hugging Face tokenizer that reads text as text. Added tokens are placed by id only.

    It offers what the codecs of :mod:`mvplm.textmask` ask of a tokenizer, so labels inside answers are safe as well.

    Args:
        tokenizer: with all its added tokens; it is copied.

    Raises:
        ValueError: not a fast tokenizer, or one without an end-of-text token.
    """

    def __init__(self, tokenizer: Any) -> None:
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise ValueError(f"a fast tokenizer is needed, got {type(tokenizer).__name__}")
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end-of-text token (eos_token)")
        self.tokenizer = copy.deepcopy(tokenizer)
        self._plain = plain_backend(tokenizer)
        self._added = dict(self.tokenizer.get_added_vocab())

    def __len__(self) -> int:
        return len(self.tokenizer)

    @property
    def all_special_ids(self) -> list[int]:
        """Ids that may follow an answer: end of text, padding and the like."""
        return list(self.tokenizer.all_special_ids)

    @property
    def pad_id(self) -> int:
        """Id of padding; the end of text where there is none."""
        found = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if found is None else found)

    def get_added_vocab(self) -> dict[str, int]:
        """Added tokens and their ids."""
        return self._added

    def get_vocab(self) -> dict[str, int]:
        """All tokens and their ids."""
        return dict(self.tokenizer.get_vocab())

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Ids of a text, nothing added around it; spellings of added tokens are ordinary characters.

        Raises:
            ValueError: ``add_special_tokens``, or text with unpaired surrogates.
        """
        if add_special_tokens:
            raise ValueError("a plain tokenizer adds no tokens; place them by id")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"text is not valid Unicode: {text!r}") from error
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def frame(self, text: str) -> list[int]:
        """Ids of a piece of a chat template, in which added tokens are meant."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int], **options: Any) -> str:
        """Text of ids; options as for the tokenizer."""
        return str(self.tokenizer.decode(list(ids), **options))

    def hash(self) -> str:
        """SHA-256 (hex) of the definition; equal hash means equal ids for any text."""
        definition = json.loads(self.tokenizer.backend_tokenizer.to_str())
        definition["truncation"], definition["padding"] = None, None
        return hashlib.sha256(json.dumps(definition, sort_keys=True).encode("utf-8")).hexdigest()
