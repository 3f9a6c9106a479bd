"""Swin of transformers: ``SwinModel``, ``SwinForImageClassification``, ``SwinBackbone``; files on disk and in memory.

Files keep the older names (``attention.self.query``), a loaded model has newer ones (``attention.q_proj``).
"""

from mvplm.models.convert.rules import Rule, drop, rename
from mvplm.models.convert.source import Options, Source, Tensors
from mvplm.models.convert.swin import NORMS, SWIN, identity_norms

_BLOCK = SWIN + r"encoder.layers.\1.blocks.\2."
_ENDS = r"(weight|bias)"


def hf_swin_rules(prefix: str = "") -> list[Rule]:
    """Rules for names that begin with the pattern ``prefix`` (without groups)."""
    block = prefix + r"(?:swin\.)?encoder\.layers\.(\d+)\.blocks\.(\d+)\."
    table = "attention.relative_position_bias.relative_position_bias_table"
    attention = [
        rename(rf"{block}attention\.(?:self\.{old}|{new})\.{_ENDS}", rf"{_BLOCK}attention.{new}.\3")
        for old, new in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))
    ]
    return [
        rename(
            rf"{prefix}(?:swin\.)?embeddings\.(patch_embeddings\.projection|norm)\.{_ENDS}", SWIN + r"embeddings.\1.\2"
        ),
        *attention,
        rename(rf"{block}attention\.(?:output\.dense|o_proj)\.{_ENDS}", rf"{_BLOCK}attention.o_proj.\3"),
        rename(rf"{block}attention\.(?:self|relative_position_bias)\.relative_position_bias_table", _BLOCK + table),
        rename(rf"{block}(layernorm_before|layernorm_after)\.{_ENDS}", _BLOCK + r"\3.\4"),
        rename(rf"{block}(?:intermediate\.dense|mlp\.fc1)\.{_ENDS}", _BLOCK + r"mlp.fc1.\3"),
        rename(rf"{block}(?:output\.dense|mlp\.fc2)\.{_ENDS}", _BLOCK + r"mlp.fc2.\3"),
        rename(
            rf"{prefix}(?:swin\.)?encoder\.layers\.(\d+)\.downsample\.(norm|reduction)\.{_ENDS}",
            SWIN + r"encoder.layers.\1.downsample.\2.\3",
        ),
        rename(rf"{prefix}hidden_states_norms\.stage(\d+)\.{_ENDS}", NORMS + r"stage\1.\2"),
        drop(rf"{prefix}.*relative_position_index", "computed from the sizes"),
        drop(rf"{prefix}(?:swin\.)?(layernorm\.{_ENDS}|embeddings\.mask_token)", "not used for feature maps"),
    ]


def _rules(tensors: Tensors, options: Options) -> list[Rule]:
    return [*hf_swin_rules(), drop(r"(classifier|decoder)\..*", "classification or pre-training head")]


SWIN_HF = Source(
    "swin-hf",
    "a Swin of transformers (SwinModel, SwinBackbone, SwinForImageClassification)",
    covers=("encoder",),
    rules=_rules,
    fills=identity_norms,
)
"""The encoder from a Swin of transformers."""
