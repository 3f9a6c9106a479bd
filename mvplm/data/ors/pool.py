"""Where images are worked on: in this process or in several; results come in the order of the tasks in any case."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol

from mvplm.data.ors.category_steps import (
    CategorySamples,
    Deduplicate,
    Filter,
    Ground,
    Merge,
    Read,
    Segment,
    Suppress,
    Tag,
    Verify,
)
from mvplm.data.ors.description_steps import Describe, DescriptionSamples, FilterTexts, Reground
from mvplm.data.ors.shards import Source
from mvplm.data.ors.work import Found, Step, Tools, Work

_CATEGORY: tuple[Step, ...] = (
    *(Read(), Tag(), Filter(), Ground(), Suppress(), Segment(), Merge(), Deduplicate(), Verify(), CategorySamples()),
)
_DESCRIPTION: tuple[Step, ...] = (Describe(), FilterTexts(), Reground(), DescriptionSamples())
STEPS: Mapping[str, Step] = {step.name: step for step in (*_CATEGORY, *_DESCRIPTION)}
"""All steps by name, in order."""
_AHEAD = 4
"""Tasks per process that wait or are done and not yet written."""


@dataclass(frozen=True)
class Task:
    """One image at one step.

    Attributes:
        step: name. key: of its line. source: the image. before: its line of the step before.
    """

    step: str
    key: str
    source: Source
    before: Mapping[str, Any]


class Worker:
    """Does tasks, one after the other; models that a step does not need are let go of."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._step = ""

    def run(self, task: Task) -> dict[str, Any]:
        """The line of an image.

        Raises:
            ValueError: a callable's answer cannot be used; the message names step and image.
        """
        step = STEPS[task.step]
        if task.step != self._step:
            self._let_go(step)
            self._step = task.step
        try:
            found = step(Work(task.source, task.before, tools=self._tools)) if _has_work(task) else Found(0)
        except ValueError as error:
            raise ValueError(f"step {step.name!r}, image {task.source.name}: {error}") from error
        image = found.image or task.before.get("image")
        return {
            "key": task.key,
            "name": task.source.name,
            "image": image,
            "taken": found.taken,
            "out": found.out,
            "rejects": found.rejects,
            "counts": {name: int(count) for name, count in sorted(found.counts.items())},
        }

    def _let_go(self, step: Step) -> None:
        for role, one in self._tools.callables.items():
            if role not in (*step.roles, *step.optional) and hasattr(one, "unload"):
                one.unload()


def _has_work(task: Task) -> bool:
    return not task.before or bool(task.before["out"])


class Pool(Protocol):
    """Runs tasks."""

    def run(self, tasks: Iterable[Task]) -> Iterator[dict[str, Any]]:
        """Lines in the order of the tasks; few tasks are taken ahead."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of processes."""


def open_pool(tools: Tools, workers: int) -> Pool:
    """This process, or several that are started with the first task."""
    return _Here(tools) if workers == 1 else _Processes(tools, workers)


class _Here:
    def __init__(self, tools: Tools) -> None:
        self._worker = Worker(tools)

    def run(self, tasks: Iterable[Task]) -> Iterator[dict[str, Any]]:
        """See ``Pool``."""
        return map(self._worker.run, tasks)

    def close(self) -> None:
        """Nothing to let go of."""


class _Processes:
    def __init__(self, tools: Tools, workers: int) -> None:
        # Libraries are imported once, in a process without threads and devices, of which the workers are copies.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._workers = workers
        self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(tools,))

    def run(self, tasks: Iterable[Task]) -> Iterator[dict[str, Any]]:
        """See ``Pool``."""
        waiting: deque[Future[dict[str, Any]]] = deque()
        try:
            for task in tasks:
                waiting.append(self._pool.submit(_run, task))
                if len(waiting) >= self._workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ValueError("a worker process died (out of memory?); the same command goes on where it was") from error

    def close(self) -> None:
        """Finish what runs, drop what waits."""
        self._pool.shutdown(cancel_futures=True)


_WORKERS: list[Worker] = []
"""The one of this process, where it is a process of a pool."""


def _start(tools: Tools) -> None:
    """Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _WORKERS.append(Worker(tools))


def _run(task: Task) -> dict[str, Any]:
    return _WORKERS[0].run(task)
