"""Samples to a batch: normalise and pad pictures, pad text, and count on the host what decides shapes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mvplm.structures import Batch, BoxFormat, FurtherPrompts, RenderedPrompt, Sample, Target, convert_boxes
from mvplm.structures.boxes import padded_share

IGNORED = -100


def collate(
    samples: Sequence[Sample],
    *,
    pad_id: int,
    num_image_tokens: int,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    pad_value: float | None = None,
    box_format: BoxFormat = BoxFormat.CXCYWH_NORM,
) -> Batch:
    """Pad samples of one task into a batch. Source: MVP-LM, sections 2.3 and 3.1.

    A picture that several samples share (the same tensor) enters the batch once.

    Args:
        samples: B samples that share task, family and use of stuff queries; names, lengths and sizes may differ.
        pad_id: token id written into text padding. num_image_tokens: V, visual tokens of every image.
        image_size: side of the square frame; pictures are padded right and bottom with zeros after normalisation.
        mean, std: three numbers each, on the 0-255 RGB scale.
        pad_value: level of padded pixels on that scale; None: the mean colour.
        box_format: of the targets' boxes in the batch, CXCYWH_NORM or CXCYWH_PADDED.

    Raises:
        ValueError: no samples, mixed families, a picture larger than the frame, a wrong count of visual tokens, or
            targets on some samples only.
    """
    samples = list(samples)
    prompts = [sample.prompt for sample in samples]
    _check(samples, num_image_tokens, image_size=image_size)
    labels = _pad_text([prompt.labels for prompt in prompts], IGNORED)
    positions, following = _supervised(labels)
    pictures = list({id(sample.image): sample.image for sample in samples}.values())
    images, valid = _pad_images(pictures, image_size, mean=mean, std=std, pad_value=pad_value)
    return Batch(
        images=images,
        valid=valid,
        valid_sizes=[(int(sample.image.shape[1]), int(sample.image.shape[2])) for sample in samples],
        original_sizes=[sample.original_size for sample in samples],
        image_ids=[sample.image_id for sample in samples],
        task=samples[0].task,
        family=samples[0].family,
        use_stuff=samples[0].use_stuff,
        input_ids=_pad_text([prompt.input_ids for prompt in prompts], pad_id),
        labels=labels,
        attention_mask=_real(prompts),
        image_starts=[prompt.image_span[0] for prompt in prompts],
        num_image_tokens=num_image_tokens,
        summary_index=_summary_index(prompts),
        supervised=positions,
        supervised_labels=following,
        image_rows=None if len(pictures) == len(samples) else _image_rows(samples),
        zero_mask=_zero_mask(prompts, labels.shape[1]),
        asides=_asides(prompts),
        further=_further(samples, pad_id),
        **_names(samples, prompts),
        **_targets(samples, image_size=image_size, box_format=box_format),
    )


def _names(samples: Sequence[Sample], prompts: Sequence[RenderedPrompt]) -> dict[str, Any]:
    """Names and their flags, padded to the longest list; spans of names and other words in ``prompts``."""
    most = max(len(sample.names) for sample in samples)
    return {
        "names": [sample.names for sample in samples],
        "name_mask": torch.arange(most) < torch.tensor([[len(sample.names)] for sample in samples]),
        "isthing": torch.tensor([_flags(sample.isthing, most) for sample in samples]).bool(),
        **_spans(samples, prompts),
    }


def _spans(samples: Sequence[Sample], prompts: Sequence[RenderedPrompt]) -> dict[str, Tensor | None]:
    """Spans in ``prompts`` of names and of what else has an embedding; (0, 0) for what stands in other prompts."""
    every = [prompt for sample in samples for prompt in _prompts(sample)]
    anything, nothing = ([getattr(p, key) for p in prompts] for key in ("object_span", "no_object_span"))
    return {
        "name_spans": _pad_spans(prompts, max(len(sample.names) for sample in samples)),
        "object_spans": _known(anything) if any(prompt.object_span for prompt in every) else None,
        "no_object_spans": _known(nothing) if any(prompt.no_object_span for prompt in every) else None,
    }


def _prompts(sample: Sample) -> tuple[RenderedPrompt, ...]:
    return (sample.prompt, *sample.further)


def _known(spans: Sequence[tuple[int, int] | None]) -> Tensor:
    return torch.tensor([span or (0, 0) for span in spans], dtype=torch.int64)


def _targets(samples: list[Sample], *, image_size: int, box_format: BoxFormat) -> dict[str, Any]:
    targets = [_framed(sample, image_size, box_format=box_format) for sample in samples if sample.target is not None]
    most = max((len(target) for target in targets), default=0)
    return {"targets": targets or None, "max_targets": most, "box_format": box_format}


def _framed(sample: Sample, image_size: int, *, box_format: BoxFormat) -> Target:
    """The target with its boxes in the format of the batch."""
    share = padded_share((sample.image.shape[1], sample.image.shape[2]), (image_size, image_size))
    boxes = convert_boxes(sample.target.boxes, BoxFormat.CXCYWH_NORM, target=box_format, share=share)
    return replace(sample.target, boxes=boxes)


def _zero_mask(prompts: list[RenderedPrompt], length: int) -> Tensor | None:
    if all(prompt.zero_span is None for prompt in prompts):
        return None
    mask = torch.zeros(len(prompts), length, dtype=torch.bool)
    for row, prompt in zip(mask, prompts, strict=True):
        row[slice(*(prompt.zero_span or (0, 0)))] = True
    return mask


def _image_rows(samples: list[Sample]) -> list[int]:
    """Place of each sample's picture among the distinct ones, in order of first appearance."""
    places: dict[int, int] = {}
    return [places.setdefault(id(sample.image), len(places)) for sample in samples]


