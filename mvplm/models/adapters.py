"""Low-rank adapters for the language model: it stays frozen, and small matrices beside its own learn instead.

Source: LoRA; the work is done by PEFT. Plain adapters leave the rows of new tokens, such as the summary token, as they
were initialised; here those rows of embedding and head are trained as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from mvplm.models.language import LanguageModel


@dataclass(frozen=True)
class AdapterSettings:
    """Size of the adapters.

    Attributes:
        rank: of the added matrices. alpha: their scale is alpha / rank. dropout: on their input.
        targets: names of the linear layers that get one; empty: every linear layer.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] = ()


def add_adapters(language: LanguageModel, settings: AdapterSettings, *, new_tokens: Sequence[int]) -> None:
    """Freeze a language model but for adapters and the rows of new tokens (in place). Load its own weights before.

    Args:
        language: its names change: ``q_proj.weight`` becomes ``q_proj.base_layer.weight``.
        settings: of the adapters.
        new_tokens: ids whose rows in embedding and head are trained.

    Raises:
        ValueError: a target that no linear layer is named after.
    """
    from peft import LoraConfig, inject_adapter_in_model

    linear = {name.rsplit(".", 1)[-1] for name, part in language.model.named_modules() if isinstance(part, nn.Linear)}
    if wrong := sorted(set(settings.targets) - linear):
        raise ValueError(
            f"model.llm.lora.targets: no linear layer {wrong[0]!r} (there are: {', '.join(sorted(linear))})"
        )
    tables = {name: list(new_tokens) for name in _tables(language)}
    inject_adapter_in_model(
        LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=sorted(settings.targets or linear),
            trainable_token_indices=tables if new_tokens else None,
        ),
        language,
    )


def _tables(language: LanguageModel) -> list[str]:
    """Names of the modules with a row per token."""
    table = language.model.get_input_embeddings()
    embedding = next(name for name, part in language.model.named_modules() if part is table)
    return [embedding.rsplit(".", 1)[-1], *([] if language.lm_head is None else ["lm_head"])]
