"""Hooks: what happens around the training loop. They run in the order given; evaluate before you checkpoint."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from mvplm.engine.checkpoint import CheckpointStore
from mvplm.engine.losslog import LossRecord

if TYPE_CHECKING:
    from mvplm.engine.trainer import Trainer

_LOGGER = logging.getLogger("mvplm.engine")


class Hook:
    """Does nothing at every point of the loop; subclasses override what they need."""

    def check(self, trainer: "Trainer") -> None:
        """Called before any hook's ``before_train``: raise ValueError to refuse a run before anything is touched."""

    def before_train(self, trainer: "Trainer") -> None:
        """Called once, after a resume has been done and before the first batch is fetched."""

    def after_step(self, trainer: "Trainer") -> None:
        """Called after every optimiser step; ``trainer.step`` counts the completed ones."""

    def on_log(self, trainer: "Trainer", record: LossRecord) -> None:
        """Called when losses have been read from the device."""

    def on_metrics(self, trainer: "Trainer", metrics: Mapping[str, float]) -> None:
        """Called when an evaluation has produced numbers."""

    def after_train(self, trainer: "Trainer") -> None:
        """Called once at a clean end (also an early one), not after an error."""

    def close(self) -> None:
        """Called at any end, also after an error."""


class NoteHook(Hook):
    """Writes a text file, such as the run's configuration, once no hook has refused the run."""

    def __init__(self, path: str | Path, text: str) -> None:
        self.path = Path(path)
        self.text = text

    def before_train(self, trainer: "Trainer") -> None:
        """Write the file (main process)."""
        if trainer.is_main:
            self.path.write_text(self.text, encoding="utf-8")


class CheckpointHook(Hook):
    """Saves every ``every`` steps and at a clean end."""

    def __init__(
        self,
        root: str | Path,
        *,
        every: int,
        keep: int = 3,
        overwrite: bool = False,
        extras: Callable[[Path], None] | None = None,
    ) -> None:
        """Prepare; nothing is written yet.

        Args:
            root: directory of the run's checkpoints.
            every: steps between two saves.
            keep: newest checkpoints that stay, 0 for all.
            overwrite: let a run that starts from step 0 remove the checkpoints it finds; otherwise it is refused.
            extras: adds files to each checkpoint (configuration, tokenizer, provenance); gets its directory.
        """
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.store = CheckpointStore(root, keep=keep)
        self.every = every
        self.overwrite = overwrite
        self.extras = extras
        self._saved: int | None = None

    def check(self, trainer: "Trainer") -> None:
        """Refuse to mix two runs in one directory."""
        latest = self.store.latest()
        if not trainer.step and not self.overwrite and latest is not None:
            raise ValueError(f"{self.store.root} already holds {latest.name}: resume it, or choose another directory")

    def before_train(self, trainer: "Trainer") -> None:
        """Make room for a run that starts from step 0."""
        self._saved = trainer.step or None
        if not trainer.step and trainer.is_main:
            self.store.clear()

    def after_step(self, trainer: "Trainer") -> None:
        """Save when it is time."""
        if trainer.step % self.every == 0:
            self._save(trainer)

    def after_train(self, trainer: "Trainer") -> None:
        """Save the end, unless it is saved already; after an interruption say how to go on."""
        if self._saved != trainer.step:
            self._save(trainer)
        if trainer.interrupted and trainer.is_main:
            _LOGGER.warning(
                "stopped by %s after step %d of %d, saved in %s; the same command with --resume continues",
                trainer.interrupted,
                trainer.step,
                trainer.settings.steps,
                self.store.root,
            )

    def _save(self, trainer: "Trainer") -> None:
        trainer.save_checkpoint(self.store, extras=self.extras)
        self._saved = trainer.step


class EvalHook(Hook):
    """Calls an evaluation function every ``every`` steps and at the end, and hands its numbers to all hooks.

    The function gets the model in evaluation mode, without gradients, with the averaged weights when there are any.
    """

    def __init__(self, function: Callable[[nn.Module], Mapping[str, float]], *, every: int) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.function = function
        self.every = every
        self._done: int | None = None

    def after_step(self, trainer: "Trainer") -> None:
        """Evaluate when it is time."""
        if trainer.step % self.every == 0:
            self._evaluate(trainer)

    def after_train(self, trainer: "Trainer") -> None:
        """Evaluate the end, unless done already or interrupted."""
        if self._done != trainer.step and not trainer.interrupted:
            self._evaluate(trainer)

    def _evaluate(self, trainer: "Trainer") -> None:
        with trainer.evaluation_model() as model, torch.no_grad():
            metrics = dict(self.function(model))
        self._done = trainer.step
        trainer.publish_metrics(metrics)
