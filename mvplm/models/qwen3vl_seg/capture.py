"""Catching what the mask decoder needs while the base model reads and writes: one pass, nothing is run twice.

Two forward hooks, on the vision tower and on the last norm of the language model, and one that sees the ids of every
call; outside of the context none exists. States are kept only where the ids say image or mask token, so it does not
matter whether they come in one prefill, in chunks, in steps of one token, or in one teacher-forced pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.models.qwen3vl_seg.contracts import DecoderInput
from mvplm.models.qwen3vl_seg.tokens import Grid, merged_maps, unpatchify


@dataclass(frozen=True)
class ImageStates:
    """What belongs to one image.

    Attributes:
        levels: K maps (D, h, w) of the vision tower. image: (3, 32 * h, 32 * w) in [-1, 1].
        states: (D, h, w) last states of the language model at the image tokens.
    """

    levels: list[Tensor]
    image: Tensor
    states: Tensor

    def asked(self, mask_states: Tensor, boxes: Tensor, *, dtype: torch.dtype | None = None) -> DecoderInput:
        """The input of the mask decoder for instances of the image.

        Args:
            mask_states: (k, D). boxes: (k, 4) XYXY_NORM. dtype: of the decoder, where it is another one.
        """
        kept = dtype or self.states.dtype
        return DecoderInput(
            [level.to(kept) for level in self.levels],
            self.image.to(kept),
            self.states.to(kept),
            mask_states=mask_states.to(kept),
            boxes=boxes.to(self.states.device, torch.float32),
        )


def base_of(model: nn.Module) -> Any:
    """The Qwen3-VL inside adapters, if there are any."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not hasattr(getattr(inner, "model", None), "visual"):
        raise ValueError(f"expected a Qwen3-VL for conditional generation, got {type(inner).__name__}")
    return inner


def visual_levels(output: Any) -> list[Tensor]:
    """The merged maps of a vision tower's output, DeepStack levels in order and then the final one, each (sum V, D).

    Older versions of transformers return a pair of the final map and the list of levels.
    """
    if isinstance(output, tuple):
        final, levels = output
        return [*levels, final]
    return [*output.deepstack_features, output.pooler_output]


class StateCapture:
    """A context in which calls of a model leave behind what the mask decoder needs.

    It works with ``forward`` (teacher-forced, gradients flow) and with ``generate``. The batch has one image per row.

    Args:
        model: the base model, or one with adapters.
        mask_id: id of ``<mask_token>``. images: of images seen in an earlier pass, whose cache the calls go on from.

    Attributes:
        visual_calls: how often the vision tower ran. seen: (B, T) ids the language model has read so far.
    """

    def __init__(self, model: nn.Module, *, mask_id: int, images: Sequence[ImageStates] = ()) -> None:
        self._base = base_of(model)
        self.mask_id = mask_id
        self.image_id = int(self._base.config.image_token_id)
        self.merge = int(self._base.config.vision_config.spatial_merge_size)
        self.patch = int(self._base.config.vision_config.patch_size)
        self._given = list(images)
        self._hooks: list[Any] = []
        self._clear()

    def _clear(self) -> None:
        self.visual_calls = 0
        self._pixels: Tensor | None = None
        self._grids: list[Grid] = []
        self._levels: list[Tensor] = []
        self._calls: list[Tensor] = []
        self._image_rows: list[list[Tensor]] = []
        self._mask_rows: list[list[Tensor]] = []

    def __enter__(self) -> "StateCapture":
        self._clear()
        inner = self._base.model
        self._hooks = [
            inner.register_forward_pre_hook(self._on_ids, with_kwargs=True),
            inner.visual.register_forward_hook(self._on_visual, with_kwargs=True),
            inner.language_model.norm.register_forward_hook(self._on_states),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @property
    def seen(self) -> Tensor:
        """(B, T) ids that the language model has read."""
        return torch.cat(self._calls, dim=1)

    def _on_ids(self, *call: Any) -> None:
        _, args, kwargs = call
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None:
            raise ValueError("states are found by ids: call the model with input_ids, not with embeddings")
        if kwargs.get("pixel_values_videos") is not None:
            raise ValueError("masks are made on single images, not on videos")
        if self._calls and len(ids) != len(self._calls[0]):
            raise ValueError(
                f"the batch changed from {len(self._calls[0])} to {len(ids)} rows: beam search and assisted decoding "
                "cannot be combined with masks"
            )
        if not self._calls:
            self._image_rows, self._mask_rows = ([[] for _ in range(len(ids))] for _ in range(2))
        self._calls.append(ids)

    def _on_visual(self, *call: Any) -> None:
        _, args, kwargs, output = call
        self.visual_calls += 1
        grids = kwargs["grid_thw"] if "grid_thw" in kwargs else args[1]
        if bool((grids[:, 0] != 1).any()):
            raise ValueError("masks are made on single images, not on videos")
        self._pixels = args[0] if args else kwargs["hidden_states"]
        self._grids = [(int(height), int(width)) for _, height, width in grids.tolist()]
        # get_image_features later puts other tensors into the same output object.
        self._levels = visual_levels(output)

    def _on_states(self, *call: Any) -> None:
        states: Tensor = call[-1]
        for row, (ids, own) in enumerate(zip(self._calls[-1], states, strict=True)):
            self._image_rows[row].append(own[ids == self.image_id])
            self._mask_rows[row].append(own[ids == self.mask_id])

    @property
    def mask_states(self) -> list[Tensor]:
        """Per row (n, D): the states of the steps that read the row's mask tokens, in order."""
        return [torch.cat(parts) for parts in self._mask_rows]

    @property
    def images(self) -> list[ImageStates]:
        """Per row what belongs to its image.

        Raises:
            ValueError: no image, or not one per row.
        """
        if self._given:
            return self._given
        rows = [torch.cat(parts) for parts in self._image_rows]
        if self._pixels is None or len(self._grids) != len(rows):
            raise ValueError(
                f"a segmentation needs exactly one image per question, got {len(self._grids)} for {len(rows)}"
            )
        side = self.merge
        levels = [merged_maps(level, self._grids, merge=side) for level in self._levels]
        pixels = self._pixels.split([height * width for height, width in self._grids])
        found = []
        for row, (states, grid) in enumerate(zip(rows, self._grids, strict=True)):
            if len(states) != grid[0] * grid[1] // side**2:
                raise ValueError(
                    f"row {row} has {len(states)} image tokens for a grid of {grid}: one image per question"
                )
            image = unpatchify(pixels[row], grid, merge=side, patch=self.patch)
            maps = merged_maps(states, [grid], merge=side)[0]
            found.append(ImageStates([level[row] for level in levels], image, maps))
        return found

    def decoder_inputs(self, boxes: Sequence[Tensor], index: Sequence[Sequence[int]]) -> list[DecoderInput]:
        """What the mask decoder takes, per row.

        Args:
            boxes: per row (k, 4) XYXY_NORM. index: per row and box, which of the row's mask tokens is its own.
        """
        return [
            image.asked(states[torch.as_tensor(list(own), dtype=torch.long, device=states.device)], given)
            for image, states, given, own in zip(self.images, self.mask_states, boxes, index, strict=True)
        ]
