"""Engine: the training loop and what belongs to it. It receives model, criterion and data as objects."""

from mvplm.engine.activations import checkpoint_activations
from mvplm.engine.checkpoint import EMA_FILE, Checkpoint, CheckpointStore, is_run, open_checkpoint
from mvplm.engine.curves import CurvesHook
from mvplm.engine.ema import WeightAverage
from mvplm.engine.environment import chosen_device, describe_environment, native_bf16
from mvplm.engine.hooks import CheckpointHook, EvalHook, Hook, NoteHook
from mvplm.engine.losslog import LossRecord, NonFiniteLossError
from mvplm.engine.metrics import MetricsWriter, read_metrics
from mvplm.engine.optim import Schedule, build_optimizer, format_groups, freeze, parameter_groups
from mvplm.engine.processes import (
    add_over_processes,
    join_processes,
    leave_processes,
    rank_and_world,
    started_again,
    wait_for_processes,
)
from mvplm.engine.progress import ProgressHook
from mvplm.engine.seeds import capture_rng, restore_rng, seed_everything, step_seed
from mvplm.engine.settings import OptimizerSettings, TrainerSettings
from mvplm.engine.trainer import Trainer, TrainSummary
from mvplm.engine.weights import (
    LoadReport,
    adopt_weights,
    frozen_weights,
    load_trained,
    load_weights,
    parameters_on_meta,
)

__all__ = [
    "EMA_FILE",
    "Checkpoint",
    "CheckpointHook",
    "CheckpointStore",
    "CurvesHook",
    "EvalHook",
    "Hook",
    "LoadReport",
    "LossRecord",
    "MetricsWriter",
    "NonFiniteLossError",
    "NoteHook",
    "OptimizerSettings",
    "ProgressHook",
    "Schedule",
    "TrainSummary",
    "Trainer",
    "TrainerSettings",
    "WeightAverage",
    "add_over_processes",
    "adopt_weights",
    "build_optimizer",
    "capture_rng",
    "checkpoint_activations",
    "chosen_device",
    "describe_environment",
    "format_groups",
    "freeze",
    "frozen_weights",
    "is_run",
    "join_processes",
    "leave_processes",
    "load_trained",
    "load_weights",
    "native_bf16",
    "open_checkpoint",
    "parameter_groups",
    "parameters_on_meta",
    "rank_and_world",
    "read_metrics",
    "restore_rng",
    "seed_everything",
    "started_again",
    "step_seed",
    "wait_for_processes",
]
