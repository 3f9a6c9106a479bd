"""Captioning a data set of the catalog from beginning to end: what the command does."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvplm.data.catalog import get_dataset
from mvplm.label.captioners import CaptionerSpec
from mvplm.label.progress import Progress
from mvplm.label.run import LabelSettings, LabelSummary, label_records
from mvplm.label.store import CaptionStore
from mvplm.label.work import Backend, InProcess
from mvplm.structures import Record


@dataclass(frozen=True)
class Places:
    """Where captioners run.

    Attributes:
        devices: torch devices; empty takes every GPU, or the CPU. Several mean one process each.
        ray: use Ray, with ``workers`` actors of ``gpus`` GPUs each, instead of ``devices``.
        address: of a running Ray cluster; "" starts one here.
    """

    devices: tuple[str, ...] = ()
    ray: bool = False
    address: str = ""
    workers: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.workers < 1 or self.gpus < 0:
            raise ValueError(f"workers must be at least 1 and gpus not negative, got {self.workers} and {self.gpus}")


@dataclass(frozen=True)
class Labelled:
    """A data set of the catalog: its name, folder of data sets and options."""

    name: str
    root: str | Path | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """What must stay the same for a folder of captions; how many records are taken may change."""
        return {"name": self.name, "options": {k: v for k, v in sorted(self.options.items()) if k != "num"}}


def label_dataset(
    dataset: Labelled,
    specs: Sequence[CaptionerSpec],
    *,
    out: str | Path,
    settings: LabelSettings | None = None,
    places: Places | None = None,
    progress: Progress | None = None,
) -> LabelSummary:
    """Caption a data set into the folder ``out``, or go on with it.

    Raises:
        ValueError, FileNotFoundError: unknown data set or captioner, or ``out`` belongs to other ones; nothing is
            captioned then.
    """
    if not specs:
        raise ValueError("at least one captioner is needed")
    records = get_dataset(dataset.name, root=dataset.root, **dataset.options)
    infos = [spec.describe() for spec in specs]
    with (
        CaptionStore(out, dataset=dataset.identity(), captioners=infos) as store,
        closing(make_backend(records, places or Places())) as backend,
    ):
        return label_records(records, specs, store=store, backend=backend, settings=settings, progress=progress)


def make_backend(records: Sequence[Record], places: Places) -> Backend:
    """Ray, several processes, or this one."""
    if places.ray:
        from mvplm.label.raydata import RayBackend

        return RayBackend(records, address=places.address or None, workers=places.workers, gpus=places.gpus)
    devices = places.devices or _devices_here()
    if len(devices) == 1:
        return InProcess(records, devices[0])
    from mvplm.label.processes import Processes

    return Processes(records, devices)


def _devices_here() -> tuple[str, ...]:
    import torch

    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count())) or ("cpu",)
