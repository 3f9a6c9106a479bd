"""A perceiver as a detectron2 model: list[dict] in; list[dict] out, or named losses while it is trained.

detectron2 itself is imported only where its classes are made, so everything else works without it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.interop.detectron2_inputs import IMAGE_FORMATS, Entry, output_size, to_record
from mvplm.interop.detectron2_names import DatasetNames, metadata_of
from mvplm.interop.detectron2_outputs import HOW_TO_GET, to_detectron2
from mvplm.structures.choices import check_choice

__all__ = [
    "HOW_TO_GET",
    "READINGS",
    "DatasetNames",
    "MVPLMAdapter",
    "TrainingParts",
    "metadata_of",
    "to_detectron2",
    "to_record",
]

READINGS = {
    "panoptic": ("panoptic", "semantic", "instance"),
    "semantic": ("semantic",),
    "instance": ("instance",),
    "detection": ("detection",),
}
"""What is read off one forward pass for each task of a model."""
_THING_TASKS = ("instance", "detection")
_INDICES = 2**31


@dataclass(frozen=True)
class TrainingParts:
    """What training needs beside the network.

    Attributes:
        mapper: ``mapper(record, index=i)`` gives a training sample with its target; ``i`` seeds its random choices.
        criterion: ``criterion(output, batch)`` gives unweighted losses by name.
        weight_of: weight of a loss by its name.
    """

    mapper: Callable[..., Any]
    criterion: Callable[..., Mapping[str, Tensor]]
    weight_of: Callable[[str], float]


class MVPLMAdapter(nn.Module):
    """A perceiver that speaks detectron2's input and output formats.

    Args:
        perceiver: model, tokenizer and settings (a ``mvplm.Perceiver``). Its network becomes the submodule ``model``.
        names: what to look for and how the dataset numbers it; the perceiver's own vocabulary when None.
        task: "panoptic" (also gives ``sem_seg`` and ``instances``), "semantic", "instance" or "detection" (no masks).
            None: panoptic when some names are stuff, else instance.
        image_format: order of the channels of ``image``, "RGB" or "BGR".
        mode: "caption" or "skip"; None leaves it to the perceiver.
        training_parts: mapper, criterion and weights; without them the module cannot be trained.

    Raises:
        ValueError: an unknown task or image format, no names, or only names of stuff for a task about things.
    """

    def __init__(
        self,
        perceiver: Any,
        names: DatasetNames | None = None,
        *,
        task: str | None = None,
        image_format: str = "RGB",
        mode: str | None = None,
        training_parts: TrainingParts | None = None,
    ) -> None:
        super().__init__()
        if names is None:
            if perceiver.vocabulary is None:
                raise ValueError("the perceiver has no vocabulary of its own: say what to look for with names=")
            names = DatasetNames.of(perceiver.vocabulary)
        self.task = check_choice("task", default_task(names) if task is None else task, choices=READINGS)
        self.names = names.things() if self.task in _THING_TASKS else names
        if not len(self.names.vocabulary):
            raise ValueError(f"task {self.task!r} looks for things, but all names are stuff")
        self.image_format = check_choice("image format", image_format, choices=IMAGE_FORMATS)
        self.mode = mode
        self.training_parts = training_parts
        self.model = perceiver.model
        self.perceiver = perceiver

    @property
    def device(self) -> torch.device:
        """Where the weights are; inputs may be anywhere."""
        return self.perceiver.device

    def forward(self, batched_inputs: Sequence[Entry]) -> list[dict[str, Any]] | dict[str, Tensor]:
        """Results in evaluation mode, losses in training mode; see :meth:`infer` and :meth:`losses`."""
        return self.losses(batched_inputs) if self.training else self.infer(batched_inputs)

    def infer(self, batched_inputs: Sequence[Entry]) -> list[dict[str, Any]]:
        """One dictionary per entry, in the size it asks for; see :func:`to_detectron2` for what is in it.

        Args:
            batched_inputs: B entries with ``image`` (3, H, W), values 0 to 255, and perhaps ``height`` and ``width``.

        Raises:
            ValueError: an entry without a fitting ``image``. ImportError: detectron2 is not installed.
        """
        if not batched_inputs:
            return []
        mapper = self.perceiver.mapper(self.task, self.mode)
        samples = []
        for position, entry in enumerate(batched_inputs):
            record = to_record(entry, self.names, image_format=self.image_format, position=position)
            # Boxes are fractions and masks are resized in the end, so any size can be asked for.
            samples.append(replace(mapper(record), original_size=output_size(entry)))
        looked = self.perceiver.look(self.perceiver.collate(samples), mode=self.mode)
        results: list[dict[str, Any]] = [{} for _ in samples]
        for reading in READINGS[self.task]:
            for result, perception in zip(results, self.perceiver.answer(looked, task=reading), strict=True):
                if reading != "semantic" or self.names.channels:
                    result |= to_detectron2(perception, self.names)
        return results

    def losses(self, batched_inputs: Sequence[Entry]) -> dict[str, Tensor]:
        """Weighted losses by name; as everywhere in detectron2 their plain sum is what is minimised.

        Random choices (which absent names are asked for, their order) follow torch's global generator.

        Args:
            batched_inputs: B entries with ``image`` and ground truth (``detectron2_inputs.to_annotations`` says which).

        Raises:
            ValueError: no training parts, or ground truth that does not fit the image or the names.
        """
        parts = self.training_parts
        if parts is None:
            raise ValueError("this model was made without training_parts: it can only be used in evaluation mode")
        samples = []
        for position, entry in enumerate(batched_inputs):
            record = to_record(entry, self.names, image_format=self.image_format, position=position, target=self.task)
            samples.append(parts.mapper(record, index=int(torch.randint(_INDICES, ()))))
        batch = self.perceiver.collate(samples).to(self.device)
        output = self.model(batch)
        named = {name: (parts.weight_of(name), value) for name, value in parts.criterion(output, batch).items()}
        weighted = {name: weight * value for name, (weight, value) in named.items() if weight}
        if output.zero is not None and weighted:
            # Data-parallel wrappers want every parameter in the sum; this term is zero.
            first = next(iter(weighted))
            weighted[first] = weighted[first] + output.zero
        return weighted


def default_task(names: DatasetNames) -> str:
    """ "panoptic" when some of the names are stuff, else "instance"."""
    return "instance" if all(names.vocabulary.isthing) else "panoptic"
