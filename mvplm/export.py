"""From a training run to a model directory that can be shipped and loaded by name."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

from mvplm.config import Config, config_hash, load_config
from mvplm.config.training import TrainConfig
from mvplm.data.catalog import get_dataset
from mvplm.engine import open_checkpoint
from mvplm.pretrained import CONFIG_FILE, PROVENANCE_FILE
from mvplm.runs import load_for_evaluation
from mvplm.structures.versions import library_versions

_PARTS = ("checkpoints", "model")
"""Directories inside runs."""


def export_run(run: str | Path, out: str | Path, *, vocabulary: str | None = None, half: bool = True) -> Path:
    """Write the newest checkpoint of a run (its averaged weights when there are any) as a model directory.

    Args:
        run: directory of a run, or one of its checkpoints.
        out: directory to write.
        vocabulary: dataset whose vocabulary tells things from stuff when people ask for its names; MVP-LM only.
        half: store bfloat16 instead of float32; MVP-LM only, others keep what they were trained in.

    Returns:
        The directory.

    Raises:
        ValueError: the run holds no complete checkpoint, or the dataset has no vocabulary, or the model keeps none.
    """
    checkpoint = open_checkpoint(run)
    config = load_config(checkpoint.path / CONFIG_FILE)
    if vocabulary is not None and config.system != "mvplm":
        raise ValueError(f"a model of system {config.system!r} keeps no vocabulary: leave {vocabulary!r} out")
    perceiver = load_for_evaluation(config, checkpoint.path)
    origin, own_hash = origin_of(config), config_hash(config)
    # Where things lay on the training machine means nothing to the one who loads them.
    usual = TrainConfig()
    perceiver.config.train = replace(
        config.train, output=usual.output, device=usual.device, init_from=None, init_skip=[]
    )
    if vocabulary is not None:
        perceiver.vocabulary = get_dataset(vocabulary, num=1)[0].vocabulary
        if perceiver.vocabulary is None:
            raise ValueError(f"dataset {vocabulary!r} has no vocabulary")
    provenance = {
        "source": origin,
        "step": checkpoint.step,
        "config_hash": own_hash,
        "date": date.today().isoformat(),
        "sources": {name: source.dataset for name, source in config.data.sources.items() if source.ratio},
        "versions": library_versions(),
    }
    if config.system == "mvplm":
        return Path(perceiver.save(out, half=half, provenance=provenance))
    written = Path(perceiver.save(out))
    (written / PROVENANCE_FILE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    return written


def origin_of(config: Config) -> str:
    """Where the weights of a run began, in words: a run is called by its directory, not by the part of it."""
    bases = {"text4seg": config.text_mask.base, "qwen3vl_seg": config.box_mask.base}
    began = config.train.init_from or bases.get(config.system)
    if began is None:
        return "trained from scratch"
    place = Path(began)
    while place.parent.name and (place.name.startswith("step_") or place.name in _PARTS):
        place = place.parent
    return f"trained further from {place.name}"
