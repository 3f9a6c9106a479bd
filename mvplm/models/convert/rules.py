"""Rules that turn the names and tensors of a file into those of the library; what every source is written in."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Change = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Rule:
    """What becomes of the tensors whose whole name a pattern fits.

    Attributes:
        pattern: regular expression of the file's names.
        targets: library names, ``\\1`` standing for groups of the pattern; none: the tensor is known and left out.
        why: what is done to it, or why it is left out; empty for a mere renaming.
        change: one tensor to as many as there are targets; None keeps it.
        part: (k, n): it is part k of n that are put together, first dimension, in that order.
    """

    pattern: str
    targets: tuple[str, ...]
    why: str = ""
    change: Change | None = None
    part: tuple[int, int] | None = None


def rename(pattern: str, target: str) -> Rule:
    """The tensor as it is, under another name."""
    return Rule(pattern, (target,))


def drop(pattern: str, why: str) -> Rule:
    """A tensor the library has no use for."""
    return Rule(pattern, (), why)


def alter(pattern: str, target: str, *, change: Callable[[Tensor], Tensor], why: str) -> Rule:
    """One tensor changed into another."""
    return Rule(pattern, (target,), why, lambda tensor: (change(tensor),))


def split(pattern: str, targets: Sequence[str], *, change: Change, why: str) -> Rule:
    """One tensor taken apart."""
    return Rule(pattern, tuple(targets), why, change)


def join(patterns: Sequence[str], target: str, *, why: str) -> list[Rule]:
    """Several tensors put together along the first dimension."""
    return [Rule(pattern, (target,), why, part=(k, len(patterns))) for k, pattern in enumerate(patterns)]


@dataclass
class Mapped:
    """Tensors under library names and where they come from.

    Attributes:
        tensors: by library name.
        origin: library name -> name (or names) in the file.
        changed: library name -> what was done to the tensor.
        unused: name in the file -> why it is left out.
        unknown: names in the file that no rule fits.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def apply_rules(tensors: Mapping[str, Tensor], rules: Sequence[Rule]) -> Mapped:
    """The tensors under library names; for each name the first rule that fits counts.

    Args:
        tensors: by the file's names; left as they are.
        rules: tried in this order.

    Raises:
        ValueError: two names of one tensor hold different values, or a part of a tensor is missing.
    """
    compiled = [(re.compile(rule.pattern), rule) for rule in rules]
    mapped = Mapped()
    parts: dict[str, dict[int, tuple[str, Tensor, Rule]]] = {}
    for name, tensor in tensors.items():
        found = next(((match, rule) for pattern, rule in compiled if (match := pattern.fullmatch(name))), None)
        if found is None:
            mapped.unknown.append(name)
            continue
        match, rule = found
        if not rule.targets:
            mapped.unused[name] = rule.why
        elif rule.part is not None:
            parts.setdefault(match.expand(rule.targets[0]), {})[rule.part[0]] = (name, tensor, rule)
        else:
            pieces = (tensor,) if rule.change is None else rule.change(tensor)
            for target, piece in zip(rule.targets, pieces, strict=True):
                _place(mapped, match.expand(target), tensor=piece, origin=name, why=rule.why)
    for target, given in parts.items():
        rule = next(iter(given.values()))[2]
        needed = rule.part[1] if rule.part else 0
        if len(given) != needed:
            names = ", ".join(name for name, _, _ in given.values())
            raise ValueError(f"{target} is made of {needed} tensors, the file has {len(given)} of them: {names}")
        ordered = [given[k] for k in range(needed)]
        joined = torch.cat([tensor for _, tensor, _ in ordered])
        _place(mapped, target, tensor=joined, origin=" + ".join(name for name, _, _ in ordered), why=rule.why)
    return mapped


def _place(mapped: Mapped, target: str, *, tensor: Tensor, origin: str, why: str) -> None:
    if target in mapped.tensors:
        # Some files save one tensor under several names; that is harmless only while the values agree.
        if not torch.equal(mapped.tensors[target], tensor):
            raise ValueError(f"{origin} and {mapped.origin[target]} both are {target}, but their values differ")
        mapped.unused[origin] = f"another name of {mapped.origin[target]}"
        return
    mapped.tensors[target] = tensor.contiguous()
    mapped.origin[target] = origin
    if why:
        mapped.changed[target] = why
