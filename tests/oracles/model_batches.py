"""Small networks and hand-made batches for tests of the models."""

from dataclasses import dataclass, field, replace

import torch

from mvplm.models.connector import Connector
from mvplm.models.decoder import Decoder
from mvplm.models.denoising import DenoisingSettings
from mvplm.models.generation import ResponseTokens
from mvplm.models.heads import Heads
from mvplm.models.language import LanguageModel
from mvplm.models.mvplm import MVPLM, Parts
from mvplm.models.pixel_decoder import PixelDecoder
from mvplm.models.queries import QueryGenerator, StuffQueries
from mvplm.models.selection import Selector
from mvplm.models.text import TextEmbedder
from mvplm.models.vision import SwinEncoder, TimmEncoder
from mvplm.structures import Batch, Target

SUMMARY, END, SEPARATOR, CLOSE = 60, 61, 5, 6
TAIL = (50, 51, 52)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a network: encoder, connector, language model (D), decoders (C) and queries; defaults as published."""

    timm: str | None = None
    encoder: dict = field(default_factory=dict)
    connector: dict = field(default_factory=dict)
    phi: dict = field(default_factory=dict)
    width: int = 256
    mask_width: int = 256
    heads: int = 8
    points: int = 4
    pixel_layers: int = 6
    pixel_ffn: int = 2048
    layers: int = 9
    ffn: int = 2048
    num: int = 100
    stuff: int = 100
    stuff_detach: bool = False
    budget: int = 100
    expand: str = "slots"
    fusion: str = "sum"
    score: str = "head"
    kinds: str = "all"


TOKENS = ResponseTokens(summary=SUMMARY, end=END, tail=TAIL)

PUBLISHED = Sizes()

TINY = Sizes(
    timm="resnet18",
    encoder={
        "channels": (48, 96, 128, 160),
        "layers": (1, 2, 2, 1),
        "stem_type": "deep",
        "stem_width": 16,
        "avg_down": True,
    },
    connector={"width": 160, "stride": 32},
    phi={
        "vocab_size": 1024,
        "hidden_size": 160,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "intermediate_size": 480,
        "max_position_embeddings": 512,
    },
    width=128,
    mask_width=128,
    pixel_layers=3,
    pixel_ffn=384,
    layers=5,
    ffn=384,
    num=40,
    stuff=12,
    budget=40,
)

SMALL = Sizes(
    timm="resnet18",
    encoder={"channels": (8, 16, 16, 24), "layers": (1, 1, 1, 1), "stem_type": "deep", "stem_width": 8},
    connector={"width": 32, "stride": 32},
    phi={
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
    },
    width=64,
    mask_width=32,
    heads=4,
    points=2,
    pixel_layers=1,
    pixel_ffn=48,
    layers=2,
    ffn=48,
    num=6,
    stuff=3,
    budget=8,
)


def build_model(sizes: Sizes, *, num_tokens: int | None = None) -> MVPLM:
    """The network of some sizes, randomly initialised; a Swin (frozen) unless a timm name is given."""
    encoder = TimmEncoder(sizes.timm, **sizes.encoder) if sizes.timm else SwinEncoder(**sizes.encoder)
    language = LanguageModel.from_phi(num_tokens=num_tokens, **sizes.phi)
    width = sizes.width
    common = {"heads": sizes.heads, "points": sizes.points}
    parts = Parts(
        encoder=encoder,
        connector=Connector(encoder.channels[32], language.width, **sizes.connector),
        llm=language,
        text=TextEmbedder(language.width, width),
        pixel_decoder=PixelDecoder(
            encoder.channels,
            width=width,
            mask_width=sizes.mask_width,
            layers=sizes.pixel_layers,
            ffn=sizes.pixel_ffn,
            **common,
        ),
        selector=None
        if sizes.fusion == "base_only"
        else Selector(width, num=sizes.num, score=sizes.score, kinds=sizes.kinds),
        query=QueryGenerator(language.width, width, num=sizes.num, expand=sizes.expand, fusion=sizes.fusion),
        stuff=StuffQueries(width, num=sizes.stuff, detach=sizes.stuff_detach) if sizes.stuff else None,
        decoder=Decoder(width, layers=sizes.layers, ffn=sizes.ffn, **common),
        heads=Heads(width, mask_width=sizes.mask_width, text_width=width),
    )
    return MVPLM(parts, tokens=TOKENS, denoising=DenoisingSettings(budget=sizes.budget))


def small_model(seed: int = 0, **changes: object) -> MVPLM:
    """The small network, its box head, sampling and language model shaken so that nothing is accidentally zero."""
    torch.manual_seed(seed)
    model = build_model(replace(SMALL, **changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("llm.") and parameter.ndim > 1:
                parameter.normal_(std=0.3)
            if name.startswith("heads.box.") or "sampling_offsets.weight" in name or "attention_weights" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@dataclass
class Row:
    """One sample: token ids per name, un-padded size, label of each target, response ids, leading tokens."""

    names: list[list[int]]
    size: tuple[int, int] = (64, 64)
    labels: list[int] = field(default_factory=list)
    response: list[int] = field(default_factory=list)
    lead: int = 2
    seed: int = 0
    masks: bool = True


def make_batch(
    rows: list[Row],
    *,
    task: str = "panoptic",
    family: str = "word",
    side: int = 64,
    tokens: int = 4,
    open_end: bool = False,
) -> Batch:
    """A batch of the given rows; prompts stop before the response with ``open_end``."""
    sequences = [_sequence(row, tokens, open_end, family) for row in rows]
    length = max(len(ids) for ids, _, _ in sequences)
    count = max((len(row.names) for row in rows), default=0)
    images, valid = torch.zeros(len(rows), 3, side, side), torch.zeros(len(rows), side, side, dtype=torch.bool)
    ids = torch.full((len(rows), length), END)
    attention = torch.zeros(len(rows), length, dtype=torch.bool)
    labels = torch.full((len(rows), length), -100)
    spans = torch.zeros(len(rows), count, 2, dtype=torch.long)
    name_mask = torch.zeros(len(rows), count, dtype=torch.bool)
    for i, (row, (sequence, places, first)) in enumerate(zip(rows, sequences, strict=True)):
        h, w = row.size
        images[i, :, :h, :w] = torch.randn(3, h, w, generator=torch.Generator().manual_seed(row.seed))
        valid[i, :h, :w] = True
        ids[i, : len(sequence)] = torch.tensor(sequence)
        attention[i, : len(sequence)] = True
        labels[i, first : len(sequence)] = ids[i, first : len(sequence)]
        if places:
            spans[i, : len(places)] = torch.tensor(places)
            name_mask[i, : len(places)] = True
    summary = [-1 if open_end or family == "caption" else len(sequence) - 2 for sequence, _, _ in sequences]
    shifted = labels[:, 1:] != -100
    b, t = shifted.nonzero(as_tuple=True)
    isthing = name_mask & (torch.arange(count) % 2 == 0)
    targets = None if open_end or family == "caption" else [_target(row) for row in rows]
    return Batch(
        images=images,
        valid=valid,
        valid_sizes=[row.size for row in rows],
        original_sizes=[row.size for row in rows],
        image_ids=list(range(len(rows))),
        task=task,
        family=family,
        use_stuff=task in ("panoptic", "semantic"),
        input_ids=ids,
        labels=labels,
        attention_mask=attention,
        image_starts=[row.lead for row in rows],
        num_image_tokens=tokens,
        name_spans=spans,
        name_mask=name_mask,
        isthing=isthing,
        summary_index=torch.tensor(summary),
        supervised=b * length + t,
        supervised_labels=labels[b, t + 1],
        names=[tuple(f"name{k}" for k in range(len(row.names))) for row in rows],
        targets=targets,
        max_targets=max(len(row.labels) for row in rows),
    )


def _sequence(row: Row, tokens: int, open_end: bool, family: str) -> tuple[list[int], list[tuple[int, int]], int]:
    sequence = [*range(10, 10 + row.lead), *[END] * tokens]
    places = []
    for name in row.names:
        places.append((len(sequence), len(sequence) + len(name)))
        sequence += [*name, SEPARATOR]
    if family != "caption":
        sequence.append(CLOSE)
    first = len(sequence)
    if not open_end:
        sequence += [*row.response, END] if family == "caption" else [*row.response, *TAIL, SUMMARY, END]
    return sequence, places, first


def _target(row: Row) -> Target:
    count = len(row.labels)
    generator = torch.Generator().manual_seed(row.seed + 1)
    boxes = torch.cat([torch.rand(count, 2, generator=generator) * 0.4 + 0.3, torch.full((count, 2), 0.3)], dim=1)
    masks = torch.rand(count, *row.size, generator=generator) > 0.5 if row.masks and count else None
    has_mask = torch.full((count,), masks is not None)
    return Target(torch.tensor(row.labels, dtype=torch.long), boxes, masks, has_mask)
