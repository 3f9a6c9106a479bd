"""A batch: samples of one family, padded together."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from mvplm.structures.box_prompts import PromptedBoxes
from mvplm.structures.boxes import BoxFormat
from mvplm.structures.sample import Target


@dataclass
class FurtherPrompts:
    """Prompts with the rest of lists that are too long for one prompt.

    Attributes:
        input_ids: (R, T) int64, right-padded; attention_mask: (R, T) bool. They start like the batch's own prompts.
        name_spans: (R, K, 2) int64, (0, 0) for names of other prompts.
        object_spans, no_object_spans: (R, 2) int64, or None; see Batch.
        summary_index: (R,) int64 position of ``<PER>``, -1 where the prompt has none.
        rows: R host integers, the row of the batch that each prompt belongs to.
        shared: leading positions (wrapper, image, description) that all prompts of a row share; a host integer.
    """

    input_ids: Tensor
    attention_mask: Tensor
    name_spans: Tensor
    object_spans: Tensor | None
    summary_index: Tensor
    rows: list[int]
    shared: int
    no_object_spans: Tensor | None = None


@dataclass
class Batch:
    """Samples padded to common sizes. Integers that decide shapes stay on the host.

    Attributes:
        images: (I, 3, H, W) float32, normalised, zero (the mean colour) in the padding; I = B unless rows share images.
        valid: (I, H, W) bool, True on real pixels.
        valid_sizes: B pairs (h, w), un-padded size inside the frame.
        original_sizes: B pairs (H, W).
        image_ids: B ids.
        task, family, use_stuff: shared by the whole batch (see Sample).
        input_ids, labels: (B, T) int64, right-padded; attention_mask: (B, T) bool.
        image_starts: B host integers, position of the first visual token of each row.
        num_image_tokens: V.
        name_spans: (B, K, 2) int64; name_mask: (B, K) bool, False on padded names; isthing: (B, K) bool.
        summary_index: (B,) int64 position of ``<PER>`` as input, -1 where the prompt has none.
        supervised: (M,) int64 flat positions b * T + t whose *next* token is supervised (host-computed, so that the
            LM head runs only there); supervised_labels: (M,) int64 those next tokens.
        names: B tuples of names in the caller's order.
        targets: B targets, or None at inference.
        image_rows: B host integers, the image of each row, when rows share images (several expressions about one
            picture, which is encoded once); None when every row has its own.
        max_targets: largest number of targets of a sample (host integer, decides denoising slots).
        box_format: of the targets' boxes, CXCYWH_NORM or CXCYWH_PADDED; must be that of the model.
        no_object_spans: (B, 2) int64, token span of the name that stands for no object, (0, 0) where it stands in
            another prompt; None where it is learned or known.
        zero_mask: (B, T) bool, True where the input is a zero vector instead of a token; None without such places.
        asides: (B, 2) int64 (start, end) of lists that later tokens do not look at, or None.
        object_spans: (B, 2) int64 span of the word that stands for anything, (0, 0) where a prompt has none; or None.
        further: more prompts of rows with long lists, or None.
        box_prompts: boxes asked about (inference only), or None.
    """

    images: Tensor
    valid: Tensor
    valid_sizes: list[tuple[int, int]]
    original_sizes: list[tuple[int, int]]
    image_ids: list[int | str]
    task: str
    family: str
    use_stuff: bool
    input_ids: Tensor
    labels: Tensor
    attention_mask: Tensor
    image_starts: list[int]
    num_image_tokens: int
    name_spans: Tensor
    name_mask: Tensor
    isthing: Tensor
    summary_index: Tensor
    supervised: Tensor
    supervised_labels: Tensor
    names: list[tuple[str, ...]]
    targets: list[Target] | None = None
    image_rows: list[int] | None = None
    max_targets: int = 0
    box_format: BoxFormat = BoxFormat.CXCYWH_NORM
    no_object_spans: Tensor | None = None
    zero_mask: Tensor | None = None
    asides: Tensor | None = None
    object_spans: Tensor | None = None
    further: FurtherPrompts | None = None
    box_prompts: PromptedBoxes | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with every tensor (targets included) on ``device``."""
        moved = _moved_tensors(self, device)
        for name in ("further", "box_prompts"):
            part = getattr(self, name)
            moved[name] = None if part is None else replace(part, **_moved_tensors(part, device))
        targets = None
        if self.targets is not None:
            targets = [
                Target(
                    t.labels.to(device),
                    t.boxes.to(device),
                    None if t.masks is None else t.masks.to(device),
                    t.has_mask.to(device),
                )
                for t in self.targets
            ]
        return replace(self, **moved, targets=targets)


def _moved_tensors(part: Any, device: torch.device | str) -> dict[str, Any]:
    """The tensor fields of a dataclass, on ``device``."""
    return {f.name: v.to(device) for f in fields(part) if isinstance(v := getattr(part, f.name), Tensor)}
