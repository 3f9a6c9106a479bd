"""A source: a kind of file and how its tensors become the library's. Pure: from tensors to tensors and a summary."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mvplm.models.convert.report import Converted, LoadSummary, module_of
from mvplm.models.convert.rules import Mapped, Rule, apply_rules

Tensors = Mapping[str, Tensor]
_BIAS_TABLE = "relative_position_bias_table"


@dataclass(frozen=True)
class Options:
    """What the tensors of a file do not tell.

    Attributes:
        heads: attention heads of the deformable attention.
        text_heads: attention heads of the language model.
        levels: feature levels wanted from a source that has three of them: 3 keeps its function, 4 adds one.
        feature_order: order of a file's feature levels, "low2high" or "high2low"; some sources cannot do without.
        allow_bias_resize: resize tables of relative positions made for another window.
        as_init: turn the weights into a start for training with this library's own conventions.
    """

    heads: int = 8
    text_heads: int = 32
    levels: int = 4
    feature_order: str | None = None
    allow_bias_resize: bool = False
    as_init: bool = False


Fill = tuple[Callable[[Tensor], Tensor], str]
"""A value for a tensor the file never has, from an empty one of its shape, and in words."""
Fills = dict[str, Fill]


@dataclass(frozen=True)
class Source:
    """One kind of file.

    Attributes:
        name: what the command line calls it.
        about: one line for people.
        covers: parts of the network it gives weights to.
        rules: the rules for given tensors and options.
        fresh: patterns of library names, inside the covered parts, that such a file never has.
        fills: for given options, pattern of library names -> value and what it is, for those with one right value.
        settings: configuration tree that goes with the weights, beyond their sizes.
        partial: the result is a start for training; False: a whole model.
    """

    name: str
    about: str
    covers: tuple[str, ...]
    rules: Callable[[Tensors, Options], Sequence[Rule]]
    fresh: tuple[str, ...] = ()
    fills: Callable[[Options], Fills] = lambda options: {}
    settings: Callable[[Options], dict[str, Any]] = lambda options: {}
    partial: bool = True

    def map(self, tensors: Tensors, options: Options) -> Mapped:
        """The tensors under library names, before anything is checked."""
        return apply_rules(tensors, self.rules(tensors, options))


@dataclass(frozen=True)
class Strictness:
    """What a conversion lets pass.

    Attributes:
        allow_missing: prefixes of library names that may stay without a value.
        tolerance: largest share of a part's tensors that may be missing or of another shape, and of the file's tensors
            that nobody knows; 0 is strict.
    """

    allow_missing: tuple[str, ...] = ()
    tolerance: float = 0.0


def convert(
    tensors: Tensors,
    source: Source,
    *,
    expected: Mapping[str, torch.Size],
    options: Options | None = None,
    strictness: Strictness | None = None,
) -> Converted:
    """Tensors of a file as tensors of the library.

    Args:
        tensors: by the file's names.
        source: kind of the file.
        expected: shapes by library name of the network the weights are for; other parts than those the source covers
            are not looked at.
        options: what the tensors do not tell.
        strictness: what may be missing; nothing when None.

    Raises:
        ValueError: tensors are missing, unknown or of another shape; the message is the summary.
    """
    options, strictness = options or Options(), strictness or Strictness()
    mapped = source.map(tensors, options)
    wanted = {name: shape for name, shape in expected.items() if module_of(name) in source.covers}
    filled = _fill(mapped, wanted, fills=source.fills(options))
    reshaped = _resize(mapped, wanted, allowed=options.allow_bias_resize)
    fitting = {name: tensor for name, tensor in mapped.tensors.items() if wanted.get(name) == tensor.shape}
    unfit = [name for name in mapped.tensors if name in wanted and name not in fitting]
    summary = LoadSummary(
        source=source.name,
        loaded=tuple(name for name in wanted if name in fitting),
        renamed={name: mapped.origin[name] for name in fitting if mapped.origin.get(name, name) != name},
        transformed={name: why for name, why in mapped.changed.items() if name in fitting},
        reshaped=reshaped,
        filled=filled,
        unused=mapped.unused,
        missing=tuple(name for name in wanted if name not in mapped.tensors),
        unexpected=(*mapped.unknown, *(name for name in mapped.tensors if name not in wanted)),
        mismatched=tuple(_shapes(name, mapped, wanted=wanted) for name in unfit),
    )
    _judge(summary, wanted, source=source, strictness=strictness, given=len(tensors))
    return Converted({name: fitting[name] for name in summary.loaded}, summary)


def _fill(mapped: Mapped, wanted: Mapping[str, torch.Size], *, fills: Fills) -> dict[str, str]:
    filled = {}
    for name, shape in wanted.items():
        found = next((fill for pattern, fill in fills.items() if re.fullmatch(pattern, name)), None)
        if found is not None and name not in mapped.tensors:
            value, what = found
            mapped.tensors[name] = value(torch.empty(shape))
            filled[name] = what
    return filled


def _resize(mapped: Mapped, wanted: Mapping[str, torch.Size], *, allowed: bool) -> dict[str, str]:
    """Tables of relative positions of another window, brought to the wanted one where that is allowed."""
    reshaped = {}
    for name, tensor in mapped.tensors.items():
        shape = wanted.get(name, tensor.shape)
        if allowed and name.endswith(_BIAS_TABLE) and shape != tensor.shape and shape[1] == tensor.shape[1]:
            mapped.tensors[name] = resize_bias_table(tensor, shape[0])
            reshaped[name] = f"{tuple(tensor.shape)} to {tuple(shape)}"
    return reshaped


def resize_bias_table(table: Tensor, rows: int) -> Tensor:
    """A table (side^2, heads) of relative positions for another window: (rows, heads), bicubic, rows a square."""
    old, new = round(len(table) ** 0.5), round(rows**0.5)
    square = table.float().T.reshape(1, -1, old, old)
    resized = F.interpolate(square, size=(new, new), mode="bicubic", align_corners=False)
    return resized.reshape(-1, rows).T.to(table.dtype).contiguous()


def _shapes(name: str, mapped: Mapped, *, wanted: Mapping[str, torch.Size]) -> str:
    hint = "; allow_bias_resize resizes it" if name.endswith(_BIAS_TABLE) else ""
    return f"{name} (file {tuple(mapped.tensors[name].shape)}, network {tuple(wanted[name])}{hint})"


def _judge(
    summary: LoadSummary, wanted: Mapping[str, torch.Size], *, source: Source, strictness: Strictness, given: int
) -> None:
    """Raise ValueError when more is missing, unknown or wrong than is allowed."""
    lacking = [
        name
        for name in summary.missing
        if not name.startswith(strictness.allow_missing) and not any(re.fullmatch(p, name) for p in source.fresh)
    ]
    wrong = [name.split(" ", 1)[0] for name in summary.mismatched]
    refused = len(summary.unexpected) > strictness.tolerance * given
    for module in dict.fromkeys(module_of(name) for name in (*lacking, *wrong)):
        bad = sum(module_of(name) == module for name in (*lacking, *wrong))
        refused |= bad > strictness.tolerance * sum(module_of(name) == module for name in wanted)
    if refused:
        told = LoadSummary(
            summary.source,
            summary.loaded,
            missing=tuple(lacking),
            unexpected=summary.unexpected,
            mismatched=summary.mismatched,
        )
        raise ValueError(f"the file does not fit as {source.name!r}:\n  {told}")
