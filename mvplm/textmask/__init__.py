"""Masks as text: codecs, tolerant reading, and decoding that cannot leave the grammar.

codec = get_codec("bsd_bricks")
text = codec.encode(masks, ["dog", "cat"])
result = codec.decode(text, size=(480, 640))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mvplm.textmask.codec_bsd import BsdCodec
from mvplm.textmask.codec_isd import IsdCodec
from mvplm.textmask.codecs import CODECS, Codec, get_codec
from mvplm.textmask.errors import CodecError
from mvplm.textmask.items import add_mask_tokens
from mvplm.textmask.result import ParsedAnswer, ParsedInstance, TextMaskResult

if TYPE_CHECKING:
    from mvplm.textmask.confidence import score_answer as score_answer
    from mvplm.textmask.jump_ahead import generate_with_jumps as generate_with_jumps
    from mvplm.textmask.processor import constrain as constrain

# These need torch and transformers, which the codecs do not.
_LAZY = {
    "constrain": "mvplm.textmask.processor",
    "generate_with_jumps": "mvplm.textmask.jump_ahead",
    "score_answer": "mvplm.textmask.confidence",
}

__all__ = [
    "CODECS",
    "BsdCodec",
    "Codec",
    "CodecError",
    "IsdCodec",
    "ParsedAnswer",
    "ParsedInstance",
    "TextMaskResult",
    "add_mask_tokens",
    "constrain",
    "generate_with_jumps",
    "get_codec",
    "score_answer",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
