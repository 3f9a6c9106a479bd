"""Operators with a plain PyTorch reference and faster kernels behind the same function."""

from mvplm.models.ops.deform_attn import MultiScaleDeformableAttention, multi_scale_deformable_attention

__all__ = ["MultiScaleDeformableAttention", "multi_scale_deformable_attention"]
