"""From a training run to a model directory that can be shipped and loaded by name."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

from mvplm.config import config_hash, load_config
from mvplm.config.training import TrainConfig
from mvplm.data.catalog import get_dataset
from mvplm.engine import open_checkpoint
from mvplm.pretrained import CONFIG_FILE, PROVENANCE_FILE
from mvplm.runs import load_for_evaluation
from mvplm.structures.versions import library_versions


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
    folder = Path(run)
    checkpoint = open_checkpoint(folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder)
    config = load_config(checkpoint.path / CONFIG_FILE)
    if vocabulary is not None and config.system != "mvplm":
        raise ValueError(f"a model of system {config.system!r} keeps no vocabulary: leave {vocabulary!r} out")
    perceiver = load_for_evaluation(config, checkpoint.path)
    bases = {"text4seg": config.text_mask.base, "qwen3vl_seg": config.box_mask.base}
    started_from = config.train.init_from or bases.get(config.system)
    own_hash = config_hash(config)
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
        "source": "trained from scratch" if started_from is None else f"trained further from {Path(started_from).name}",
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
