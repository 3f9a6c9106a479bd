"""curves.png, drawn while training runs and at its end."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mvplm.engine.hooks import Hook

if TYPE_CHECKING:
    from mvplm.engine.trainer import Trainer


class CurvesHook(Hook):
    """Draws the run's metrics file into a picture every ``every`` steps and at a clean end.

    Give it after the ``MetricsWriter`` and the ``EvalHook``, so that the newest line is on disk.
    """

    def __init__(
        self,
        metrics: str | Path,
        output: str | Path,
        *,
        every: int = 500,
        draw: Callable[[Path, Path], object] | None = None,
    ) -> None:
        """Prepare; nothing is drawn yet.

        Args:
            metrics: the metrics file. output: the picture.
            every: steps between two drawings.
            draw: called with the two paths; by default ``mvplm.visualize.plot_curves``.
        """
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.metrics = Path(metrics)
        self.output = Path(output)
        self.every = every
        self._plot = draw

    def after_step(self, trainer: "Trainer") -> None:
        """Draw when it is time."""
        if trainer.step % self.every == 0:
            self._draw(trainer)

    def after_train(self, trainer: "Trainer") -> None:
        """Draw the whole run."""
        self._draw(trainer)

    def _draw(self, trainer: "Trainer") -> None:
        if not trainer.is_main or not self.metrics.exists():
            return
        if self._plot is None:
            from mvplm.visualize import plot_curves

            self._plot = plot_curves
        self._plot(self.metrics, self.output)
