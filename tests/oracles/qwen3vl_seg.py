"""Qwen3-VL-Seg in plain loops over tokens, pixels and channels, from the written equations."""

import math

import torch
from torch import Tensor, nn

from mvplm.models.qwen3vl_seg import BoxGuidedMaskDecoder, DecoderInput
from mvplm.models.qwen3vl_seg.bases import base_config, decoder_settings

TINY = "qwen3vl-seg-tiny"


def tiny_decoder(seed: int = 0, **settings) -> BoxGuidedMaskDecoder:
    """The tiny decoder, every parameter moved away from its start so that none hides behind a zero or a one."""
    torch.manual_seed(seed)
    decoder = BoxGuidedMaskDecoder.from_base_config(base_config(TINY), **{**decoder_settings(TINY), **settings})
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return decoder.eval()


def random_boxes(count: int, generator: torch.Generator) -> Tensor:
    """XYXY_NORM boxes (count, 4) inside the image."""
    corners = torch.rand(count, 2, 2, generator=generator).sort(1).values
    return corners.flatten(1)


def drawn_input(height: int, width: int, *, count: int, seed: int) -> DecoderInput:
    """An input for the tiny decoder on a merged grid (height, width)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return DecoderInput(
        [normal(64, height, width) for _ in range(4)],
        normal(3, 32 * height, 32 * width).clamp(-1, 1),
        normal(64, height, width),
        mask_states=normal(count, 64),
        boxes=random_boxes(count, generator),
    )


def block_order(height: int, width: int, merge: int = 2) -> list[int]:
    """Reading-order index of each patch, in the order in which the vision tower sees them."""
    order = []
    for block_row in range(height // merge):
        for block_column in range(width // merge):
            for row in range(merge):
                for column in range(merge):
                    order.append((block_row * merge + row) * width + block_column * merge + column)
    return order


def patch_rows(image: Tensor, patch: int = 16, times: int = 2) -> Tensor:
    """Block-ordered patch rows (P, 3 * times * patch * patch) of an image (3, H, W), repeated in time."""
    height, width = image.shape[1] // patch, image.shape[2] // patch
    rows = []
    for index in block_order(height, width):
        top, left = index // width * patch, index % width * patch
        piece = image[:, top : top + patch, left : left + patch]
        rows.append(torch.stack([piece] * times, dim=1).flatten())
    return torch.stack(rows)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


def gate_at(box: list[float], x: float, y: float, *, frame: str, slope: float = 20.0, enlarge: float = 1.15) -> float:
    """The gate of one XYXY_NORM box at one point."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    share = (enlarge - 1) / 2
    x1, x2, y1, y2 = x1 - share * width, x2 + share * width, y1 - share * height, y2 + share * height
    unit_x, unit_y = (width, height) if frame == "box" else (1.0, 1.0)
    distances = [(x - x1) / unit_x, (x2 - x) / unit_x, (y - y1) / unit_y, (y2 - y) / unit_y]
    return math.prod(_sigmoid(slope * distance) for distance in distances)


def gate_map(boxes: Tensor, size: tuple[int, int], *, frame: str) -> Tensor:
    """Gates (k, H, W) of XYXY_NORM boxes (k, 4)."""
    height, width = size
    return torch.tensor(
        [
            [
                [gate_at(box, (j + 0.5) / width, (i + 0.5) / height, frame=frame) for j in range(width)]
                for i in range(height)
            ]
            for box in boxes.tolist()
        ]
    )


def box_embedding(box: list[float], *, bands: int, max_octave: int) -> list[float]:
    """Fourier features of one XYXY_NORM box: four scalars, each with its sines, then its cosines."""
    x1, y1, x2, y2 = box
    scalars = [x1, y1, 0.2 * math.log(max(x2 - x1, 1e-3)) + 0.5, 0.2 * math.log(max(y2 - y1, 1e-3)) + 0.5]
    numbers = []
    for scalar in scalars:
        for function in (math.sin, math.cos):
            for band in range(bands):
                numbers.append(function(math.pi * 2 ** (max_octave * band / (bands - 1)) * scalar))
    return numbers


def dynamic_mask(kernel: nn.Module, query: Tensor, pixels: Tensor) -> Tensor:
    """Logits (H, W) of one query (d,) on pixel features (d, H, W), pixel by pixel."""
    numbers = kernel(query).tolist()
    width = len(numbers) - 1
    logits = torch.empty(pixels.shape[1:])
    for i in range(pixels.shape[1]):
        for j in range(pixels.shape[2]):
            dot = sum(numbers[c] * pixels[c, i, j].item() for c in range(width))
            logits[i, j] = dot / math.sqrt(width) + numbers[width]
    return logits


