"""The network with the conventions of the public checkpoints, written down as a plain recipe.

One image after the other, one head, level and point after the other, one pair after the other; nothing of the library
is used, only the weights of a model and the tokenizer's ``encode``. Everything is float32 and differentiable.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
STRIDES = (8, 16, 32, 64)


@dataclass
class Sizes:
    """What the weights do not say."""

    frame: int = 64
    swin: dict = field(default_factory=dict)
    llm_heads: int = 4
    heads: int = 4
    points: int = 2
    num: int = 10
    connector_step: int = 1


@dataclass
class Prompt:
    """Token ids with None for a visual token and 0.0 for a zero vector, and the spans that are pooled."""

    tokens: list
    spans: list[tuple[int, int]]
    supervised: list[int]


@dataclass
class Prediction:
    """One image, one set: logits (Q, K + 1 or 1), boxes (Q, 4) of the padded frame, mask logits (Q, h, w)."""

    logits: Tensor
    boxes: Tensor
    masks: Tensor


def prompt(
    encode: Callable[[str], list[int]],
    question: str,
    *,
    suffix: int,
    end: int,
    visual: int,
    names: Sequence[str] = (),
    expression: str | None = None,
    result: str = "segmentation",
    after: str = " ",
    zeros: int = 1,
    order: Sequence[int] | None = None,
) -> Prompt:
    """The released template; spans of the names in the caller's order, that of "background" last."""
    tokens = encode(f"[INST] <<SYS>>\n{SYSTEM}\n<</SYS>>\n\nThis is an image ") + [None] * visual
    tokens += encode(f", {question}")
    spans: dict[int, tuple[int, int]] = {}
    if expression is None:
        listed = [*names, "background"]
        for place, k in enumerate(order if order is not None else range(len(listed))):
            tokens += encode(", ") if place else []
            start = len(tokens)
            tokens += [*encode(listed[k]), suffix]
            spans[k] = (start, len(tokens))
        tokens += encode(".\n [/INST]")
    else:
        start = len(tokens)
        tokens += [*encode(f" {expression}."), suffix]
        spans[0] = (start, len(tokens))
        tokens += encode(" [/INST]")
    first = len(tokens)
    tokens += encode(f" \nSure, the {result} result is ") + [0.0] * zeros
    last_zero = len(tokens)
    tokens += [*encode(after), end]
    supervised = [i for i in range(first, len(tokens)) if not last_zero - zeros <= i < last_zero]
    return Prompt(tokens, [spans[k] for k in range(len(spans))], supervised)


