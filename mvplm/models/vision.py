"""Vision encoders: images to feature maps of strides 4, 8, 16 and 32.

Source: MVP-LM, section 3 (Swin-B, frozen in both training stages).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mvplm.models.memo import Memo, content_key, weights_version
from mvplm.structures.choices import near_matches

STRIDES = (4, 8, 16, 32)


class VisionEncoder(Protocol):
    """What the model asks of an encoder: ``channels`` per stride, and a call from images to maps.

    ``encoder(images)`` takes (B, 3, H, W) float, H and W multiples of 32, and returns {stride: (B, C_stride, H/stride,
    W/stride)} for the strides 4, 8, 16 and 32.
    """

    channels: dict[int, int]

    def __call__(self, images: Tensor) -> dict[int, Tensor]:
        """The maps of ``images``, by stride."""
        ...


class _Encoder(nn.Module):
    """A network that can be frozen: then it stays in eval mode (no stochastic depth, no statistics), no gradient.

    A frozen one can remember its maps: set ``memo``, and pictures that come again are not encoded again.
    """

    channels: dict[int, int]

    def __init__(self, *, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen
        self.memo: Memo | None = None

    def train(self, mode: bool = True) -> "_Encoder":
        """Switch the mode; a frozen encoder always remains in eval mode."""
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Maps by stride of images (B, 3, H, W). Raises ValueError when a side is no multiple of 32."""
        height, width = images.shape[-2:]
        if height % STRIDES[-1] or width % STRIDES[-1]:
            raise ValueError(f"image sides must be multiples of {STRIDES[-1]}, got {height}x{width}")
        if self.frozen and self.memo is not None:
            return self._remembered(images, self.memo)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return self._maps(images)

    def _remembered(self, images: Tensor, memo: Memo) -> dict[int, Tensor]:
        def compute(places: list[int]) -> list[tuple[Tensor, ...]]:
            with torch.no_grad():
                maps = self._maps(images[places])
            return list(zip(*(maps[stride] for stride in STRIDES), strict=True))

        version = weights_version(self)
        rows = memo.rows([content_key(image) + version for image in images], compute)
        stacked = [torch.stack(level) for level in zip(*rows, strict=True)]
        return {stride: level.to(images.device, images.dtype) for stride, level in zip(STRIDES, stacked, strict=True)}

    def _maps(self, images: Tensor) -> dict[int, Tensor]:
        raise NotImplementedError

    def _freeze(self) -> None:
        if self.frozen:
            self.requires_grad_(False)
            self.eval()


class SwinEncoder(_Encoder):
    """Swin whose function equals the detectron2 family's, through transformers' ``SwinBackbone``.

    Args:
        embed_dim, depths, num_heads, window_size: the usual four; the base model has 128, (2, 2, 18, 2),
            (4, 8, 16, 32), 12.
        drop_path: stochastic depth, linear over the blocks; only alive when the encoder is trained.
        frozen: no gradient and eval mode always.

    Source: MVP-LM, section 3.1; Swin Transformer. Every stage has its own output LayerNorm.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        num_heads: Sequence[int] = (4, 8, 16, 32),
        window_size: int = 12,
        drop_path: float = 0.0,
        frozen: bool = True,
    ) -> None:
        super().__init__(frozen=frozen)
        from transformers import SwinBackbone, SwinConfig

        config = SwinConfig(
            embed_dim=embed_dim,
            depths=list(depths),
            num_heads=list(num_heads),
            window_size=window_size,
            drop_path_rate=drop_path,
            out_features=[f"stage{i + 1}" for i in range(len(STRIDES))],
        )
        self.backbone = SwinBackbone(config)
        # The norm after the last stage feeds image classification only; the maps have norms of their own.
        self.backbone.swin.layernorm = nn.Identity()
        self.channels = {stride: embed_dim * 2**i for i, stride in enumerate(STRIDES)}
        self._freeze()

    def _maps(self, images: Tensor) -> dict[int, Tensor]:
        return dict(zip(STRIDES, self.backbone(images).feature_maps, strict=True))


class TimmEncoder(_Encoder):
    """Any timm network that offers feature maps of strides 4, 8, 16 and 32.

    Args:
        name: timm's model name.
        frozen: no gradient and eval mode always.
        pretrained: let timm fetch its weights.
        options: passed to ``timm.create_model`` (``channels``, ``layers``, ``img_size``, ...).

    Raises:
        ValueError: for a name timm does not know (with near matches), or a network without the four strides.
    """

    def __init__(self, name: str, *, frozen: bool = False, pretrained: bool = False, **options: Any) -> None:
        super().__init__(frozen=frozen)
        import timm

        if not timm.is_model(name.split(".")[0]):
            raise ValueError(f"timm has no model {name!r}{near_matches(name, timm.list_models(), most=5)}")
        try:
            self.backbone = timm.create_model(name, pretrained=pretrained, features_only=True, **options)
        except RuntimeError as error:
            raise ValueError(f"timm's {name!r} gives no feature maps: {error}") from error
        strides = list(self.backbone.feature_info.reduction())
        if missing := [stride for stride in STRIDES if stride not in strides]:
            raise ValueError(f"timm's {name!r} has maps of strides {strides}; the strides {missing} are missing")
        # Several maps may share a stride; the deepest one counts.
        self._positions = {stride: len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES}
        channels = self.backbone.feature_info.channels()
        self.channels = {stride: channels[position] for stride, position in self._positions.items()}
        self._channels_last = str(getattr(self.backbone, "output_fmt", "NCHW")).endswith("NHWC")
        self._freeze()

    def _maps(self, images: Tensor) -> dict[int, Tensor]:
        maps = self.backbone(images)
        chosen = {stride: maps[position] for stride, position in self._positions.items()}
        if self._channels_last:
            chosen = {stride: feature.permute(0, 3, 1, 2) for stride, feature in chosen.items()}
        return chosen
