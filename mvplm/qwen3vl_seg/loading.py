"""What an evaluation of a model that writes boxes loads: a run's newest checkpoint, or a model directory."""

from pathlib import Path

from mvplm.config import Config
from mvplm.engine import load_trained, open_checkpoint
from mvplm.pretrained import shipped_folder
from mvplm.qwen3vl_seg.build import build_box_mask
from mvplm.qwen3vl_seg.files import PROCESSOR_DIR, is_box_directory, load_box_perceiver, placed
from mvplm.qwen3vl_seg.perceiver import BoxPerceiver
from mvplm.text4seg.build import read_processor


def load_box_for_evaluation(config: Config, weights: str | Path | None) -> BoxPerceiver:
    """A perceiver from a run's newest checkpoint (averaged weights when there are any) or a model directory.

    Raises:
        ValueError: neither is there, or the weights do not fit.
    """
    source = shipped_folder(weights or "") or Path(weights or config.train.output)
    device = config.train.device
    if is_box_directory(source):
        perceiver = load_box_perceiver(source, device=device)
        perceiver.config.infer, perceiver.config.eval.res_protocol = config.infer, config.eval.res_protocol
        for key in ("constrained", "max_new_tokens", "max_instances", "label_tokens", "mask_threshold"):
            setattr(perceiver.config.box_mask, key, getattr(config.box_mask, key))
        return perceiver
    checkpoint = open_checkpoint(source)
    processor = read_processor(checkpoint.path / PROCESSOR_DIR)
    # With a base, the base's own processor tells which tokens are new; both end with the same ids.
    system = build_box_mask(config, processor=processor if config.box_mask.base is None else None)
    # Checkpoints lack what was never trained where it comes from a base.
    may_lack = ("base.",) if config.box_mask.base is not None else ()
    load_trained(system.model, checkpoint, allow_missing=may_lack)
    return placed(system, config, device=device, dtype="fp32")
