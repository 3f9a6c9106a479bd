"""From a record to a sample: unify it with its task, render the prompt, resize picture and targets."""

import logging
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mvplm.data.images import load_image
from mvplm.data.transforms import resize_image, resize_mask, resized_size
from mvplm.data.unify import UnifySettings, expression_indices, unify
from mvplm.data.windows import Shown, Window, window_of
from mvplm.prompts import Conversation, PromptTokenizer, fixed_length, render, render_question, render_released
from mvplm.structures import Annotation, BoxFormat, Record, RenderedPrompt, Sample, Target, convert_boxes
from mvplm.structures.boxes import box_area, clip_boxes
from mvplm.structures.masks import decode_mask, tight_box

_LEAST_SHOWN = 0.1
_log = logging.getLogger(__name__)
_IN_PARTS = (
    "%s: the names of the objects of image %s take more tokens than the list may have, and %d of them wait for other "
    "visits; every object is asked for equally often. Further images are not named; names.max_tokens is the limit"
)


class SampleMapper:
    """Makes samples of one task. Source: MVP-LM, sections 3.1 and 3.2 and the unified data of section 16.

    The random generator of a sample is seeded by (seed, epoch, index) alone, so results do not depend on how many
    workers load the data.

    Args:
        tokenizer: tokenizer of the language model.
        image_size: longer side of the resized picture.
        num_image_tokens: V, places left for visual tokens in the prompt.
        task: one of the tasks of a sample.
        training: draw names, order and captions at random; otherwise the caller's order and no response.
        settings: how names and responses are chosen. Without ``room`` in them, lists of names are cut in training so
            that the prompt keeps within ``max_length``; in evaluation the layout says where a longer list is cut.
        phrase_pool: phrases of the whole dataset, negatives for phrase grounding.
        max_length: longest prompt in tokens.
        shown: how much of a record is shown; by default the whole picture and all of its target.
        seed: base of all draws.
    """

    def __init__(
        self,
        tokenizer: PromptTokenizer,
        *,
        image_size: int,
        num_image_tokens: int,
        task: str,
        training: bool,
        settings: UnifySettings | None = None,
        phrase_pool: Sequence[str] = (),
        max_length: int = 2048,
        shown: Shown | None = None,
        seed: int = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.image_size = image_size
        self.num_image_tokens = num_image_tokens
        self.task = task
        self.training = training
        self.settings = settings if settings is not None else UnifySettings()
        if training and self.settings.room is None:
            fixed = fixed_length(tokenizer, num_image_tokens=num_image_tokens, style=self.settings.style)
            self.settings = replace(self.settings, room=max_length - fixed)
        self.phrase_pool = tuple(phrase_pool)
        self.max_length = max_length
        self.shown = Shown() if shown is None else shown
        self.seed = seed
        self._token_counts: dict[str, int] = {}
        self._told_of_parts = False

    def __call__(self, record: Record, *, epoch: int = 0, index: int = 0, expression: int | None = None) -> Sample:
        """The sample of one record.

        Args:
            record: what to map.
            epoch, index: visit and position in the dataset; they seed the draws.
            expression: which expression of the record to use; None draws one (sentence tasks only).

        Raises:
            ValueError: the record does not fit the task, or its picture cannot be read or has another size.
        """
        unified = unify(
            record,
            task=self.task,
            rng=random.Random(f"{self.seed}-{epoch}-{index}"),
            settings=self.settings,
            training=self.training,
            expression_index=expression,
            phrase_pool=self.phrase_pool,
            count_tokens=self._count_tokens,
        )
        if unified.waiting and not self._told_of_parts:
            self._told_of_parts = True
            _log.info(_IN_PARTS, record.source or "a data set", record.image_id, unified.waiting)
        prompt, *further = self._prompts(unified.conversation)
        window = None
        if self.training and self.shown.windows > 1:
            number = random.Random(f"{self.seed}-{epoch}-{index}-view").randrange(self.shown.windows)
            window = window_of(record.size, number, seed=f"{self.seed}-{index}")
        target = None
        if self.shown.target and unified.family != "caption":
            target = build_target(unified.annotations, record.size, image_size=self.image_size, window=window)
            target = target if self.shown.masks else Target(target.labels, target.boxes)
        return Sample(
            image=self._picture(record, window),
            original_size=record.size if window is None else window.size,
            image_id=record.image_id,
            task=self.task,
            family=unified.family,
            use_stuff=unified.use_stuff,
            prompt=prompt,
            further=tuple(further),
            names=tuple(unified.names),
            isthing=tuple(unified.isthing),
            target=target,
        )

    def several(self, record: Record, *, epoch: int = 0, index: int = 0, count: int) -> list[Sample]:
        """Up to ``count`` samples about different expressions of one record, which share the picture's tensor.

        Args:
            record: what to map; the task must be a sentence task.
            epoch, index: visit and position in the dataset; they seed the draws.
            count: most expressions to ask about; a record with fewer that fit gives fewer samples.
        """
        fitting = expression_indices(record, self.task)
        chosen = random.Random(f"{self.seed}-{epoch}-{index}-several").sample(fitting, min(count, len(fitting)))
        samples = [self(record, epoch=epoch, index=index, expression=place) for place in chosen]
        return [replace(sample, image=samples[0].image) for sample in samples]

    def _prompts(self, conversation: Conversation) -> list[RenderedPrompt]:
        """One prompt in training; in evaluation more where a list is too long for one."""
        style, layout = self.settings.style, self.settings.layout
        sizes = {"num_image_tokens": self.num_image_tokens, "max_length": self.max_length}
        if not self.training:
            return render_question(conversation, self.tokenizer, layout=layout, style=style, task=self.task, **sizes)
        if style.templates == "released":
            return [render_released(conversation, self.tokenizer, style=style, task=self.task, training=True, **sizes)]
        return [render(conversation, self.tokenizer, style=style, order=layout.order, **sizes)]

    def _picture(self, record: Record, window: Window | None) -> Tensor:
        image = load_image(record.image)
        if image.shape[:2] != tuple(record.size):
            name = "the array" if isinstance(record.image, np.ndarray) else record.image
            raise ValueError(
                f"image {record.image_id}: {name} has size {image.shape[:2]}, "
                f"the record says {tuple(record.size)} (H, W)"
            )
        return resize_image(image if window is None else window.cut(image), self.image_size)

    def _count_tokens(self, text: str) -> int:
        if text not in self._token_counts:
            self._token_counts[text] = len(self.tokenizer.encode(text))
        return self._token_counts[text]


def build_target(
    labelled: Sequence[tuple[Annotation, int]], size: tuple[int, int], *, image_size: int, window: Window | None = None
) -> Target:
    """Target of annotations paired with their label in the sample's list of names.

    Where an annotation has a mask its box is the mask's, on pixel edges at the original resolution; other boxes are
    clipped to the image. Targets without area are dropped. A mask that vanishes when resized leaves its box behind.

    Args:
        labelled: N pairs (annotation, index into the names).
        size: (H, W) of the original image; boxes become fractions of it.
        image_size: longer side of the resized picture; masks get the un-padded resized size.
        window: the part of the picture that is shown; objects of which little is left are dropped.
    """
    if not labelled:
        return _empty_target()
    boxes = clip_boxes(torch.tensor([annotation.box for annotation, _ in labelled], dtype=torch.float32), size)
    labels = torch.tensor([label for _, label in labelled], dtype=torch.int64)
    has_mask = torch.tensor([annotation.segmentation is not None for annotation, _ in labelled])
    shown, masks = boxes if window is None else window.boxes(boxes), None
    if has_mask.any():
        frame = resized_size(size if window is None else window.size, image_size)
        masks = torch.zeros(len(labelled), *frame, dtype=torch.bool)
        for place, (annotation, _) in enumerate(labelled):
            if annotation.segmentation is not None:
                mask = decode_mask(annotation.segmentation, size)
                if window is not None:
                    boxes[place] = _box_of(mask)
                    mask = window.cut(mask)
                shown[place] = _box_of(mask)
                masks[place] = torch.from_numpy(resize_mask(mask, frame))
        has_mask = torch.from_numpy(masks.numpy().any((1, 2)))
    keep = box_area(shown) > 0
    if window is not None:
        keep &= box_area(shown) >= _LEAST_SHOWN * box_area(boxes)
        size = window.size
    boxes = shown
    labels, boxes, has_mask = labels[keep], boxes[keep], has_mask[keep]
    if masks is not None:
        masks = (masks if bool(keep.all()) else masks[keep]) if bool(has_mask.any()) else None
    norm = convert_boxes(boxes, BoxFormat.XYXY_ABS, target=BoxFormat.CXCYWH_NORM, size=size)
    return Target(labels, norm, masks, has_mask)


def collect_phrases(dataset: Sequence[Record], limit: int = 1000) -> tuple[str, ...]:
    """Different phrases of about ``limit`` records spread evenly over a dataset: negatives for grounding."""
    stride = max(1, len(dataset) // limit)
    phrases: dict[str, None] = {}
    for index in range(0, len(dataset), stride):
        phrases.update(dict.fromkeys(a.phrase for a in dataset[index].annotations if a.phrase))
    return tuple(phrases)


def _box_of(mask: np.ndarray) -> Tensor:
    """(4,) XYXY of a mask (H, W); zeros where it is empty."""
    tight = tight_box(mask)
    return torch.zeros(4) if tight is None else torch.from_numpy(tight)


def _empty_target() -> Target:
    return Target(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), None, torch.zeros(0, dtype=torch.bool))
