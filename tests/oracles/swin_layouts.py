"""Random Swin weights in the layout of the detectron2 family, and the same weights in every other layout."""

import torch
from torch import Tensor

SIZES = {"embed_dim": 8, "depths": (2, 1, 2, 1), "num_heads": (1, 2, 2, 4), "window_size": 4}


def family_swin(seed: int = 0) -> dict[str, Tensor]:
    """Every tensor of the layout, buffers included, random."""
    torch.manual_seed(seed)
    width, window = SIZES["embed_dim"], SIZES["window_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (width, 3, 4, 4),
        "patch_embed.proj.bias": (width,),
    }
    shapes |= norm("patch_embed.norm", width)
    for stage, (depth, heads) in enumerate(zip(SIZES["depths"], SIZES["num_heads"], strict=True)):
        for block in range(depth):
            own = f"layers.{stage}.blocks.{block}."
            shapes |= norm(own + "norm1", width) | norm(own + "norm2", width)
            shapes |= linear(own + "attn.qkv", 3 * width, width) | linear(own + "attn.proj", width, width)
            shapes |= linear(own + "mlp.fc1", 4 * width, width) | linear(own + "mlp.fc2", width, 4 * width)
            shapes[own + "attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads)
            shapes[own + "attn.relative_position_index"] = (window**2, window**2)
        shapes |= norm(f"norm{stage}", width)
        if stage < 3:
            shapes |= norm(f"layers.{stage}.downsample.norm", 4 * width)
            shapes[f"layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
            width *= 2
    return {name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a norm."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a linear layer."""
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def as_timm(family: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's layout: mergings belong to the next stage, no buffers, a classification head, no output norms."""
    named = {}
    for name, tensor in family.items():
        if name.endswith("relative_position_index") or name.split(".")[0] in ("norm0", "norm1", "norm2", "norm3"):
            continue
        if ".downsample." in name:
            stage = int(name.split(".")[1])
            name = name.replace(f"layers.{stage}.", f"layers.{stage + 1}.")
        named[name] = tensor
    return named | {"norm.weight": torch.ones(64), "norm.bias": torch.ones(64), "head.fc.weight": torch.ones(5, 64)}


def as_mm(family: dict[str, Tensor]) -> dict[str, Tensor]:
    """mm-style layout: other names, and mergings that unfold a 2x2 patch channel by channel."""
    named = {}
    for name, tensor in family.items():
        if ".downsample." in name:
            # Neighbours here: (0, 0), (1, 0), (0, 1), (1, 1); unfolded: row by row, channels outermost.
            grid = tensor.unflatten(-1, (2, 2, -1)).transpose(-3, -2)
            tensor = grid.permute(*range(tensor.ndim - 1), -1, -3, -2).flatten(-3)
        name = name.replace("layers.", "stages.").replace("patch_embed.proj.", "patch_embed.projection.")
        name = (
            name.replace(".attn.", ".attn.w_msa.")
            .replace("mlp.fc1", "ffn.layers.0.0")
            .replace("mlp.fc2", "ffn.layers.1")
        )
        named[name] = tensor
    return named


_CLASSIC = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "attn.relative_position_bias_table": "attention.self.relative_position_bias_table",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}


def as_transformers(family: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' layout as its files have it."""
    named = {}
    for name, tensor in family.items():
        if name.endswith("relative_position_index"):
            continue
        if ".attn.qkv." in name:
            for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                named["encoder." + name.replace("attn.qkv", f"attention.self.{part}")] = rows
        elif name.startswith("layers."):
            inner = name.split(".", 4)[-1] if ".blocks." in name else name
            for old, new in _CLASSIC.items():
                if ".blocks." in name and inner.startswith(old):
                    name = name.replace(inner, inner.replace(old, new))
                    break
            named["encoder." + name] = tensor
        elif name.startswith("norm"):
            named[f"hidden_states_norms.stage{int(name[4]) + 1}{name[5:]}"] = tensor
        else:
            named[
                "embeddings."
                + name.replace("patch_embed.proj", "patch_embeddings.projection").replace("patch_embed.", "")
            ] = tensor
    return named
