"""What a model is trained on, printed: the tokens of samples in colour."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mvplm.prompts import PromptTokenizer, show_legend, show_prompt
from mvplm.structures import Record, Sample

if TYPE_CHECKING:
    from rich.console import Console


def show_tokens(
    dataset: Sequence[Record],
    mapper: Callable[..., Sample],
    *,
    tokenizer: PromptTokenizer,
    number: int = 3,
    start: int = 0,
    epoch: int = 0,
    console: "Console | None" = None,
) -> None:
    """Print the prompts of ``number`` samples: ignored tokens grey, supervised green, names underlined.

    Args:
        dataset: records.
        mapper: called as ``mapper(record, epoch=epoch, index=index)``; makes the sample training would see.
        tokenizer: tokenizer of the mapper.
        number: how many records, from ``start`` on; the end of the dataset ends the output.
        start: position of the first record.
        epoch: visit to show; the draws of names, order and caption depend on it.
        console: where to print; None writes to standard output.

    Raises:
        ValueError: ``start`` lies outside the dataset.
    """
    from rich.console import Console

    if not 0 <= start < len(dataset):
        raise ValueError(f"start must be in 0..{len(dataset) - 1}, got {start}")
    out = console if console is not None else Console()
    for index in range(start, min(start + number, len(dataset))):
        sample = mapper(dataset[index], epoch=epoch, index=index)
        targets = "no target" if sample.target is None else f"{len(sample.target)} targets"
        out.rule(f"{index} · image {sample.image_id} · {sample.task} · {targets}", align="left")
        out.print(show_prompt(sample.prompt, tokenizer))
        out.print(show_legend(sample.prompt))
