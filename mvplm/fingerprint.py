"""What the numbers of a weight file mean only together with, stored in the file itself and checked when it is read.

A second convolution applied twice, levels in another order or another tokenizer give nonsense with the same shapes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from mvplm.config import Config
from mvplm.prompts import PromptTokenizer


def fingerprint(config: Config, tokenizer: PromptTokenizer | None, *, parts: Iterable[str]) -> dict[str, str]:
    """Metadata of a weight file, text by dotted name; the part a value belongs to stands first.

    Args:
        config: the network's.
        tokenizer: the language model's; None when it is not among the parts.
        parts: parts of the network in the file.
    """
    model = config.model
    known: dict[str, Any] = {
        "connector.conv2_repeats": model.connector.conv2_repeats,
        "decoder.level_order": model.decoder.level_order,
        "selector.anchor_scale": model.decoder.anchor_scale,
    }
    if tokenizer is not None:
        known |= {f"llm.{key}": value for key, value in tokenizer.describe().items()}
    present = set(parts)
    return {name: str(value) for name, value in known.items() if name.split(".", 1)[0] in present}


def check_fingerprint(
    file: str | Path, config: Config, *, tokenizer: PromptTokenizer | None, skip: Iterable[str] = ()
) -> None:
    """Compare what a weight file says about itself with the network it is meant for.

    Args:
        file: safetensors; one without such metadata (older ones) passes.
        config: the network's. tokenizer: its tokenizer; None does not compare tokenizers.
        skip: prefixes of parameter names that are not taken from the file.

    Raises:
        ValueError: they differ, or the file cannot be read; the message lists the differences.
    """
    stored = read_metadata(file)
    parts = {name.split(".", 1)[0] for name in stored}
    expected = fingerprint(config, tokenizer, parts=parts)
    skipped = tuple(skip)
    wrong = [
        f"{name} is {value} in the file, {expected[name]} in the configuration or tokenizer"
        for name, value in stored.items()
        if name in expected and value != expected[name] and not f"{name.split('.', 1)[0]}.".startswith(skipped or "\0")
    ]
    if wrong:
        raise ValueError(f"the weights in {file} do not mean what is expected here: {'; '.join(wrong)}")


def read_metadata(file: str | Path) -> dict[str, str]:
    """Text stored in the head of a safetensors file. Raises ValueError when it cannot be read."""
    try:
        with safe_open(str(file), "pt") as opened:
            stored = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is no readable safetensors file ({error})") from error
    return {name: value for name, value in stored.items() if "." in name}
