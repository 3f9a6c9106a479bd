"""A sample: one record made ready for the network. Target, rendered prompt and resized image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.structures.choices import check_choice

FAMILIES = ("word", "sentence", "caption")


@dataclass
class Target:
    """What the decoder should find.

    Attributes:
        labels: (N,) int64, index into the sample's list of names in the caller's order (all 0 for a sentence).
        boxes: (N, 4) float32 CXCYWH_NORM, fractions of the un-padded image (in a batch: in the batch's format).
        masks: (N, h, w) bool at the resized, un-padded input size, or None when no object has a mask.
        has_mask: (N,) bool; rows of ``masks`` that are real. Left out: all of them, or none without masks.
    """

    labels: Tensor
    boxes: Tensor
    masks: Tensor | None = None
    has_mask: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.has_mask is None:
            self.has_mask = torch.full_like(self.labels, self.masks is not None, dtype=torch.bool)
        if self.labels.dtype != torch.int64 or self.labels.ndim != 1:
            raise ValueError(f"labels must be int64 (N,), got {self.labels.dtype} {tuple(self.labels.shape)}")
        if tuple(self.boxes.shape) != (count, 4):
            raise ValueError(f"boxes must be ({count}, 4), got {tuple(self.boxes.shape)}")
        if tuple(self.has_mask.shape) != (count,) or self.has_mask.dtype != torch.bool:
            raise ValueError(
                f"has_mask must be bool ({count},), got {self.has_mask.dtype} {tuple(self.has_mask.shape)}"
            )
        if self.masks is not None and (self.masks.ndim != 3 or len(self.masks) != count):
            raise ValueError(f"masks must be ({count}, h, w), got {tuple(self.masks.shape)}")
        if self.masks is None and bool(self.has_mask.any()):
            raise ValueError("has_mask is set but there are no masks")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class RenderedPrompt:
    """A conversation as token ids, in lock-step with what is supervised.

    Attributes:
        input_ids: (T,) int64; image positions hold the padding id and are overwritten by visual tokens.
        labels: (T,) int64; the token itself where it is supervised (not shifted), -100 elsewhere.
        image_span: (start, end) of the visual tokens.
        name_spans: (K, 2) int64, token span of each name in the caller's order, (0, 0) for a name that stands in
            another prompt; a sentence has K = 1; captions K = 0.
        summary_index: position where ``<PER>`` is the input, or None (caption-only samples, prompts for generation).
        no_object_span: token span of the name that stands for no object, or None.
        zero_span: (start, end) of positions whose input is a zero vector, or None.
        list_span: (start, end) of the list of names with its separators (word family), or None.
        aside: the tokens after the list do not look at it and count their positions as if it were not there.
        object_span: token span of the word that stands for anything, or None; see ``Conversation.with_object``.
    """

    input_ids: Tensor
    labels: Tensor
    image_span: tuple[int, int]
    name_spans: Tensor
    summary_index: int | None = None
    no_object_span: tuple[int, int] | None = None
    zero_span: tuple[int, int] | None = None
    list_span: tuple[int, int] | None = None
    aside: bool = False
    object_span: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.input_ids.shape != self.labels.shape or self.input_ids.ndim != 1:
            raise ValueError(
                f"input_ids {tuple(self.input_ids.shape)} and labels {tuple(self.labels.shape)} must both be (T,)"
            )
        if self.name_spans.ndim != 2 or self.name_spans.shape[1] != 2:
            raise ValueError(f"name_spans must be (K, 2), got {tuple(self.name_spans.shape)}")

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass
class Sample:
    """One training or evaluation sample.

    Attributes:
        image: (3, h, w) uint8 RGB, resized, not padded.
        original_size: (H, W) of the image before resizing.
        image_id: for messages and results.
        task: panoptic | semantic | instance | detection | grounding | res | gres | rec | caption.
        family: "word", "sentence" or "caption".
        use_stuff: whether the stuff queries take part.
        prompt: rendered conversation; with a list that is too long for one prompt, its first part.
        names: K names (or the one expression) in the caller's order.
        isthing: K flags.
        target: None at inference and for captions.
        further: prompts with the rest of a long list; each name has its span in exactly one of all prompts.
    """

    image: Tensor
    original_size: tuple[int, int]
    image_id: int | str
    task: str
    family: str
    use_stuff: bool
    prompt: RenderedPrompt
    names: tuple[str, ...]
    isthing: tuple[bool, ...]
    target: Target | None = None
    further: tuple[RenderedPrompt, ...] = ()

    def __post_init__(self) -> None:
        check_choice("family", self.family, choices=FAMILIES)
        if self.image.ndim != 3 or self.image.shape[0] != 3 or self.image.dtype != torch.uint8:
            raise ValueError(f"image must be uint8 (3, h, w), got {self.image.dtype} {tuple(self.image.shape)}")
        if len(self.isthing) != len(self.names) or len(self.prompt.name_spans) != len(self.names):
            raise ValueError(
                f"{len(self.names)} names need as many isthing flags ({len(self.isthing)}) and spans "
                f"({len(self.prompt.name_spans)})"
            )