class Released:
    """The recipe for a dictionary of weights under the library's names."""

    def __init__(self, weights: dict[str, Tensor], sizes: Sizes, *, training: bool = False) -> None:
        self.w = weights
        self.sizes = sizes
        self.training = training

    # --- small things ----------------------------------------------------------------------------------------------

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def mlp(self, x: Tensor, name: str) -> Tensor:
        count = sum(key.startswith(f"{name}.layers.") and key.endswith(".weight") for key in self.w)
        for i in range(count):
            x = self.linear(x, f"{name}.layers.{i}")
            x = x.clamp(min=0) if i + 1 < count else x
        return x

    def group_norm(self, x: Tensor, name: str) -> Tensor:
        batch, channels, height, width = x.shape
        parts = x.reshape(batch, math.gcd(32, channels), -1)
        centred = parts - parts.mean(-1, keepdim=True)
        parts = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        scale, shift = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        return parts.reshape(batch, channels, height, width) * scale[:, None, None] + shift[:, None, None]

    def batch_norm(self, x: Tensor, name: str) -> Tensor:
        mean, variance = self.w[f"{name}.running_mean"], self.w[f"{name}.running_var"]
        if self.training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        scaled = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return scaled * self.w[f"{name}.weight"][:, None, None] + self.w[f"{name}.bias"][:, None, None]

    # --- images ----------------------------------------------------------------------------------------------------

    def pad(self, pictures: Sequence[Tensor]) -> Tensor:
        """Pictures (3, h, w) on 0..255 in a square of grey 128, then normalised."""
        side = self.sizes.frame
        frames = torch.full((len(pictures), 3, side, side), 128.0)
        for frame, picture in zip(frames, pictures, strict=True):
            frame[:, : picture.shape[1], : picture.shape[2]] = picture.float()
        return (frames - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]

    def encoder(self, images: Tensor) -> list[Tensor]:
        from transformers import SwinBackbone, SwinConfig

        stages = [f"stage{i}" for i in range(1, 5)]
        backbone = SwinBackbone(SwinConfig(**self.sizes.swin, out_features=stages)).eval()
        prefix = "encoder.backbone."
        own = {name.removeprefix(prefix): value for name, value in self.w.items() if name.startswith(prefix)}
        rest = backbone.load_state_dict(own, strict=False)
        assert all(name.startswith("swin.layernorm.") for name in rest.missing_keys) and not rest.unexpected_keys
        with torch.no_grad():
            return list(backbone(images).feature_maps)

    def connector(self, feature: Tensor) -> Tensor:
        step = self.sizes.connector_step
        x = F.conv2d(feature, self.w["connector.conv1.weight"], stride=step, padding=1)
        x = self.batch_norm(x, "connector.bn1").clamp(min=0)
        x = F.conv2d(x, self.w["connector.conv2.weight"], padding=1)
        x = F.conv2d(x, self.w["connector.conv2.weight"], padding=1)
        skip = self.batch_norm(F.conv2d(feature, self.w["connector.skip.0.weight"], stride=step), "connector.skip.1")
        x = (self.batch_norm(x, "connector.bn2") + skip).clamp(min=0)
        return self.linear(x.flatten(2).transpose(1, 2), "connector.proj")

    # --- language --------------------------------------------------------------------------------------------------

    def states(self, tokens: list, visual: Tensor) -> list[Tensor]:
        """Input, layers and, last, the final norm's output: (T, D) each. One row, so there is no padding."""
        table, seen, rows = self.w["llm.model.embed_tokens.weight"], 0, []
        for token in tokens:
            if token is None:
                rows.append(visual[seen])
                seen += 1
            else:
                rows.append(torch.zeros(table.shape[1]) if isinstance(token, float) else table[token])
        x = torch.stack(rows)
        found, layer = [x], 0
        while f"llm.model.layers.{layer}.mlp.fc1.weight" in self.w:
            name = f"llm.model.layers.{layer}"
            normed = self.norm(x, f"{name}.input_layernorm")
            inner = self.linear(normed, f"{name}.mlp.fc1")
            inner = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
            x = x + self.attend(normed, f"{name}.self_attn") + self.linear(inner, f"{name}.mlp.fc2")
            found.append(x)
            layer += 1
        found[-1] = self.norm(x, "llm.model.final_layernorm")
        return found

    def attend(self, x: Tensor, name: str) -> Tensor:
        length, width = x.shape
        side = width // self.sizes.llm_heads
        turned = side // 2
        rates = 10000.0 ** (-torch.arange(0, turned, 2).float() / turned)
        angles = torch.arange(length).float()[:, None] * rates
        cos, sin = torch.cat([angles, angles], 1).cos(), torch.cat([angles, angles], 1).sin()

        def rotate(part: Tensor) -> Tensor:
            first, rest = part[:, :turned], part[:, turned:]
            swapped = torch.cat([-first[:, turned // 2 :], first[:, : turned // 2]], 1)
            return torch.cat([first * cos + swapped * sin, rest], 1)

        query, key, value = (self.linear(x, f"{name}.{part}_proj") for part in "qkv")
        heads = []
        for head in range(self.sizes.llm_heads):
            own = slice(head * side, (head + 1) * side)
            scores = rotate(query[:, own]) @ rotate(key[:, own]).T / math.sqrt(side)
            future = torch.ones(length, length).triu(1).bool()
            heads.append(scores.masked_fill(future, -math.inf).softmax(-1) @ value[:, own])
        return self.linear(torch.cat(heads, 1), f"{name}.dense")

    def text(self, states: list[Tensor], spans: Sequence[tuple[int, int]], family: str) -> Tensor:
        """(K, C): mean over all states and over the span with its suffix, then one linear layer."""
        mean = sum(states) / len(states)
        pooled = [sum(mean[t] for t in range(start, stop)) / (stop - start) for start, stop in spans]
        return torch.stack([self.linear(row, f"text.{family}") for row in pooled])

    def language_loss(self, prompts: Sequence[Prompt], states: Sequence[list[Tensor]]) -> Tensor:
        terms = []
        for asked, found in zip(prompts, states, strict=True):
            for place in asked.supervised:
                logits = F.linear(found[-1][place - 1], self.w["llm.lm_head.weight"])
                terms.append(logits.logsumexp(-1) - logits[asked.tokens[place]])
        return sum(terms) / len(terms)

    # --- pixels ----------------------------------------------------------------------------------------------------

    def sample(self, level: Tensor, places: Tensor) -> Tensor:
        """Bilinear samples (n, c) of a map (h, w, c) at places (n, 2) as (x, y) in 0..1; zero outside."""
        height, width, _ = level.shape
        x, y = places[:, 0] * width - 0.5, places[:, 1] * height - 0.5
        total = torch.zeros(len(places), level.shape[2])
        for column in (x.floor(), x.floor() + 1):
            for row in (y.floor(), y.floor() + 1):
                weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
                inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
                cell = level[row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()]
                total = total + cell * (weight * inside)[:, None]
        return total

    def deformable(self, query: Tensor, levels: list[Tensor], *, references: Tensor, name: str) -> Tensor:
        """Queries (n, C) over levels [(h, w, C)]; references (n, 2 or 4) of the padded frame."""
        heads, points, count = self.sizes.heads, self.sizes.points, len(levels)
        offsets = self.linear(query, f"{name}.sampling_offsets").reshape(len(query), heads, count, points, 2)
        scores = self.linear(query, f"{name}.attention_weights").reshape(len(query), heads, count * points)
        weights = scores.softmax(-1).reshape(len(query), heads, count, points)
        values = [self.linear(level, f"{name}.value_proj") for level in levels]
        side = query.shape[1] // heads
        mixed = []
        for head in range(heads):
            total = torch.zeros(len(query), side)
            for place, value in enumerate(values):
                height, width, _ = value.shape
                own = value[..., head * side : (head + 1) * side]
                for point in range(points):
                    shift = offsets[:, head, place, point]
                    if references.shape[1] == 2:
                        places = references + shift / torch.tensor([width, height])
                    else:
                        places = references[:, :2] + shift / points * references[:, 2:] * 0.5
                    total = total + self.sample(own, places) * weights[:, head, place, point][:, None]
            mixed.append(total)
        return self.linear(torch.cat(mixed, 1), f"{name}.output_proj")

    def positions(self, height: int, width: int, channels: int) -> Tensor:
        """(h, w, C) sine embedding of all cells, padding included; y first, then x."""
        half = channels // 2
        found = torch.zeros(height, width, channels)
        for i in range(half):
            rate = 10000 ** (2 * (i // 2) / half)
            wave = math.sin if i % 2 == 0 else math.cos
            for y in range(height):
                found[y, :, i] = wave((y + 1) / (height + 1e-6) * 2 * math.pi / rate)
            for x in range(width):
                found[:, x, half + i] = wave((x + 1) / (width + 1e-6) * 2 * math.pi / rate)
        return found

    def pixel_decoder(self, maps: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Four levels [(h, w, C)], fine to coarse, and mask features (C', h, w) of one image's maps (1, c, h, w)."""
        name = "pixel_decoder"
        sources = [maps[1], maps[2], maps[3], maps[3]]
        projected, placed, centres = [], [], []
        for i, source in enumerate(sources):
            key = f"{name}.input_proj.{i}"
            extra = {"stride": 2, "padding": 1} if i == 3 else {}
            x = F.conv2d(source, self.w[f"{key}.0.weight"], self.w[f"{key}.0.bias"], **extra)
            x = self.group_norm(x, f"{key}.1")[0].permute(1, 2, 0)
            height, width, channels = x.shape
            projected.append(x)
            placed.append(self.positions(height, width, channels) + self.w[f"{name}.level_embed"][i])
            rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            centre = torch.stack([(columns + 0.5) * STRIDES[i], (rows + 0.5) * STRIDES[i]], -1) / self.sizes.frame
            centres.append(centre.reshape(-1, 2))
        shapes = [(x.shape[0], x.shape[1]) for x in projected]
        tokens = torch.cat([x.flatten(0, 1) for x in projected])
        placed, centres = torch.cat([x.flatten(0, 1) for x in placed]), torch.cat(centres)
        layer = 0
        while f"{name}.encoder.{layer}.norm1.weight" in self.w:
            key = f"{name}.encoder.{layer}"
            levels = _levels(tokens, shapes)
            attended = self.deformable(tokens + placed, levels, references=centres, name=f"{key}.self_attn")
            tokens = self.norm(tokens + attended, f"{key}.norm1")
            inner = self.linear(self.linear(tokens, f"{key}.linear1").clamp(min=0), f"{key}.linear2")
            tokens = self.norm(tokens + inner, f"{key}.norm2")
            layer += 1
        levels = _levels(tokens, shapes)
        side = self.group_norm(F.conv2d(maps[0], self.w[f"{name}.lateral.weight"]), f"{name}.lateral_norm")
        above = levels[0].permute(2, 0, 1)[None]
        above = F.interpolate(above, size=side.shape[-2:], mode="bilinear", align_corners=False)
        x = F.conv2d(side + above, self.w[f"{name}.output.weight"], padding=1)
        x = self.group_norm(x, f"{name}.output_norm").clamp(min=0)
        key = f"{name}.mask_features"
        return levels, F.conv2d(x, self.w[f"{key}.weight"], self.w[f"{key}.bias"])[0]

    # --- queries ---------------------------------------------------------------------------------------------------

    def select(self, levels: list[Tensor], text: Tensor, family: str) -> tuple[Tensor, Tensor]:
        """Features (N, C) and anchor logits (N, 4) of the tokens most similar to the text, best first."""
        features, anchors, scores = [], [], []
        for i, level in enumerate(levels):
            side = 0.05 * 2 ** (len(levels) - 1 - i)
            for row in range(level.shape[0]):
                for column in range(level.shape[1]):
                    box = [(column + 0.5) * STRIDES[i] / self.sizes.frame, (row + 0.5) * STRIDES[i] / self.sizes.frame]
                    box += [side, side]
                    valid = all(0.01 < number < 0.99 for number in box)
                    token = level[row, column] if valid else torch.zeros_like(level[row, column])
                    features.append(self.norm(self.linear(token, "selector.proj"), "selector.norm"))
                    numbers = torch.tensor(box if valid else [0.5, 0.5, 0.99, 0.99])
                    anchors.append((numbers / (1 - numbers)).log())
                    best = max(float((self.mlp(features[-1], f"heads.{family}") @ name).detach()) for name in text)
                    scores.append(best if valid else -math.inf)
        order = sorted(range(len(scores)), key=lambda i: -scores[i])[: self.sizes.num]
        chosen = torch.stack([features[i] for i in order])
        return chosen, self.mlp(chosen, "heads.box") + torch.stack([anchors[i] for i in order])

    def box_positions(self, boxes: Tensor) -> Tensor:
        """(n, C) for boxes (n, 4) cxcywh: sines of y, x, w, h, then an MLP."""
        channels = self.w["decoder.norm.weight"].shape[0] // 2
        pair = 2 * (torch.arange(channels) // 2)
        rates = 2 * math.pi / 10000 ** (pair / channels)
        parts = []
        for number in (1, 0, 2, 3):
            angles = boxes[:, number, None] * rates
            parts.append(torch.where(torch.arange(channels) % 2 == 0, angles.sin(), angles.cos()))
        return self.mlp(torch.cat(parts, 1), "decoder.ref_point_head")

    def self_attention(self, x: Tensor, placed: Tensor, *, blocked: Tensor | None, name: str) -> Tensor:
        width, heads = x.shape[1], self.sizes.heads
        side = width // heads
        weight, bias = self.w[f"{name}.in_proj_weight"], self.w[f"{name}.in_proj_bias"]
        query, key = (F.linear(x + placed, weight[i * width :][:width], bias[i * width :][:width]) for i in (0, 1))
        value = F.linear(x, weight[2 * width :], bias[2 * width :])
        mixed = []
        for head in range(heads):
            own = slice(head * side, (head + 1) * side)
            scores = query[:, own] @ key[:, own].T / math.sqrt(side)
            scores = scores if blocked is None else scores.masked_fill(blocked, -math.inf)
            mixed.append(scores.softmax(-1) @ value[:, own])
        return self.linear(torch.cat(mixed, 1), f"{name}.out_proj")

    def decode(
        self, content: Tensor, logits: Tensor, levels: list[Tensor], *, blocked: Tensor | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """(state for the class and mask heads, reported box) of the initial queries and of every layer."""
        coarse_first = levels[::-1]
        reference = before = logits.sigmoid()
        x, found, layer = content, [(self.norm(content, "decoder.norm"), reference)], 0
        while f"decoder.layers.{layer}.norm1.weight" in self.w:
            key = f"decoder.layers.{layer}"
            placed = self.box_positions(reference)
            attended = self.self_attention(x, placed, blocked=blocked, name=f"{key}.self_attn")
            x = self.norm(x + attended, f"{key}.norm2")
            attended = self.deformable(x + placed, coarse_first, references=reference, name=f"{key}.cross_attn")
            x = self.norm(x + attended, f"{key}.norm1")
            inner = self.linear(self.linear(x, f"{key}.linear1").clamp(min=0), f"{key}.linear2")
            x = self.norm(x + inner, f"{key}.norm3")
            once = self.norm(x, "decoder.norm")
            twice = self.norm(once, "decoder.norm")
            found.append((twice, (_logit(before) + self.mlp(once, "heads.box")).sigmoid()))
            # Inside the loop the boxes move by the state as it is, and the next layer starts without gradient.
            before = (_logit(reference) + self.mlp(x, "heads.box")).sigmoid()
            reference = before.detach()
            layer += 1
        return found

    def predict(self, state: Tensor, boxes: Tensor, *, text: Tensor, family: str, fine: Tensor) -> Prediction:
        """``text`` holds the names and, last, "background"; or one expression."""
        masks = torch.einsum("qc,chw->qhw", self.mlp(state, "heads.mask"), fine)
        return Prediction(self.mlp(state, f"heads.{family}") @ text.T, boxes, masks)

    # --- one image -------------------------------------------------------------------------------------------------

    def look(
        self, text: Tensor, levels: list[Tensor], fine: Tensor, *, family: str, stuff: bool, noised: tuple | None = None
    ) -> dict[str, list[Prediction] | Prediction]:
        """All sets of one image: "layers" (initial first), "selection", and "dn" when there are noised queries."""
        names = text[:-1] if family == "word" else text
        features, anchors = self.select(levels, names, family)
        content, logits = features.detach(), anchors.detach()
        selected, selected_boxes = features, anchors.sigmoid()
        if stuff:
            content = torch.cat([content, self.w["stuff.content"].detach()])
            logits = torch.cat([logits, self.w["stuff.boxes"].detach()])
            selected = torch.cat([selected, self.w["stuff.content"]])
            selected_boxes = torch.cat([selected_boxes, self.w["stuff.boxes"].detach().sigmoid()])
        count, blocked = 0, None
        if noised is not None:
            extra, extra_logits, slots = noised
            count, total = len(extra), len(extra) + len(content)
            blocked = torch.zeros(total, total, dtype=torch.bool)
            for row in range(total):
                for column in range(count):
                    blocked[row, column] = row >= count or row // slots != column // slots
            content, logits = torch.cat([extra, content]), torch.cat([extra_logits, logits])
        sets = self.decode(content, logits, levels, blocked=blocked)
        options = {"text": text, "family": family, "fine": fine}
        return {
            "layers": [self.predict(state[count:], boxes[count:], **options) for state, boxes in sets],
            "dn": [self.predict(state[:count], boxes[:count], **options) for state, boxes in sets] if count else [],
            "selection": self.predict(self.norm(selected, "decoder.norm"), selected_boxes, **options),
        }


def _levels(tokens: Tensor, shapes: list[tuple[int, int]]) -> list[Tensor]:
    parts = tokens.split([height * width for height, width in shapes])
    return [part.reshape(*shape, -1) for part, shape in zip(parts, shapes, strict=True)]


def _logit(boxes: Tensor) -> Tensor:
    clamped = boxes.clamp(1e-5, 1 - 1e-5)
    return (clamped / (1 - clamped)).log()
