"""Sizes and options of the box-guided mask decoder, checked when built."""

from dataclasses import dataclass

from mvplm.structures.choices import check_choice

GATE_FRAMES = ("image", "box")
GATE_MODES = ("union", "instance")


@dataclass(frozen=True)
class DecoderSettings:
    """What is free in the decoder; the rest follows from the base model's configuration.

    Attributes:
        width: d, of memory, queries and pixel features.
        layers, heads, ffn: of the query decoder; ``heads`` and ``groups`` divide ``width``.
        groups: of every group norm; they divide each of ``stem_channels``, too.
        position_grid: side of the learned position grid, resized to each image's memory.
        bands, max_octave: Fourier bands per coordinate, with frequencies from 1 to 2 ** max_octave.
        stem_channels: output channels of the three stride-2 convolutions on the image.
        gate_frame: unit in which the gate's slope is meant: "image" sides, as published, or the box's own sides.
        gate_mode: one gate and one pixel map for all boxes of an image ("union", published), or one each ("instance").
        gate_slope, gate_enlarge: steepness of the gate, and by how much each box's sides are multiplied before.
        independent: instances of one image do not look at each other.
        max_instances: instances decoded jointly; more are decoded in chunks of that many.
        injection, image_branch, refinement: parts that an ablation leaves out, with their weights: the levels of the
            vision tower in the memory (language states and positions stay), the convolutions on the image, the second
            mask (the first is the result).

    Raises:
        ValueError: an unknown choice, or sizes that do not belong together.
    """

    width: int = 256
    layers: int = 3
    heads: int = 8
    ffn: int = 2048
    groups: int = 8
    position_grid: int = 48
    bands: int = 64
    max_octave: int = 9
    stem_channels: tuple[int, int, int] = (32, 64, 128)
    gate_frame: str = "image"
    gate_mode: str = "union"
    gate_slope: float = 20.0
    gate_enlarge: float = 1.15
    independent: bool = False
    max_instances: int = 32
    injection: bool = True
    image_branch: bool = True
    refinement: bool = True

    def __post_init__(self) -> None:
        check_choice("gate_frame", self.gate_frame, choices=GATE_FRAMES)
        check_choice("gate_mode", self.gate_mode, choices=GATE_MODES)
        if self.width % self.heads:
            raise ValueError(f"heads must divide width, got {self.heads} and {self.width}")
        for channels in (self.width, *self.stem_channels):
            if channels % self.groups:
                raise ValueError(f"groups must divide width and stem_channels, got {self.groups} and {channels}")
        if len(self.stem_channels) != 3:
            raise ValueError(f"stem_channels must be three numbers, got {self.stem_channels}")
        if min(self.layers, self.position_grid, self.max_instances) < 1 or self.bands < 2:
            raise ValueError(
                "layers, position_grid and max_instances must be at least 1 and bands at least 2, "
                f"got {self.layers}, {self.position_grid}, {self.max_instances} and {self.bands}"
            )
        if self.gate_slope <= 0 or self.gate_enlarge < 1:
            raise ValueError(
                f"gate_slope must be above 0 and gate_enlarge at least 1, got {self.gate_slope} and {self.gate_enlarge}"
            )
