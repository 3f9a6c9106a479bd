"""What a conversion did, tensor by tensor and module by module."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

_SHOWN = 12


@dataclass(frozen=True)
class ModuleCount:
    """Tensors of one module: filled from the file, of these changed, and missing."""

    module: str
    loaded: int
    transformed: int
    reshaped: int
    missing: int


@dataclass(frozen=True)
class LoadSummary:
    """What became of every tensor of a file and of every tensor of the library it was meant for.

    Attributes:
        source: kind of the file.
        loaded: library names that have a value now.
        renamed: library name -> name in the file, where they differ.
        transformed: library name -> what was done to the values.
        reshaped: library name -> old and new shape of resized values.
        filled: library name -> value given to a tensor the file never has.
        unused: name in the file -> why it is left out.
        missing: library names without a value.
        unexpected: names in the file that nobody knows, and library names the architecture lacks.
        mismatched: library names whose shape is another one, with both shapes.
    """

    source: str
    loaded: tuple[str, ...]
    renamed: dict[str, str] = field(default_factory=dict)
    transformed: dict[str, str] = field(default_factory=dict)
    reshaped: dict[str, str] = field(default_factory=dict)
    filled: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()

    def modules(self) -> list[ModuleCount]:
        """Counts per part of the network, in the order of the library's names."""
        names = dict.fromkeys(module_of(name) for name in (*self.loaded, *self.missing))
        return [
            ModuleCount(
                module,
                loaded=_count(self.loaded, module),
                transformed=_count(self.transformed, module),
                reshaped=_count(self.reshaped, module),
                missing=_count(self.missing, module),
            )
            for module in names
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors loaded from {self.source}"]
        listed = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.mismatched}
        lines += [f"{len(names)} {what}: {_listed(names)}" for what, names in listed.items() if names]
        return "\n  ".join(lines)


@dataclass
class Converted:
    """Tensors by library name and the summary of how they came about."""

    tensors: dict[str, Tensor]
    summary: LoadSummary


def module_of(name: str) -> str:
    """The part of the network a library name belongs to: what stands before its first dot."""
    return name.split(".", 1)[0]


def _count(names: Iterable[str], module: str) -> int:
    return sum(module_of(name) == module for name in names)


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
