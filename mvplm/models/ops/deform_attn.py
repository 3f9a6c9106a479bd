"""Multi-scale deformable attention: every query looks at a few learned places of every feature level.

One function, several implementations: the plain PyTorch reference, a kernel for CPU, one for GPU.
Source: Deformable-DETR, section 4.1.
"""

import math

import torch
from torch import Tensor, nn

from mvplm.models.ops.backends import BACKENDS, backend_name
from mvplm.models.ops.registration import AttentionInputs

Shapes = list[tuple[int, int]]


def multi_scale_deformable_attention(
    value: Tensor,
    spatial_shapes: Shapes,
    *,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    backend: str = "auto",
) -> Tensor:
    """Attended values (B, Q, heads * dim) float32.

    A location spans pixel edges: 0 is the left (top) edge of the first cell, 1 the right (bottom) edge of the last;
    outside of the map everything is zero. Differentiable once in value, locations and weights.

    Args:
        value: (B, N, heads, dim) of any floating type, the cells of all levels, each level row by row.
        spatial_shapes: (h, w) of the L levels; their areas sum to N.
        sampling_locations: (B, Q, heads, L, points, 2) (x, y), computed in float32.
        attention_weights: (B, Q, heads, L, points), computed in float32; a softmax is not part of the function.
        backend: "auto" (the fastest for the device, or what MVPLM_DEFORM_ATTN names) or a key of ``BACKENDS``.

    Raises:
        ValueError: for an unknown backend or when the shapes do not fit.
        RuntimeError: when the named backend cannot run here.
    """
    sides = [side for shape in spatial_shapes for side in shape]
    inputs = AttentionInputs(value, sides, sampling_locations.float(), attention_weights.float())
    name = backend_name(
        backend,
        device=value.device.type,
        dim=int(value.shape[-1]),
        levels=inputs.levels,
        points=inputs.points,
        gradients=torch.is_grad_enabled() and any(x.requires_grad for x in (value, inputs.locations, inputs.weights)),
    )
    with torch.autocast(value.device.type, enabled=False):
        return BACKENDS[name](inputs)


class MultiScaleDeformableAttention(nn.Module):
    """Deformable attention with its four linear layers; offsets, weights and sampling are float32 under autocast.

    Args:
        width: C.
        levels, heads, points: feature levels, heads (must divide C), sampling points per head and level.
        backend: see :func:`multi_scale_deformable_attention`.

    Raises:
        ValueError: when ``heads`` does not divide ``width``.
    """

    def __init__(self, width: int, *, levels: int = 4, heads: int = 8, points: int = 4, backend: str = "auto") -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.levels, self.heads, self.points, self.backend = levels, heads, points, backend
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start values: head h looks along angle 2 pi h / heads, one step further with every point."""
        angles = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        offsets = directions[:, None, None] * steps[:, None]
        offsets = offsets.expand(self.heads, self.levels, self.points, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.reshape(-1))
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        query: Tensor,
        memory: Tensor,
        *,
        spatial_shapes: Shapes,
        references: Tensor,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Attended memory (B, Q, C).

        Args:
            query: (B, Q, C) states with positions added.
            memory: (B, N, C) tokens.
            spatial_shapes: (h, w) of each level.
            references: (B, Q, L or 1, 2 or 4) float32 points (x, y) or boxes cxcywh in fractions of the padded frame.
            padding: (B, N) bool, True on tokens that count as zero.

        Raises:
            ValueError: when the references are neither points nor boxes.
        """
        batch, count, width = query.shape
        value = self.value_proj(memory)
        if padding is not None:
            value = value.masked_fill_(padding[..., None], 0)
        with torch.autocast(query.device.type, enabled=False):
            query = query.float()
            offsets = self.sampling_offsets(query).view(batch, count, self.heads, -1)
            locations = self._locations(references.float(), offsets, spatial_shapes=spatial_shapes)
            weights = _softmax(self.attention_weights(query).view(batch, count, self.heads, -1))
        per_point = (batch, count, self.heads, self.levels, self.points)
        attended = multi_scale_deformable_attention(
            value.view(batch, -1, self.heads, width // self.heads),
            spatial_shapes,
            sampling_locations=locations.view(*per_point, 2),
            attention_weights=weights.view(per_point),
            backend=self.backend,
        )
        return self.output_proj(attended)

    def _locations(self, references: Tensor, offsets: Tensor, *, spatial_shapes: Shapes) -> Tensor:
        """Places (B, Q, heads, L * points * 2) from references (B, Q, L or 1, 2 or 4) and offsets of that shape.

        References are repeated per point, which is little, so that the large sum runs over long rows.
        """
        batch, count, _, size = references.shape
        if size not in (2, 4):
            raise ValueError(f"references must be points (2) or boxes (4), got a dimension of {size}")
        references = references[:, :, :, None].expand(-1, -1, self.levels, self.points, -1)
        centres = references[..., :2].reshape(batch, count, 1, -1)
        if size == 4:
            steps = (references[..., 2:] * (0.5 / self.points)).reshape(batch, count, 1, -1)
        else:
            cells = offsets.new_tensor([[1 / width, 1 / height] for height, width in spatial_shapes])
            steps = cells[:, None].expand(-1, self.points, -1).reshape(-1)
        return torch.addcmul(centres, offsets, steps)


def _softmax(logits: Tensor) -> Tensor:
    """Softmax over the last dimension; on CPU across columns, which for a few numbers is several times faster."""
    if logits.device.type != "cpu":
        return logits.softmax(-1)
    columns = logits.flatten(0, -2).t().contiguous()
    return columns.softmax(0).t().contiguous().view(logits.shape)
