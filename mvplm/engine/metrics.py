"""metrics.jsonl: one line per read of the losses or per evaluation; the run's memory on disk."""

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvplm.engine.hooks import Hook
from mvplm.engine.losslog import LossRecord

if TYPE_CHECKING:
    from mvplm.engine.trainer import Trainer

_LOGGER = logging.getLogger("mvplm.engine")


class MetricsWriter(Hook):
    """Appends to ``metrics.jsonl`` and, when asked and installed, to TensorBoard.

    A train line has ``kind, step, first_step, loss, totals`` (the loss of every step), ``lr, grad_norm, skipped,
    steps_per_second, data_wait`` and each unweighted loss under its own name; an eval line has ``kind, step`` and each
    number under its name. Numbers are written exactly (shortest round-trip repr); a number that
    is not finite is null. A resumed run first drops the lines after its checkpoint, so that no step is told twice.
    """

    def __init__(self, path: str | Path, *, tensorboard: str | Path | None = None) -> None:
        """``path`` of the file; ``tensorboard``: directory of event files, None for none."""
        self.path = Path(path)
        self._board_directory = tensorboard
        self._board: Any = None

    def before_train(self, trainer: "Trainer") -> None:
        """Drop lines that the coming steps will write again."""
        if not trainer.is_main:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_metrics(self.path) if line["step"] <= trainer.start_step and trainer.start_step]
        temporary = self.path.with_name(self.path.name + ".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        os.replace(temporary, self.path)
        if self._board_directory is not None:
            self._board = _summary_writer(self._board_directory, purge_step=trainer.start_step + 1)

    def on_log(self, trainer: "Trainer", record: LossRecord) -> None:
        """Write a train line."""
        if not trainer.is_main:
            return
        seconds = max(trainer.seconds, 1e-9)
        done = trainer.step - trainer.start_step
        line = {
            "kind": "train",
            "first_step": record.first_step,
            "step": record.step,
            "loss": record.mean_total,
            "totals": list(record.totals),
            "grad_norm": record.grad_norm,
            "lr": trainer.optimizer_settings.lr * trainer.schedule.factor(record.step - 1),
            "skipped": record.skipped,
            "steps_per_second": done / seconds,
            "data_wait": trainer.data_seconds / seconds,
            **record.losses,
        }
        self._append(line)
        main = {name: line[name] for name in ("loss", "lr", "grad_norm")}
        self._to_board(main, group="train", step=record.step)
        self._to_board(record.losses, group="losses", step=record.step)

    def on_metrics(self, trainer: "Trainer", metrics: Mapping[str, float]) -> None:
        """Write an eval line."""
        if trainer.is_main:
            self._append({"kind": "eval", "step": trainer.step, **metrics})
            self._to_board(metrics, group="eval", step=trainer.step)

    def close(self) -> None:
        """Close the event file."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(line), allow_nan=False) + "\n")

    def _to_board(self, values: Mapping[str, float], *, group: str, step: int) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, step)


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Lines of a metrics file as dicts; a last line cut off by a crash is left out, a missing file is empty."""
    path = Path(path)
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            _LOGGER.warning("%s: dropped a damaged line", path)
    return lines


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _summary_writer(directory: str | Path, *, purge_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _LOGGER.warning("TensorBoard is not installed (pip install tensorboard): no event files are written")
        return None
    return SummaryWriter(str(directory), purge_step=purge_step)
