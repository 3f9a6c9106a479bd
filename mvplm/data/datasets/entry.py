"""What the catalog knows about a dataset."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvplm.structures import Record

Loader = Callable[..., Sequence[Record]]


@dataclass(frozen=True)
class CatalogEntry:
    """How to open a dataset, and what it needs on disk.

    Attributes:
        loader: called as ``loader(root, **options)``.
        files: called as ``files(root)``; gives the raw files for the checker (``CocoFiles`` or ``SemanticFiles``).
        needs: files and folders below the datasets folder without which it cannot be opened. Alternatives stand in one
            string, separated by " or ".
    """

    loader: Loader
    files: Callable[..., Any] | None = None
    needs: tuple[str, ...] = ()

    def missing(self, root: Path) -> list[str]:
        """The needs that are not met below ``root``."""
        return [need for need in self.needs if not any((root / place).exists() for place in need.split(" or "))]
