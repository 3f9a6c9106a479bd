"""Pixel decoders of the detectron2 family: the names that Mask2Former, Mask DINO, OpenSeeD and MVP-LM share.

Source: Mask2Former, Mask DINO, OpenSeeD.
"""

from mvplm.models.convert.rules import Rule, rename

PIXEL = "pixel_decoder."
ENDS = r"(weight|bias)"


def fine_map_rules(prefix: str) -> list[Rule]:
    """Lateral, output and mask feature convolutions of a pixel decoder under the pattern ``prefix`` (no groups)."""
    return [
        rename(rf"{prefix}adapter_1\.weight", PIXEL + "lateral.weight"),
        rename(rf"{prefix}adapter_1\.norm\.{ENDS}", PIXEL + r"lateral_norm.\1"),
        rename(rf"{prefix}layer_1\.weight", PIXEL + "output.weight"),
        rename(rf"{prefix}layer_1\.norm\.{ENDS}", PIXEL + r"output_norm.\1"),
        rename(rf"{prefix}mask_features\.{ENDS}", PIXEL + r"mask_features.\1"),
    ]


def encoder_layer_rules(prefix: str) -> list[Rule]:
    """The parts of the deformable encoder's layers that do not depend on the levels."""
    layer = prefix + r"transformer\.encoder\.layers\.(\d+)\."
    return [
        rename(rf"{layer}self_attn\.(value_proj|output_proj)\.{ENDS}", PIXEL + r"encoder.\1.self_attn.\2.\3"),
        rename(rf"{layer}(norm1|norm2|linear1|linear2)\.{ENDS}", PIXEL + r"encoder.\1.\2.\3"),
    ]


def input_rules(pattern: str, *, levels: int, reverse: bool) -> list[Rule]:
    """Input projections: ``pattern`` with ``{}`` for the number, our projection i being the file's i or levels - 1 - i.

    Args:
        pattern: of names such as ``input_proj.{}``, without groups.
        levels: how many projections take part.
        reverse: the file counts from the coarsest.
    """
    return [
        rename(pattern.format(levels - 1 - i if reverse else i) + rf"\.(0|1)\.{ENDS}", rf"{PIXEL}input_proj.{i}.\1.\2")
        for i in range(levels)
    ]
