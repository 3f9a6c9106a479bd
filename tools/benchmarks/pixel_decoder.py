"""The pixel decoder against transformers' Mask2FormerPixelDecoder: same sizes, same weights, float32.

Six layers over the strides 8, 16 and 32 of a 1024 x 1024 picture, with the channels of Swin-B.

Example: python tools/benchmark.py pixel_decoder
"""

import argparse

import torch
from measuring import Row, interleave

CHANNELS = {4: 128, 8: 256, 16: 512, 32: 1024}


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Seconds of both, the ratio, and the difference of their mask features."""
    from transformers import Mask2FormerConfig, SwinConfig
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

    from mvplm.models.convert import SOURCES, Options, convert
    from mvplm.models.pixel_decoder import PixelDecoder

    side = 256 if arguments.quick else 1024
    repeats = 2 if arguments.quick else 5
    torch.manual_seed(0)
    theirs = Mask2FormerPixelDecoder(Mask2FormerConfig(backbone_config=SwinConfig()), list(CHANNELS.values())).eval()
    with torch.no_grad():
        # Built alone, the part leaves its level embedding unset.
        for parameter in theirs.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.05)
    ours = PixelDecoder(CHANNELS, ffn=theirs.encoder.layers[0].fc1.out_features, levels=3).eval()
    prefix = "model.pixel_level_module.decoder."
    converted = convert(
        {prefix + name: tensor for name, tensor in theirs.state_dict().items()},
        SOURCES["mask2former-hf"],
        expected={f"pixel_decoder.{name}": tensor.shape for name, tensor in ours.state_dict().items()},
        options=Options(heads=8, levels=3),
    )
    ours.load_state_dict({name.removeprefix("pixel_decoder."): t for name, t in converted.tensors.items()})
    maps = {stride: torch.randn(1, c, side // stride, side // stride) for stride, c in CHANNELS.items()}

    @torch.inference_mode()
    def run_ours() -> torch.Tensor:
        return ours(maps).mask_features

    @torch.inference_mode()
    def run_theirs() -> torch.Tensor:
        return theirs(list(maps.values())).mask_features

    difference = (run_ours() - run_theirs()).abs().max() / run_theirs().abs().max()
    seconds = interleave({"mvplm": run_ours, "transformers": run_theirs}, repeats=repeats)
    how = f"{side} x {side}, {torch.get_num_threads()} threads, median of {repeats} in turns"
    rows = [Row(who, time, "s", detail=how) for who, time in seconds.items()]
    bar = "" if arguments.quick else ">= 3"
    rows.append(Row("times faster", seconds["transformers"] / seconds["mvplm"], "x", bar, "transformers / mvplm"))
    rows.append(Row("largest difference", difference.item(), "", "<= 1e-4", "of the mask features, relative"))
    return rows
