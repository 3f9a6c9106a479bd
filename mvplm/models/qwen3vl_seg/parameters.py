"""How many parameters the mask decoder has, by component, and what share of the base model that is."""

from dataclasses import dataclass

from torch import nn

from mvplm.models.qwen3vl_seg.mask_decoder import BoxGuidedMaskDecoder


@dataclass(frozen=True)
class ParameterTable:
    """Parameters of a decoder; ``str()`` of it is the table.

    Attributes:
        components: count by component, in the order of the computation.
        base: parameters of the base model, tied ones once; None: no base given.
    """

    components: dict[str, int]
    base: int | None = None

    @property
    def total(self) -> int:
        """Parameters of the decoder."""
        return sum(self.components.values())

    @property
    def share(self) -> float | None:
        """Decoder over base, or None without a base."""
        return None if self.base is None else self.total / self.base

    def __str__(self) -> str:
        lines = [f"{name:<36}{count:>13,}" for name, count in [*self.components.items(), ("decoder", self.total)]]
        if self.base is not None:
            lines.append(f"{'base model':<36}{self.base:>13,}")
            lines.append(f"{'decoder / base model':<36}{self.share:>13.3%}")
        return "\n".join(lines)


def count_parameters(*modules: nn.Module | nn.Parameter | None) -> int:
    """Numbers in all parameters of the modules, shared ones once per module; None has none; meta devices are fine."""
    return sum(
        module.numel() if isinstance(module, nn.Parameter) else sum(p.numel() for p in module.parameters())
        for module in modules
        if module is not None
    )


def parameter_table(decoder: BoxGuidedMaskDecoder, base: nn.Module | None = None) -> ParameterTable:
    """The decoder's parameters by component, with its share of ``base`` where that is given."""
    memory, query, pixels = decoder.memory, decoder.query, decoder.pixels
    components = {
        "level injectors": count_parameters(memory.injectors),
        "level fusion": count_parameters(memory.fuse),
        "language projection (image tokens)": count_parameters(memory.language),
        "position grid": count_parameters(memory.positions),
        "box perceptron": count_parameters(query.box),
        "language projection (mask token)": count_parameters(query.language, query.norm),
        "query decoder": count_parameters(decoder.attention),
        "sub-pixel upsampling": count_parameters(pixels.upsample),
        "image stem": count_parameters(pixels.stem),
        "pixel fusion": count_parameters(pixels.fuse, pixels.norm),
        "dynamic mask": count_parameters(decoder.mask),
        "refinement": count_parameters(decoder.refine),
        "IoU head": count_parameters(decoder.iou),
    }
    return ParameterTable(components, None if base is None else count_parameters(base))
