"""Operators with a plain PyTorch reference and faster kernels behind the same function."""

from mvplm.models.ops.deform_attn import MultiScaleDeformableAttention, multi_scale_deformable_attention
from mvplm.models.ops.sampling import sample_maps

__all__ = ["MultiScaleDeformableAttention", "multi_scale_deformable_attention", "sample_maps"]
