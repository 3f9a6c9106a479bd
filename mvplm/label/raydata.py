"""Captioning on a Ray cluster, or on a Ray that is started on this machine. Needs the extra ``ray``.

The cluster only computes; captions come back to this process, which writes them.
"""

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from mvplm.label.captioners import CaptionerSpec
from mvplm.label.work import Outcome, Worker
from mvplm.structures import Record

_MOST_BLOCKS = 4096


class RayBackend:
    """Actors of Ray Data. Pictures must be readable from every machine of the cluster.

    Args:
        records: sent to the cluster once.
        address: of a running cluster ("auto" finds the one of this machine); None starts Ray here, or takes the
            cluster that the environment variable RAY_ADDRESS names.
        workers: number of actors.
        gpus: GPUs of each actor; 0 runs captioners on CPUs.

    Raises:
        ValueError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self, records: Sequence[Record], *, address: str | None = None, workers: int = 1, gpus: float = 0
    ) -> None:
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise ValueError("--ray needs Ray: pip install 'mvplm[ray]'") from error
        self._ray = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            try:
                ray.init(address=address, log_to_driver=False, include_dashboard=False if address is None else None)
            except ConnectionError as error:
                raise ValueError(f"there is no Ray cluster at {address!r}: {error}") from error
        ray.data.DataContext.get_current().enable_progress_bars = False
        self._workers, self._gpus = workers, gpus
        self._records = ray.put(records)

    def caption(
        self, spec: CaptionerSpec, places: Sequence[int], *, batch_size: int
    ) -> Generator[list[Outcome], None, None]:
        """See ``Backend``. A block is one batch, so that what is done is written soon.

        Raises:
            ValueError: the cluster cannot do it, for example because this package is not installed on its machines.
        """
        try:
            yield from self._answers(spec, places, batch_size=batch_size)
        except self._ray.exceptions.RayError as error:
            told = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
            raise ValueError(f"Ray cannot go on: {told.strip()}") from error

    def _answers(
        self, spec: CaptionerSpec, places: Sequence[int], *, batch_size: int
    ) -> Generator[list[Outcome], None, None]:
        blocks = min(-(-len(places) // batch_size), _MOST_BLOCKS)
        data = self._ray.data.from_items([{"place": place} for place in places], override_num_blocks=blocks)
        answered = data.map_batches(
            _Actor,
            fn_constructor_kwargs={"records": self._records, "spec": spec, "device": "cuda" if self._gpus else "cpu"},
            batch_size=batch_size,
            batch_format="numpy",
            compute=self._ray.data.ActorPoolStrategy(size=self._workers),
            num_gpus=self._gpus or None,
        )
        for rows in answered.iter_batches(batch_size=None, batch_format="numpy"):
            columns = [rows[key].tolist() for key in ("place", "given", "text", "stage", "error")]
            yield [
                Outcome(place, text if given else None, stage, error)
                for place, given, text, stage, error in zip(*columns, strict=True)
            ]

    def close(self) -> None:
        """Leave the cluster, and end it when it was started here."""
        if self._ours:
            self._ray.shutdown()


class _Actor:
    """One worker on the cluster; it gets and gives columns."""

    def __init__(self, *, records: Any, spec: CaptionerSpec, device: str) -> None:
        import ray

        self._worker = Worker(ray.get(records), device)
        self._spec = spec

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outcomes = self._worker.run(self._spec, [int(place) for place in batch["place"]])
        return {
            "place": np.array([outcome.place for outcome in outcomes]),
            "given": np.array([outcome.text is not None for outcome in outcomes]),
            "text": np.array([outcome.text or "" for outcome in outcomes], dtype=object),
            "stage": np.array([outcome.stage for outcome in outcomes], dtype=object),
            "error": np.array([outcome.error for outcome in outcomes], dtype=object),
        }
