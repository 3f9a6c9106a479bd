"""The box-guided mask decoder of Qwen3-VL-Seg: from boxes and states of the base model to masks.

Source: Qwen3-VL-Seg (arXiv 2605.07141): multi-scale spatial feature injection, spatial-semantic query construction,
box-guided high-resolution pixel fusion, iterative mask-aware query refinement. Widths, depths and kernel sizes are
this project's own: the paper's text with them was not at hand.
"""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.models.qwen3vl_seg.contracts import STRIDE, DecoderInput, DecoderOutput, joined
from mvplm.models.qwen3vl_seg.masks import DynamicMask, MaskAwareRefinement
from mvplm.models.qwen3vl_seg.memory import SpatialMemory
from mvplm.models.qwen3vl_seg.pixels import BoxGuidedFusion
from mvplm.models.qwen3vl_seg.queries import QueryDecoder, SpatialSemanticQuery
from mvplm.models.qwen3vl_seg.settings import DecoderSettings
from mvplm.structures.choices import check_choice


class BoxGuidedMaskDecoder(nn.Module):
    """Masks of boxes on images of any size, several instances per image decoded jointly.

    Args:
        channels: D, text width of the base model.
        levels: K, merged maps of the vision tower.
        settings: everything else; None: the defaults.
    """

    def __init__(self, channels: int, levels: int, *, settings: DecoderSettings | None = None) -> None:
        super().__init__()
        settings = settings or DecoderSettings()
        self.channels, self.levels, self.settings = channels, levels, settings
        self.memory = SpatialMemory(channels, levels, settings=settings)
        self.query = SpatialSemanticQuery(channels, settings)
        self.attention = QueryDecoder(settings)
        self.pixels = BoxGuidedFusion(settings)
        self.mask = DynamicMask(settings.width)
        self.refine = MaskAwareRefinement(settings.width) if settings.refinement else None
        self.iou = nn.Linear(settings.width, 1)

    @classmethod
    def from_base_config(cls, config: Any, **settings: Any) -> "BoxGuidedMaskDecoder":
        """The decoder that fits a base model, with new weights on the current default device.

        Args:
            config: ``Qwen3VLConfig`` or ``Qwen3VLMoeConfig`` of transformers.
            settings: fields of :class:`DecoderSettings`.

        Raises:
            ValueError: the configuration has no text or vision part, its merged tokens do not cover 32 x 32 pixels, or
                its levels are not as wide as its text; or a setting does not fit.
        """
        text, vision = getattr(config, "text_config", None), getattr(config, "vision_config", None)
        if text is None or not hasattr(vision, "deepstack_visual_indexes"):
            raise ValueError(f"expected the configuration of a Qwen3-VL, got {type(config).__name__}")
        stride = vision.patch_size * vision.spatial_merge_size
        if stride != STRIDE:
            raise ValueError(f"patch_size * spatial_merge_size must be {STRIDE}, got {stride}")
        if vision.out_hidden_size != text.hidden_size:
            raise ValueError(
                "vision_config.out_hidden_size must equal text_config.hidden_size, "
                f"got {vision.out_hidden_size} and {text.hidden_size}"
            )
        for key in settings:
            check_choice("decoder setting", key, choices=DecoderSettings.__dataclass_fields__)
        levels = len(vision.deepstack_visual_indexes) + 1
        return cls(text.hidden_size, levels, settings=DecoderSettings(**settings))

    def forward(self, inputs: list[DecoderInput]) -> list[DecoderOutput]:
        """Masks of each image's instances, in the order of ``inputs``; an image without boxes gets empty tensors.

        Images of one size share the dense parts and none is padded there: norms and convolutions would see it.

        Raises:
            ValueError: an input was made for another base model.
        """
        for entry in inputs:
            self._check(entry)
        chunks = [entry.chunks(self.settings.max_instances) for entry in inputs]
        decoded = iter(self._decode([chunk for own in chunks for chunk in own]))
        return [joined([next(decoded) for _ in own]) for own in chunks]

    def _check(self, entry: DecoderInput) -> None:
        if len(entry.levels) != self.levels or entry.mask_states.shape[1] != self.channels:
            raise ValueError(
                f"the decoder was built for {self.levels} levels of width {self.channels}, "
                f"got {len(entry.levels)} of width {entry.mask_states.shape[1]}"
            )

    def _decode(self, inputs: list[DecoderInput]) -> list[DecoderOutput]:
        outputs = [self._empty(entry) for entry in inputs]
        asked = [row for row, entry in enumerate(inputs) if len(entry.boxes)]
        if not asked:
            return outputs
        memories: dict[int, Tensor] = {}
        pixels: dict[int, Tensor] = {}
        for rows in _same_grid(inputs, asked):
            memory, features = self._dense([inputs[row] for row in rows])
            memories.update(zip(rows, memory.flatten(2).transpose(1, 2), strict=True))
            pixels.update(zip(rows, features, strict=True))
        first = [self.query(inputs[row].boxes, inputs[row].mask_states) for row in asked]
        attended = self.attention(first, [memories[row] for row in asked])
        for row, queries in zip(asked, attended, strict=True):
            outputs[row] = self._masks(queries, pixels[row])
        return outputs

    def _dense(self, inputs: list[DecoderInput]) -> tuple[Tensor, list[Tensor]]:
        """Memory (B, d, h, w) and pixel features of images of one size."""
        levels = [torch.stack(maps) for maps in zip(*(entry.levels for entry in inputs), strict=True)]
        memory = self.memory(levels, torch.stack([entry.image_states for entry in inputs]))
        images = torch.stack([entry.image for entry in inputs]).to(memory.dtype)
        return memory, self.pixels(memory, images, boxes=[entry.boxes for entry in inputs])

    def _masks(self, queries: Tensor, pixels: Tensor) -> DecoderOutput:
        coarse = self.mask(queries, pixels)
        if self.refine is None:
            return DecoderOutput(coarse, coarse, self.iou(queries)[:, 0], queries)
        refined = self.refine(queries, coarse, pixels=pixels)
        return DecoderOutput(coarse, self.mask(refined, pixels), self.iou(refined)[:, 0], refined)

    def _empty(self, entry: DecoderInput) -> DecoderOutput:
        height, width = entry.grid
        logits = entry.mask_states.new_zeros(0, 4 * height, 4 * width)
        queries = entry.mask_states.new_zeros(0, self.settings.width)
        return DecoderOutput(logits, logits, queries.new_zeros(0), queries)


def _same_grid(inputs: list[DecoderInput], rows: list[int]) -> list[list[int]]:
    """The given rows, grouped by the grid of their images."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in rows:
        groups[inputs[row].grid].append(row)
    return list(groups.values())
