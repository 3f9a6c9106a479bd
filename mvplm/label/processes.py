"""Captioning in several processes of this machine, one per device.

A process only computes; captions are written by the parent alone. When the parent is killed the pipes close and the
processes end; when a process dies its batch counts as failed and another process takes its place.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from mvplm.label.captioners import CaptionerSpec
from mvplm.label.work import Outcome, Worker, in_batches
from mvplm.structures import Record


class Processes:
    """One process per entry of ``devices``, started when first used. Records must be picklable.

    ``method`` is how ``multiprocessing`` starts them; with "fork" a GPU cannot be used.
    """

    def __init__(self, records: Sequence[Record], devices: Sequence[str], *, method: str = "spawn") -> None:
        self._records = records
        self._devices = list(devices)
        self._method = method
        self._workers: list[_Process] = []

    def caption(
        self, spec: CaptionerSpec, places: Sequence[int], *, batch_size: int
    ) -> Generator[list[Outcome], None, None]:
        """See ``Backend``."""
        waiting = deque(in_batches(places, batch_size))
        if not self._workers:
            self._workers = [_Process(self._records, device, method=self._method) for device in self._devices]
        try:
            while waiting or any(worker.batch for worker in self._workers):
                for worker in self._workers:
                    if waiting and not worker.batch:
                        worker.give(spec, waiting.popleft())
                busy = {worker.pipe: worker for worker in self._workers if worker.batch}
                for pipe in wait(list(busy)):
                    assert isinstance(pipe, Connection)
                    yield busy[pipe].take()
        finally:
            for worker in self._workers:
                if worker.batch:
                    worker.take()

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.end()
        self._workers = []


class _Process:
    """One process and the batch it works on."""

    def __init__(self, records: Sequence[Record], device: str, *, method: str) -> None:
        self.batch: Sequence[int] = ()
        self._start = (records, device)
        self._method = method
        self._open()

    def give(self, spec: CaptionerSpec, batch: Sequence[int]) -> None:
        """Send work. Only after the previous batch was taken."""
        self.batch = batch
        try:
            self.pipe.send((spec, batch))
        except BrokenPipeError:
            return  # It died while idle: take() finds the pipe closed.

    def take(self) -> list[Outcome]:
        """Wait for the batch."""
        batch, self.batch = self.batch, ()
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            told = f"the process ended with exit code {self._process.exitcode}"
            self.pipe.close()
            self._open()
            return [Outcome(place, None, "captioner", told) for place in batch]

    def end(self) -> None:
        """Ask the process to end, and wait for it."""
        with suppress(BrokenPipeError):  # It may have ended already.
            self.pipe.send(None)
        self.pipe.close()
        self._process.join()

    def _open(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        context: Any = multiprocessing.get_context(self._method)
        self._process = context.Process(target=_serve, args=(theirs, *self._start), daemon=True)
        self._process.start()
        theirs.close()


def _serve(pipe: Connection, *start: object) -> None:
    """Answer batches until the parent says so or is gone; Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    records, device = start
    assert isinstance(records, Sequence) and isinstance(device, str)
    worker = Worker(records, device)
    while True:
        try:
            asked = pipe.recv()
            if asked is None:
                return
            pipe.send(worker.run(*asked))
        except (EOFError, OSError):
            return
