"""What decoding the mask of one box costs beside seeing the image, at the size of a named base model.

The vision tower and the mask decoder run in float32 with random weights, taking turns. The language model is not run:
its prefill comes on top of the vision tower's time and makes the decoder's share smaller.

Example: python tools/benchmark.py box_mask_share --side 784 --repeats 2
"""

import argparse

import torch
from measuring import Row, interleave

import mvplm
from mvplm.models.qwen3vl_seg import BoxGuidedMaskDecoder, DecoderInput
from mvplm.models.qwen3vl_seg.bases import base_config, decoder_settings
from mvplm.models.qwen3vl_seg.capture import ImageStates, visual_levels
from mvplm.models.qwen3vl_seg.tokens import merged_maps

_BOX = [0.2, 0.3, 0.6, 0.8]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--model", default="qwen3vl-seg-4b", help="architecture")
    parser.add_argument("--side", type=int, default=784, help="of the square image; rounded up to a multiple of 32")
    parser.add_argument("--objects", type=int, default=1, help="boxes on the image")
    parser.add_argument("--repeats", type=int, default=2)


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Seconds of both, and the share."""
    name, side = ("qwen3vl-seg-tiny", 64) if arguments.quick else (arguments.model, arguments.side)
    patches = 2 * -(-side // 32)
    decoder = _decoder(name)
    visual = _vision_tower(name)
    pixels = torch.rand(patches**2, 3 * visual.config.temporal_patch_size * 16 * 16) * 2 - 1
    grid = torch.tensor([[1, patches, patches]])
    entry = _entry(visual, patches, objects=arguments.objects)
    with torch.inference_mode():
        # A small image first: allocators and threads get ready there.
        visual(pixels[:16], grid_thw=torch.tensor([[1, 4, 4]]))
        seconds = interleave(
            {"vision": lambda: visual(pixels, grid_thw=grid), "decoder": lambda: decoder([entry])},
            repeats=1 if arguments.quick else arguments.repeats,
            warmups=0,
        )
    shape = f"{16 * patches} x {16 * patches} pixels, float32, {torch.get_num_threads()} thread(s)"
    count = sum(parameter.numel() for parameter in visual.parameters())
    return [
        Row("vision tower", seconds["vision"], "s", detail=f"{name}, {count:,} parameters, {shape}"),
        Row("mask decoder", seconds["decoder"], "s", detail=f"{arguments.objects} object(s)"),
        Row(
            "mask decoder / vision tower",
            100 * seconds["decoder"] / seconds["vision"],
            "%",
            "" if arguments.quick else "<= 5",
            "the language model's prefill is not counted",
        ),
    ]


def _decoder(name: str) -> torch.nn.Module:
    return BoxGuidedMaskDecoder.from_base_config(base_config(name), **decoder_settings(name)).eval()


def _vision_tower(name: str) -> torch.nn.Module:
    """The tower alone, made on its own: the rest of the base model stays without memory."""
    whole = mvplm.create_model(name, meta=True).base
    tower = type(whole.model.visual)(whole.config.vision_config)
    return tower.float().eval()


@torch.inference_mode()
def _entry(visual: torch.nn.Module, patches: int, *, objects: int) -> DecoderInput:
    """An input of the decoder with the tower's shapes: its values do not change what it costs."""
    width, side = visual.config.out_hidden_size, patches // 2
    small = visual_levels(visual(torch.rand(16, 1536), grid_thw=torch.tensor([[1, 4, 4]])))
    levels = [merged_maps(torch.randn(side**2, width), [(patches, patches)])[0] for _ in small]
    image = ImageStates(levels, torch.rand(3, 16 * patches, 16 * patches) * 2 - 1, torch.randn(width, side, side))
    return image.asked(torch.randn(objects, width), torch.tensor([_BOX] * objects))
