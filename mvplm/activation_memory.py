"""What a training step keeps for its backward pass, counted on forward passes without values.

The network runs on tensors with shapes and no numbers, once with one sample and once with two; all that autograd would
keep is counted, weights left out, and a line through both gives larger batches. The matcher needs values, so that every
object is taken for matched to the query of its place.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mvplm.engine.step import HALVES, to_float32
from mvplm.losses import Criterion, Matches
from mvplm.losses.targets import TargetTable
from mvplm.models.mvplm import MVPLM
from mvplm.structures import Batch, PerceptionOutput, PredictionSet, Target


@dataclass(frozen=True)
class StepShape:
    """Shape of the samples that are counted.

    Attributes:
        size: side of the pictures in pixels. tokens: length of the prompts. response: supervised tokens of a prompt.
        names: names in a list. objects: targets of a picture, all with masks.
        precision: of the step, "fp32", "bf16" or "fp16".
        captions_only: the batch has captions and no targets.
    """

    size: int
    tokens: int
    response: int = 64
    names: int = 133
    objects: int = 10
    precision: str = "fp32"
    captions_only: bool = False


@dataclass(frozen=True)
class ActivationMemory:
    """Bytes a step keeps, as a line over the samples of its micro-batch: ``fixed + per_sample * samples``."""

    fixed: float
    per_sample: float

    def of(self, samples: int) -> float:
        """Bytes for a micro-batch of so many samples."""
        return self.fixed + self.per_sample * samples


def count_activations(
    model: MVPLM, criterion: Criterion, *, shape: StepShape, checkpointed: bool = False
) -> ActivationMemory:
    """Count what one training step keeps.

    Args:
        model: as it is trained (what is frozen without gradient); its parameters need no memory (they may be on the
            meta device). It loses all its values.
        criterion: its matcher is stood in for.
        shape: of the samples.
        checkpointed: language model, pixel decoder and decoder layers keep only their inputs, and one of them at a
            time everything.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        _forget_values(model.train())
        one, two = (_kept(model, criterion, shape=shape, samples=n, checkpointed=checkpointed) for n in (1, 2))
    return ActivationMemory(fixed=max(0.0, 2 * one - two), per_sample=two - one)