def _check(samples: list[Sample], num_image_tokens: int, *, image_size: int) -> None:
    if not samples:
        raise ValueError("a batch needs at least one sample")
    kinds = {(sample.task, sample.family, sample.use_stuff) for sample in samples}
    if len(kinds) > 1:
        raise ValueError(f"a batch holds one (task, family, use_stuff), got {sorted(kinds)}")
    if len({all(prompt.no_object_span is None for prompt in _prompts(sample)) for sample in samples}) > 1:
        raise ValueError("all samples of a batch or none list a name for no object")
    with_target = sum(isinstance(sample.target, Target) for sample in samples)
    if with_target not in (0, len(samples)):
        raise ValueError(f"{with_target} of {len(samples)} samples have targets; all or none must")
    for sample in samples:
        start, end = sample.prompt.image_span
        if end - start != num_image_tokens:
            raise ValueError(
                f"image {sample.image_id}: the prompt leaves {end - start} places for visual tokens, "
                f"expected {num_image_tokens}"
            )
        if max(sample.image.shape[1:]) > image_size:
            raise ValueError(
                f"image {sample.image_id}: size {tuple(sample.image.shape[1:])} does not fit the frame of {image_size}"
            )


def _pad_text(rows: list[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def _real(prompts: Sequence[RenderedPrompt]) -> Tensor:
    """(B, T) bool, True on tokens, False on padding."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    return torch.arange(int(lengths.max()))[None] < lengths[:, None]


def _summary_index(prompts: Sequence[RenderedPrompt]) -> Tensor:
    return torch.tensor([-1 if prompt.summary_index is None else prompt.summary_index for prompt in prompts])


def _pad_spans(prompts: Sequence[RenderedPrompt], count: int) -> Tensor:
    spans = torch.zeros(len(prompts), count, 2, dtype=torch.int64)
    for row, prompt in zip(spans, prompts, strict=True):
        row[: len(prompt.name_spans)] = prompt.name_spans
    return spans


def _asides(prompts: Sequence[RenderedPrompt]) -> Tensor | None:
    if not any(prompt.aside for prompt in prompts):
        return None
    return _known([prompt.list_span if prompt.aside else None for prompt in prompts])


def _further(samples: Sequence[Sample], pad_id: int) -> FurtherPrompts | None:
    """The further prompts of all samples, in their order."""
    rows = [row for row, sample in enumerate(samples) for _ in sample.further]
    if not rows:
        return None
    prompts = [prompt for sample in samples for prompt in sample.further]
    starts = {prompt.list_span[0] for prompt in prompts if prompt.list_span is not None}
    assert len(starts) == 1, "lists of one family start at the same place"
    return FurtherPrompts(
        input_ids=_pad_text([prompt.input_ids for prompt in prompts], pad_id),
        attention_mask=_real(prompts),
        summary_index=_summary_index(prompts),
        rows=rows,
        shared=starts.pop(),
        **_spans(samples, prompts),
    )


def _flags(flags: Sequence[bool], count: int) -> list[bool]:
    return [*flags, *([False] * (count - len(flags)))]


def _supervised(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Flat positions (M,) whose next token is supervised, and those next tokens (M,)."""
    following = torch.full_like(labels, IGNORED)
    following[:, :-1] = labels[:, 1:]
    flat = following.flatten()
    positions = (flat != IGNORED).nonzero().flatten()
    return positions, flat[positions]


def _pad_images(
    pictures: list[Tensor], side: int, *, mean: Sequence[float], std: Sequence[float], pad_value: float | None
) -> tuple[Tensor, Tensor]:
    """Normalised float32 (B, 3, side, side) with the padding's colour, and (B, side, side) bool, True on pixels."""
    offset = torch.tensor(mean, dtype=torch.float32)[:, None, None]
    scale = torch.tensor(std, dtype=torch.float32)[:, None, None]
    level = torch.zeros(3, 1, 1) if pad_value is None else (pad_value - offset) / scale
    images = torch.empty(len(pictures), 3, side, side)
    valid = torch.zeros(len(pictures), side, side, dtype=torch.bool)
    for image, flags, picture in zip(images, valid, pictures, strict=True):
        height, width = picture.shape[1:]
        image[:, :height, :width].copy_(picture).sub_(offset).div_(scale)
        image[:, height:] = level
        image[:, :height, width:] = level
        flags[:height, :width] = True
    return images, valid
