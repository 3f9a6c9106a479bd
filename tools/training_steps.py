"""Single training steps of our small model, for measuring; also those of another checkout, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from mvplm.config import Config
    from mvplm.prompts import PromptTokenizer
    from mvplm.structures import Batch

ROOT = Path(__file__).resolve().parents[1]
SCENES = Path("configs", "quick", "scenes.yaml")


def scenes_config(*sources: str, root: Path = ROOT, overrides: Sequence[str] = ()) -> "Config":
    """The configuration that the small model is trained with, with these of its sources only.

    Args:
        sources: keys of ``data.sources``. root: the checkout that holds the file. overrides: dotted settings.

    Raises:
        ValueError: a source that is not there.
    """
    from mvplm.config import load_config

    file = root / SCENES
    known = load_config(file).data.sources
    if unknown := sorted(set(sources) - set(known)):
        raise ValueError(f"no source {unknown[0]!r} in {file}; there are {', '.join(known)}")
    left_out = [f"data.sources.{name}.ratio=0" for name in known if name not in sources]
    return load_config(file, [*left_out, *overrides])


class TrainingSteps:
    """Our model of a configuration with its losses and its optimiser: what the trainer does in one step, step by step.

    Two of the same configuration start from the same weights and draw the same noise.

    Attributes:
        model: the network, in training mode. losses: weighted sum of every step so far.
    """

    def __init__(self, config: "Config", tokenizer: "PromptTokenizer", *, backend: str = "auto") -> None:
        """``backend`` of deformable attention, see :mod:`mvplm.models.ops`."""
        from mvplm.build import build_model
        from mvplm.build_training import build_criterion, build_optimizer_settings, build_weights
        from mvplm.engine import build_optimizer, parameter_groups, seed_everything
        from mvplm.engine.step import TrainingStep

        seed_everything(config.train.seed)
        self.model = build_model(config, tokenizer).train()
        if backend != "auto":
            _set_backend(self.model, backend)
        settings = build_optimizer_settings(config)
        self.losses: list[float] = []
        self._weights = build_weights(config)
        self._module = TrainingStep(self.model, build_criterion(config), precision=config.train.precision)
        self._optimizer = build_optimizer(parameter_groups(self.model, settings), settings)
        self._lr, self._clip_norm, self._seed = settings.lr, config.optim.clip_norm, config.train.seed

    def step(self, batch: "Batch", *, factor: float = 1.0) -> float:
        """Learn from a batch, at ``factor`` times the peak rate; returns the loss."""
        from mvplm.engine import seed_everything, step_seed
        from mvplm.engine.optim import set_learning_rate

        seed_everything(step_seed(self._seed, len(self.losses)))
        set_learning_rate(self._optimizer, self._lr * factor)
        loss = self._weights.total(self._module(batch))
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self._clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss.item())
        return self.losses[-1]


def _set_backend(model: nn.Module, backend: str) -> None:
    from mvplm.models.ops import MultiScaleDeformableAttention

    for module in model.modules():
        if isinstance(module, MultiScaleDeformableAttention):
            module.backend = backend


def first_batches(config: "Config", tokenizer: "PromptTokenizer", *, count: int) -> list["Batch"]:
    """The first batches of the training data of a configuration."""
    from mvplm.build_training import build_mixture

    return [batch for _, batch in islice(build_mixture(config, tokenizer).batches(0), count)]


@contextmanager
def trainers_kernels() -> Iterator[None]:
    """The deterministic kernels that the trainer prefers on the CPU, within the block."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = filling


class OtherCheckout:
    """Training steps of another checkout of the project. Its process waits until it is asked for a step.

    Args:
        root: folder of the checkout. source: key of ``data.sources``. count: most steps that will be asked for.
        overrides: dotted settings; its configuration file is its own.

    Raises:
        ValueError: the folder is no checkout.
    """

    def __init__(self, root: Path, source: str, *, count: int, overrides: Sequence[str] = ()) -> None:
        if not (root / SCENES).is_file():
            raise ValueError(f"{root} is no checkout of the project: it has no {SCENES}")
        self._root = root
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(root), source, str(count), *overrides],
            env={**os.environ, "PYTHONPATH": str(root.resolve())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def step(self) -> float:
        """Learn from the next batch; returns the loss.

        Raises:
            ValueError: the process has ended, for a reason that it wrote to standard error.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write("step\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # the empty answer below says so
        answer = stdout.readline()
        if not answer:
            raise ValueError(f"the training steps of {self._root} have ended; see above")
        return float(answer)

    def __enter__(self) -> "OtherCheckout":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def _serve(given: Sequence[str]) -> None:
    """A step, and its loss on standard output, for every line on standard input."""
    from mvplm.build import build_tokenizer

    root, source, count, *overrides = given
    config: Any = scenes_config(source, root=Path(root), overrides=overrides)
    tokenizer = build_tokenizer(config)
    steps = TrainingSteps(config, tokenizer)
    batches = first_batches(config, tokenizer, count=int(count))
    with trainers_kernels():
        for _, batch in zip(sys.stdin, batches, strict=False):
            print(steps.step(batch), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1:])