def _forget_values(model: nn.Module) -> None:
    """Exchange parameters and buffers for ones without values, on the CPU."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                fresh = nn.Parameter(torch.zeros(parameter.shape, dtype=parameter.dtype), parameter.requires_grad)
                module._parameters[name] = made.setdefault(id(parameter), fresh)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)


def _kept(model: MVPLM, criterion: Criterion, *, shape: StepShape, samples: int, checkpointed: bool) -> float:
    ledger = _Ledger(model)
    blocks = [*_layers(model.llm.model), *model.pixel_decoder.encoder, *model.decoder.layers] if checkpointed else []
    batch = _batch(model, shape, samples=samples)
    half = HALVES.get(shape.precision)
    criterion = _with_stand_in(criterion)
    with ledger.counting(blocks):
        with torch.autocast("cpu", dtype=half, enabled=half is not None):
            output = model.caption_loss(batch) if shape.captions_only else model(batch)
        if not shape.captions_only:
            criterion(to_float32(output), batch)
    return ledger.total


def _layers(language: nn.Module) -> list[nn.Module]:
    """The layers of a language model: its longest module list."""
    lists = [part for part in language.modules() if isinstance(part, nn.ModuleList)]
    return list(max(lists, key=len)) if lists else []


class _Ledger:
    """Adds up the memory autograd keeps, each piece once; what blocks keep inside is counted apart."""

    def __init__(self, model: nn.Module) -> None:
        owned = [*model.parameters(), *model.buffers()]
        self._known = {tensor.untyped_storage()._cdata for tensor in owned}
        self._alive: list[Tensor] = []  # a freed piece of memory could be given out again under the same number
        self._outside = 0.0
        self._inside = 0.0
        self._largest = 0.0
        self._in_block = False

    @property
    def total(self) -> float:
        """Bytes outside of blocks, and those of the largest block."""
        return self._outside + self._largest

    @contextmanager
    def counting(self, blocks: list[nn.Module]) -> Iterator[None]:
        """Count what is kept in the block; ``blocks`` are modules that will keep their inputs alone."""
        handles = [block.register_forward_pre_hook(self._enter, with_kwargs=True) for block in blocks]
        handles += [block.register_forward_hook(self._leave) for block in blocks]
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self._alive.append(tensor)
            self._inside += storage.nbytes() * self._in_block
            self._outside += storage.nbytes() * (not self._in_block)
        return tensor

    def _enter(self, module: nn.Module, *given: Any) -> None:
        """Before a block runs: ``given`` are its arguments by place and by name."""
        arguments, options = given
        for value in (*arguments, *options.values()):
            if isinstance(value, Tensor) and value.requires_grad:
                self._keep(value)
        self._in_block, self._inside = True, 0.0

    def _leave(self, module: nn.Module, *_: Any) -> None:
        self._in_block, self._largest = False, max(self._largest, self._inside)


class _StandIn:
    """In place of the matcher: object k of a picture belongs to query k, in every set."""

    def match_all(
        self, sets: list[PredictionSet], output: PerceptionOutput, *, targets: TargetTable, **_: object
    ) -> Matches:
        """One pair per object and set, image by image."""
        rows, found = [], []
        for image, (start, count) in enumerate(zip(targets.starts, targets.counts, strict=True)):
            first = 0
            for number, single in enumerate(sets):
                queries = single.logits.shape[1]
                for query in range(min(count, queries)):
                    rows.append((number, image, query, start + query, first + image * queries + query))
                    found.append(image)
                first += single.logits.shape[0] * queries
        table = torch.tensor(rows).T
        per_image = [found.count(image) for image in range(len(targets.counts))]
        return Matches(*table.unbind(0), per_image=per_image, num_sets=len(sets), host=np.zeros((4, 0), np.int64))


def _with_stand_in(criterion: Criterion) -> Criterion:
    import copy

    twin = copy.copy(criterion)
    twin.matcher = _StandIn()  # type: ignore[assignment]
    return twin


def _batch(model: MVPLM, shape: StepShape, *, samples: int) -> Batch:
    """A batch of panoptic samples, or captions, without values."""
    visual = model.connector.num_tokens(shape.size, shape.size)
    size = (shape.size, shape.size)
    whole = {"dtype": torch.int64}
    target = Target(
        labels=torch.zeros(shape.objects, **whole),
        boxes=torch.zeros(shape.objects, 4),
        masks=torch.zeros(shape.objects, *size, dtype=torch.bool),
        has_mask=torch.ones(shape.objects, dtype=torch.bool),
    )
    batch = Batch(
        images=torch.zeros(samples, 3, *size),
        valid=torch.ones(samples, *size, dtype=torch.bool),
        valid_sizes=[size] * samples,
        original_sizes=[size] * samples,
        image_ids=list(range(samples)),
        task="panoptic",
        family="word",
        use_stuff=model.stuff is not None,
        input_ids=torch.zeros(samples, shape.tokens, **whole),
        labels=torch.zeros(samples, shape.tokens, **whole),
        attention_mask=torch.ones(samples, shape.tokens, dtype=torch.bool),
        image_starts=[1] * samples,
        num_image_tokens=visual,
        name_spans=torch.zeros(samples, shape.names, 2, **whole),
        name_mask=torch.ones(samples, shape.names, dtype=torch.bool),
        isthing=torch.ones(samples, shape.names, dtype=torch.bool),
        summary_index=torch.zeros(samples, **whole),
        supervised=torch.zeros(samples * shape.response, **whole),
        supervised_labels=torch.zeros(samples * shape.response, **whole),
        names=[tuple(str(i) for i in range(shape.names))] * samples,
        targets=[target] * samples,
        max_targets=shape.objects,
        box_format=model.pixel_decoder.box_format,
    )
    return replace(batch, family="caption", targets=None) if shape.captions_only else batch