def pooled(logits: Tensor, pixels: Tensor) -> Tensor:
    """Mean pixel feature (d,) inside one soft mask (H, W), pixel by pixel."""
    total, weight = [0.0] * pixels.shape[0], 0.0
    for i in range(logits.shape[0]):
        for j in range(logits.shape[1]):
            inside = _sigmoid(logits[i, j].item())
            weight += inside
            for c in range(pixels.shape[0]):
                total[c] += inside * pixels[c, i, j].item()
    return torch.tensor([value / (weight + 1e-6) for value in total])


def attention(module: nn.MultiheadAttention, query: Tensor, keys: Tensor) -> Tensor:
    """Multi-head attention of queries (k, d) to keys (V, d), head by head and query by query."""
    width, heads = module.embed_dim, module.num_heads
    size = width // heads
    q, k, v = (
        states @ weight.T + bias
        for states, weight, bias in zip(
            (query, keys, keys), module.in_proj_weight.split(width), module.in_proj_bias.split(width), strict=True
        )
    )
    rows = []
    for index in range(len(query)):
        parts = []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = torch.stack([q[index, part] @ key for key in k[:, part]]) / math.sqrt(size)
            parts.append(sum(w * value for w, value in zip(scores.softmax(0), v[:, part], strict=True)))
        rows.append(torch.cat(parts))
    return module.out_proj(torch.stack(rows))


def query_layer(layer: nn.TransformerDecoderLayer, queries: Tensor, memory: Tensor) -> Tensor:
    """One post-norm layer on one image: queries (k, d), memory (V, d)."""
    states = layer.norm1(queries + attention(layer.self_attn, queries, queries))
    states = layer.norm2(states + attention(layer.multihead_attn, states, memory))
    return layer.norm3(states + layer.linear2(nn.functional.gelu(layer.linear1(states))))


def sub_pixel(maps: Tensor) -> Tensor:
    """(4c, h, w) channels laid out as (c, 2h, 2w) pixels."""
    channels, height, width = maps.shape[0] // 4, maps.shape[1], maps.shape[2]
    result = torch.empty(channels, 2 * height, 2 * width)
    for c in range(channels):
        for i in range(2 * height):
            for j in range(2 * width):
                result[c, i, j] = maps[4 * c + 2 * (i % 2) + j % 2, i // 2, j // 2]
    return result


def normed(norm: nn.GroupNorm, maps: Tensor) -> Tensor:
    """Group norm of (C, h, w), group by group."""
    groups = []
    for part in maps.chunk(norm.num_groups):
        groups.append((part - part.mean()) / (part.var(unbiased=False) + norm.eps).sqrt())
    return torch.cat(groups) * norm.weight[:, None, None] + norm.bias[:, None, None]


def decode(decoder: BoxGuidedMaskDecoder, entry: DecoderInput) -> dict[str, Tensor]:
    """One image through the whole decoder, step by step: first masks, refined masks and scores."""
    gelu, memory, pixels = nn.functional.gelu, decoder.memory, decoder.pixels
    injected = []
    for injector, level in zip(memory.injectors, entry.levels, strict=True):
        x = injector.projection(level)
        injected.append(x + injector.scale * gelu(injector.local(normed(injector.norm, x))))
    first, norm1, _, second, norm2, _, third = memory.fuse
    fused = third(gelu(normed(norm2, second(gelu(normed(norm1, first(torch.cat(injected))))))))
    grid = nn.functional.interpolate(memory.positions, size=entry.grid, mode="bicubic", align_corners=False)[0]
    remembered = memory.language(entry.image_states) + fused + grid

    states = decoder.query.language(entry.mask_states)
    bands, octave = decoder.settings.bands, decoder.settings.max_octave
    places = torch.tensor([box_embedding(box, bands=bands, max_octave=octave) for box in entry.boxes.tolist()])
    queries = decoder.query.norm(decoder.query.box(places) + states)
    for layer in decoder.attention.layers:
        queries = query_layer(layer, queries, remembered.flatten(1).T)

    details = entry.image
    for index in range(0, 9, 3):
        details = gelu(normed(pixels.stem[index + 1], pixels.stem[index](details)))
    enlarged = sub_pixel(pixels.upsample[3](gelu(sub_pixel(pixels.upsample[0](remembered)))))
    size = (details.shape[1], details.shape[2])
    gate = gate_map(entry.boxes, size, frame=decoder.settings.gate_frame).amax(0)
    features = gelu(normed(pixels.norm, pixels.fuse(torch.cat([enlarged, gate * details]))))

    coarse = torch.stack([dynamic_mask(decoder.mask.kernel, query, features) for query in queries])
    targets = torch.stack([pooled(logits, features) for logits in coarse])
    refined = decoder.refine.norm(queries + decoder.refine.target(targets))
    masks = torch.stack([dynamic_mask(decoder.mask.kernel, query, features) for query in refined])
    return {"coarse_logits": coarse, "logits": masks, "iou": decoder.iou(refined)[:, 0], "queries": refined}
