"""Live progress: a Rich bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from mvplm.engine.hooks import Hook
from mvplm.engine.losslog import LossRecord

if TYPE_CHECKING:
    from mvplm.engine.trainer import Trainer


class ProgressHook(Hook):
    """Shows step, loss, learning rate, steps per second, time left and the share of time spent waiting for data."""

    def __init__(self, *, console: Console | None = None, description: str = "training") -> None:
        """``console`` defaults to standard error."""
        self.console = console or Console(file=sys.stderr)
        self.description = description
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def before_train(self, trainer: "Trainer") -> None:
        """Draw the bar (main process on a terminal)."""
        if not trainer.is_main or not self.console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            console=self.console,
            refresh_per_second=2,
        )
        self._task = self._progress.add_task(
            self.description, total=trainer.settings.steps, completed=trainer.step, text=""
        )
        self._progress.start()

    def after_step(self, trainer: "Trainer") -> None:
        """Advance the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=trainer.step)

    def on_log(self, trainer: "Trainer", record: LossRecord) -> None:
        """Show the newest numbers."""
        text = f"loss {record.mean_total:.4f} · {_speed(trainer)}"
        if record.skipped:
            text += f" · {record.skipped} skipped"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, text=text)
        elif trainer.is_main:
            rate = trainer.optimizer_settings.lr * trainer.schedule.factor(record.step - 1)
            self._print(f"step {record.step}/{trainer.settings.steps} · {text} · lr {rate:.2e}")

    def on_metrics(self, trainer: "Trainer", metrics: Mapping[str, float]) -> None:
        """Print evaluation numbers in one line."""
        if trainer.is_main:
            numbers = " · ".join(f"{name} {value:.2f}" for name, value in metrics.items())
            self._print(f"step {trainer.step} evaluation · {numbers}")

    def close(self) -> None:
        """Remove the live display."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _speed(trainer: "Trainer") -> str:
    done = trainer.step - trainer.start_step
    seconds = max(trainer.seconds, 1e-9)
    left = int((trainer.settings.steps - trainer.step) * seconds / max(done, 1))
    if trainer.settings.max_seconds is not None:
        left = min(left, max(0, int(trainer.settings.max_seconds - seconds)))
    eta = f"{left // 3600:d}:{left // 60 % 60:02d}:{left % 60:02d}"
    return f"{done / seconds:.2f} it/s · {eta} left · data wait {100 * trainer.data_seconds / seconds:.0f}%"
