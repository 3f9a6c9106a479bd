"""Bilinear samples of maps, by the kernel of deformable attention where there is one.

A sample is an attention with one head, one level and one point of weight 1.
"""

from torch import Tensor
from torch.nn import functional as F

from mvplm.models.ops.deform_attn import multi_scale_deformable_attention


def sample_maps(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples (B, C, P) float32 of maps (B, C, h, w) at points (B, P, 2); zero beyond the border.

    Points are (x, y) fractions of the map: 0 is its left (top) edge, 1 its right (bottom) edge. On CPU maps whose
    channels lie side by side (``torch.channels_last``) are read without a copy.
    """
    maps, points = maps.float(), points.float()
    if maps.device.type != "cpu":
        return F.grid_sample(maps, 2 * points[:, None] - 1, align_corners=False).squeeze(2)
    per_point = (*points.shape[:2], 1, 1, 1)
    samples = multi_scale_deformable_attention(
        maps.flatten(2).transpose(1, 2)[:, :, None],
        [(maps.shape[-2], maps.shape[-1])],
        sampling_locations=points.view(*per_point, 2),
        attention_weights=points.new_ones(per_point),
    )
    return samples.transpose(1, 2)
