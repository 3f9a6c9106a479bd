"""Masks as text: codecs, tolerant reading, and decoding that cannot leave the grammar.

codec = get_codec("bsd_bricks")
text = codec.encode(masks, ["dog", "cat"])
result = codec.decode(text, size=(480, 640))
"""

from mvplm.textmask.codec_bsd import BsdCodec
from mvplm.textmask.codec_isd import IsdCodec
from mvplm.textmask.codecs import CODECS, Codec, get_codec
from mvplm.textmask.errors import CodecError
from mvplm.textmask.items import add_mask_tokens
from mvplm.textmask.result import ParsedAnswer, ParsedInstance, TextMaskResult

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
    "get_codec",
]
