"""Adapters of a finished first stage merged into their base model, for a second stage that trains all of it."""

from pathlib import Path

from safetensors.torch import save_file

from mvplm.config import Config
from mvplm.qwen3vl_seg.files import MODEL_DIR
from mvplm.qwen3vl_seg.loading import load_box_for_evaluation

START_FILE = "start.safetensors"


def merge_box_mask(config: Config, out: str | Path, *, weights: str | Path | None = None) -> Path:
    """Write ``model``, a base model with its processor, and ``start.safetensors``, the mask decoder's weights.

    The first is for ``box_mask.base``, the second for ``train.init_from`` with ``init_allow: [base.]``.

    Args:
        config: of the run that is over. out: folder to write into. weights: its directory; None: ``train.output``.

    Raises:
        ValueError: no such run, or one without adapters.
    """
    perceiver = load_box_for_evaluation(config, weights)
    base = perceiver.model.base
    if not hasattr(base, "merge_and_unload"):
        raise ValueError(f"{weights or config.train.output} has no adapters, so there is nothing to merge")
    folder = Path(out)
    (folder / MODEL_DIR).mkdir(parents=True, exist_ok=True)
    decoder = {f"mask_decoder.{name}": value.cpu() for name, value in perceiver.model.mask_decoder.state_dict().items()}
    save_file(decoder, str(folder / START_FILE), metadata={"format": "pt"})
    base.merge_and_unload().save_pretrained(str(folder / MODEL_DIR))
    perceiver.system.processor.save_pretrained(str(folder / MODEL_DIR))
    return folder
