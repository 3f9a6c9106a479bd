"""How far captioning is: bars with the time left on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID


@dataclass
class _State:
    """Counts of one captioner; ``before`` were there when it began, at ``started`` (monotonic seconds)."""

    total: int
    done: int
    before: int
    started: float
    failed: int = 0


class Progress:
    """Says nothing; what shows something overrides ``show``."""

    def __init__(self) -> None:
        self.states: dict[str, _State] = {}

    def begin(self, name: str, *, done: int, total: int) -> None:
        """A captioner begins with ``done`` of its ``total`` captions there."""
        self.states[name] = _State(total, done, done, time.monotonic())
        self.show(name)

    def advance(self, name: str, done: int, *, failed: int = 0) -> None:
        """``done`` more captions are written, ``failed`` more given up."""
        state = self.states[name]
        state.done += done
        state.failed += failed
        self.show(name)

    def text(self, name: str) -> str:
        """ "37/500 · 2 failed · 4.1/s · 0:01:52 left"."""
        state = self.states[name]
        parts = [f"{state.done}/{state.total}"]
        if state.failed:
            parts.append(f"{state.failed} failed")
        new, seconds = state.done - state.before, time.monotonic() - state.started
        if new and seconds > 0:
            left = round((state.total - state.done - state.failed) * seconds / new)
            parts.append(f"{new / seconds:.1f}/s · {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left")
        return " · ".join(parts)

    def show(self, name: str) -> None:
        """Called after every change."""


class ShownProgress(Progress):
    """On a console: one bar per captioner on a terminal, otherwise a line every ``every`` seconds and at the end.

    A context manager, so that the bars are taken down.
    """

    def __init__(self, console: "Console", *, every: float = 30, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        super().__init__()
        self._console = console
        self._every = every
        self._clock = clock
        self._told = float("-inf")
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}", markup=False),
        )
        self._bars = Bars(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "ShownProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, name: str) -> None:
        """Move the bar, or print a line when it is time."""
        state, text = self.states[name], self.text(name)
        if self._console.is_terminal:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=state.total, text=text)
            self._bars.update(self._tasks[name], completed=state.done, text=text)
            return
        now, over = self._clock(), state.done + state.failed == state.total
        if over or now - self._told >= self._every:
            self._told = now
            self._console.print(f"{name}: {text}", markup=False, emoji=False, highlight=False, soft_wrap=True)
