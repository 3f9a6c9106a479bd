"""The configuration of an evaluation: a file about evaluation alone is laid over the settings of the weights."""

from collections.abc import Sequence
from pathlib import Path

from mvplm.config import Config, load_config
from mvplm.config.tree import override_layers, read_layers
from mvplm.engine import is_run, open_checkpoint
from mvplm.pretrained import CONFIG_FILE, find_model, shipped_folder
from mvplm.qwen3vl_seg.files import is_box_directory
from mvplm.text4seg.files import is_text_directory

_NETWORK = ("model", "behaviour", "system", "text_mask", "box_mask")


def evaluation_config(path: str | Path, overrides: Sequence[str] = (), *, weights: str | Path | None = None) -> Config:
    """What ``run_evaluation`` takes.

    A file that says nothing about a network (no ``model``, ``behaviour``, ``system``, ``text_mask`` or ``box_mask``) is
    laid over the settings that stand beside the weights: network, prompts, thresholds and mode are theirs unless the
    file or an override says otherwise, and the evaluation sets are the file's. Any other file is a whole configuration.

    Args:
        path: YAML file. overrides: ``dotted.key=value``, applied last.
        weights: as for ``run_evaluation``.

    Raises:
        ValueError: everything that is wrong, in one message.
    """
    own = None if weights is None or _names_network(path, overrides) else settings_file(weights)
    return load_config(path, overrides, under=own)


def settings_file(weights: str | Path) -> Path | None:
    """The configuration beside a run's newest checkpoint, a checkpoint, or a model; None where there is none."""
    place = shipped_folder(weights) or Path(weights)
    if is_run(place):
        checkpoint = open_checkpoint(place)
        found = [file for file in (checkpoint.path / CONFIG_FILE, place / CONFIG_FILE) if file.is_file()]
        return found[0] if found else None
    if is_text_directory(place) or is_box_directory(place):
        return place / CONFIG_FILE
    return find_model(weights) / CONFIG_FILE


def _names_network(path: str | Path, overrides: Sequence[str]) -> bool:
    errors: list[str] = []
    layers = [*read_layers(Path(path), errors), *override_layers(overrides, errors)]
    # A file that cannot be read is told of by load_config.
    return bool(errors) or any(key in layer.tree for layer in layers for key in _NETWORK)
