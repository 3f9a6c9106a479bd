"""Low-rank adapters for the language part of a multimodal model; the rows of new tokens are trained with them.

Source: Text4Seg++, LoRA on all projections of the language model with vision and projector frozen. Adapters alone would
leave the rows of new tokens as they were, and the model could not write them.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from mvplm.models.adapters import AdapterSettings
from mvplm.models.text_mask.tokens import token_tables


def with_adapters(
    model: nn.Module, settings: AdapterSettings, *, new_tokens: Sequence[int], key: str = "text_mask.lora"
) -> Any:
    """The model as a ``PeftModel``: everything frozen but adapters and the rows of new tokens.

    Args:
        model: of ``AutoModelForImageTextToText``. settings: of the adapters. new_tokens: ids of rows that are trained.
        key: of the settings in the configuration, for messages.

    Raises:
        ValueError: a target that no linear layer of the language part is named after.
    """
    from peft import LoraConfig, get_peft_model

    linear = language_layers(model)
    chosen = [name for name in linear if not settings.targets or name.rsplit(".", 1)[-1] in settings.targets]
    known = sorted({name.rsplit(".", 1)[-1] for name in linear})
    if wrong := sorted(set(settings.targets) - set(known)):
        raise ValueError(f"{key}.targets: no linear layer {wrong[0]!r} (there are: {', '.join(known)})")
    tables = {name: list(new_tokens) for name in token_tables(model)}
    return get_peft_model(
        model,
        LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=chosen,
            trainable_token_indices=tables if new_tokens else None,
        ),
    )


def with_token_rows(model: nn.Module, *, new_tokens: Sequence[int]) -> Any:
    """The model as a ``PeftModel`` in which nothing but the rows of new tokens is trained."""
    from peft import TrainableTokensConfig, get_peft_model

    tables = token_tables(model)
    return get_peft_model(model, TrainableTokensConfig(target_modules=tables, token_indices=list(new_tokens)))


def language_layers(model: nn.Module) -> list[str]:
    """Full names of the linear layers of the language part: what stands beside the embedding of tokens."""
    table = model.get_input_embeddings()
    embedding = next(name for name, part in model.named_modules() if part is table)
    stem = embedding.rpartition(".")[0] + "."
    return [name for name, part in model.named_modules() if name.startswith(stem) and isinstance(part, nn.Linear)]
