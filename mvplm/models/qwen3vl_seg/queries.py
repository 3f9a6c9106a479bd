"""Spatial-semantic queries: where (Fourier features of the box) and what (state of the mask token), then attention."""

import torch
from torch import Tensor, nn

from mvplm.models.qwen3vl_seg.settings import DecoderSettings

_SMALLEST_SIDE = 1e-3


def box_coordinates(boxes: Tensor) -> Tensor:
    """The four scalars (..., 4) that stand for XYXY_NORM boxes: x1, y1 and both sides on a log scale.

    A side s becomes ``0.2 * ln(s) + 0.5``; sides below 0.001 count as 0.001. Computed in float64 where there is one.
    """
    boxes = boxes.to(_finest(boxes.device))
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=_SMALLEST_SIDE)
    return torch.cat([boxes[..., :2], 0.2 * sides.log() + 0.5], dim=-1)


def fourier_features(values: Tensor, *, bands: int, max_octave: int) -> Tensor:
    """Sines, then cosines (..., 2 * bands) float32 of ``pi * f * value``, f from 1 to ``2 ** max_octave`` by ratio.

    In float32 the angles of the upper bands would be off by some 0.0005; float64 costs nothing for a few boxes.
    """
    dtype = _finest(values.device)
    exponents = torch.arange(bands, dtype=dtype, device=values.device) * (max_octave / (bands - 1))
    angles = values.to(dtype)[..., None] * (torch.pi * torch.exp2(exponents))
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


def _finest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


class SpatialSemanticQuery(nn.Module):
    """One query (k, d) per box and mask-token state.

    Args:
        channels: D, text width of the base model.
        settings: width and Fourier bands.
    """

    def __init__(self, channels: int, settings: DecoderSettings) -> None:
        super().__init__()
        width = settings.width
        self.bands, self.max_octave = settings.bands, settings.max_octave
        self.box = nn.Sequential(nn.Linear(8 * settings.bands, width), nn.GELU(), nn.Linear(width, width))
        self.language = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, boxes: Tensor, mask_states: Tensor) -> Tensor:
        """Queries (k, d) from XYXY_NORM boxes (k, 4) and states (k, D)."""
        features = fourier_features(box_coordinates(boxes), bands=self.bands, max_octave=self.max_octave)
        return self.norm(self.box(features.flatten(-2).to(mask_states.dtype)) + self.language(mask_states))


class QueryDecoder(nn.Module):
    """Post-norm transformer layers: queries of one image look at each other, then at the image's memory.

    Args:
        settings: width, layers, heads, ffn and whether instances are independent.
    """

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        self.independent = settings.independent
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                settings.width, settings.heads, settings.ffn, dropout=0.0, activation="gelu", batch_first=True
            )
            for _ in range(settings.layers)
        )

    def forward(self, queries: list[Tensor], memories: list[Tensor]) -> list[Tensor]:
        """Updated queries of each image.

        Args:
            queries: per image (k, d), k at least 1; k differs between images.
            memories: per image (V, d); V differs between images.
        """
        states, no_query = _padded(queries)
        memory, no_memory = _padded(memories)
        apart = None
        if self.independent:
            apart = ~torch.eye(states.shape[1], dtype=torch.bool, device=states.device)
            no_query = None
        for layer in self.layers:
            states = layer(
                states, memory, tgt_mask=apart, tgt_key_padding_mask=no_query, memory_key_padding_mask=no_memory
            )
        return [row[: len(own)] for row, own in zip(states, queries, strict=True)]


def _padded(sequences: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    """(B, longest, d) with zeros at the end, and True where there is padding (None without any)."""
    lengths = [len(sequence) for sequence in sequences]
    padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    if len(set(lengths)) == 1:
        return padded, None
    counts = torch.tensor(lengths, device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) >= counts[:, None]
