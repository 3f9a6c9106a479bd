"""The modules an MVP-LM is made of, built elsewhere.

Source: MVP-LM, section 3.
"""

from dataclasses import dataclass

from torch import nn

from mvplm.models.decoder import Decoder
from mvplm.models.heads import Heads
from mvplm.models.language import LanguageModel
from mvplm.models.pixel_decoder import PixelDecoder
from mvplm.models.queries import QueryGenerator, StuffQueries
from mvplm.models.selection import Selector
from mvplm.models.text import TextEmbedder


@dataclass
class Parts:
    """The built modules of MVP-LM.

    Attributes:
        encoder: a VisionEncoder. connector: its stride-32 map to visual tokens (B, V, D).
        llm: LanguageModel. text: TextEmbedder. pixel_decoder: PixelDecoder.
        selector: Selector, or None with fusion "base_only". query: QueryGenerator.
        stuff: StuffQueries, or None. decoder: Decoder. heads: Heads.
    """

    encoder: nn.Module
    connector: nn.Module
    llm: LanguageModel
    text: TextEmbedder
    pixel_decoder: PixelDecoder
    selector: Selector | None
    query: QueryGenerator
    stuff: StuffQueries | None
    decoder: Decoder
    heads: Heads
