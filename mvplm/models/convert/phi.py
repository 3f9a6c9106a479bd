"""Phi weights: the current layout with separate query, key and value, and the older fused one.

Source: Phi-1.5; MVP-LM's public release (fused layout).
"""

from collections.abc import Sequence

from torch import Tensor

from mvplm.models.convert.rules import Rule, drop, rename, split
from mvplm.models.convert.source import Options, Source, Tensors

_ENDS = r"(weight|bias)"


def split_fused(tensor: Tensor, *, heads: int) -> Sequence[Tensor]:
    """Query, key and value (D, ...) of a fused projection (3 D, ...) whose rows are (heads, 3, D / heads).

    Raises:
        ValueError: the rows cannot be divided so.
    """
    if tensor.shape[0] % (3 * heads):
        raise ValueError(f"a fused projection with {tensor.shape[0]} rows cannot hold {heads} heads of three parts")
    query, key, value = tensor.unflatten(0, (heads, 3, -1)).unbind(1)
    return query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)


def phi_rules(*, heads: int, prefix: str = "") -> list[Rule]:
    """Rules for a causal Phi whose names begin with the pattern ``prefix`` (no groups).

    Args:
        heads: attention heads, which the fused layout needs.
        prefix: pattern of what stands before ``model.`` and ``lm_head.``.
    """
    layer, target = prefix + r"model\.layers\.(\d+)\.", r"llm.model.layers.\1."
    return [
        rename(prefix + r"model\.embed_tokens\.weight", "llm.model.embed_tokens.weight"),
        rename(prefix + rf"lm_head\.{_ENDS}", r"llm.lm_head.\1"),
        split(
            layer + rf"self_attn\.query_key_value\.{_ENDS}",
            [f"{target}self_attn.{part}_proj.\\2" for part in "qkv"],
            change=lambda tensor: split_fused(tensor, heads=heads),
            why="query, key and value taken apart",
        ),
        rename(layer + rf"self_attn\.(q_proj|k_proj|v_proj|dense)\.{_ENDS}", target + r"self_attn.\2.\3"),
        rename(layer + rf"mlp\.(fc1|fc2)\.{_ENDS}", target + r"mlp.\2.\3"),
        rename(layer + rf"input_layernorm\.{_ENDS}", target + r"input_layernorm.\2"),
        rename(prefix + rf"model\.final_layernorm\.{_ENDS}", r"llm.model.final_layernorm.\1"),
        drop(prefix + r"model\..*rotary_emb\.inv_freq", "computed from the sizes"),
    ]


def _rules(tensors: Tensors, options: Options) -> list[Rule]:
    return phi_rules(heads=options.text_heads)


PHI = Source("phi", "a causal Phi, separate or fused attention", covers=("llm",), rules=_rules)
"""The language model from a Phi."""
