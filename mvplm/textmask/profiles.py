"""Codec and grid in one word: ``isd16``, ``crop64``, ``canvas32``, ``bsd-48``; and how long their answers are."""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.textmask.codec_isd import IsdCodec
from mvplm.textmask.codecs import CODECS, Codec, get_codec
from mvplm.textmask.grid import check_way
from mvplm.textmask.items import add_mask_tokens

SHORT = {"isd": "isd_rrle", "crop": "bsd_bricks"}
"""Other words for codecs."""
_PROFILE = re.compile(r"([a-z_]+)-?([0-9]*)")
_LABEL = re.compile(r"<ref>.*?</ref>", re.DOTALL)
_WANTED = "give a folder with tokenizer.json, or with vocab.json and merges.txt"
_PIECE = re.compile(r"[fb]g[0-9]+|\n")


@dataclass(frozen=True)
class Profile:
    """A codec under a short name.

    Attributes:
        name: as it was asked for. codec: what it stands for.
    """

    name: str
    codec: Codec


def profile_of(text: str, **options: Any) -> Profile:
    """The profile of a word: a codec's name, ``isd`` (``isd_rrle``) or ``crop`` (``bsd_bricks``), and cells a side.

    Args:
        text: such as ``isd16``, ``bsd_bricks-64`` or ``canvas``; without a number the grid is the codec's own.
        options: as for :func:`get_codec`.

    Raises:
        ValueError: no such codec; the message lists the choices.
    """
    found = _PROFILE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"a profile is a codec and cells a side, such as isd16 or canvas32, got {text!r}")
    name = check_way("codec", found[1].rstrip("_"), choices=(*SHORT, *CODECS))
    grid = int(found[2]) if found[2] else None
    return Profile(text.strip(), get_codec(SHORT.get(name, name), grid=grid, **options))


class LengthCounter:
    """How many tokens an answer has.

    Args:
        tokenizer: Hugging Face; it is copied. Box-wise answers have the six tags, and bricks where the codec has them,
            as tokens of their own; image-wise ones are text throughout. None: runs (or bricks, or cells) and breaks
            between rows are counted; labels, boxes and tags are not.

    Attributes:
        unit: "tokens" or "runs and row breaks".
    """

    def __init__(self, tokenizer: Any = None) -> None:
        self._plain, self._marked = tokenizer, None
        self.unit = "runs and row breaks" if tokenizer is None else "tokens"
        if tokenizer is not None:
            self._marked = copy.deepcopy(tokenizer)
            add_mask_tokens(self._marked)

    def __call__(self, codec: Codec, masks: np.ndarray, *, labels: Sequence[str]) -> int:
        """Length of the answer of ``codec`` for masks (N, H, W) with N labels, without an end token."""
        if self._plain is not None:
            own = self._plain if isinstance(codec, IsdCodec) else self._marked
            return len(codec.encode_ids(masks, labels, tokenizer=own))
        text = codec.encode(masks, labels)
        if isinstance(codec, IsdCodec):
            return text.count("|") + max(1, text.count("\n")) + text.count("\n")
        return len(_PIECE.findall(_LABEL.sub("", text))) - (len(masks) - 1)


def load_tokenizer(folder: str | Path) -> Any:
    """The fast tokenizer in a folder as ``save_pretrained`` writes it, or of GPT-2's ``vocab.json`` and ``merges.txt``.

    Raises:
        FileNotFoundError: there is no such folder. ValueError: there is no tokenizer in it.
    """
    from transformers import AutoTokenizer, GPT2TokenizerFast

    place = Path(folder)
    if not place.is_dir():
        raise FileNotFoundError(f"no tokenizer folder {place}: {_WANTED}")
    pair = place / "vocab.json", place / "merges.txt"
    if not (place / "tokenizer.json").is_file() and all(file.is_file() for file in pair):
        return GPT2TokenizerFast(vocab=str(pair[0]), merges=str(pair[1]))
    try:
        return AutoTokenizer.from_pretrained(str(place), local_files_only=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"no tokenizer in {place}: {_WANTED}") from error
