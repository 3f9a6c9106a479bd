"""The tokens of box-wise answers in a language model: added to its tokenizer, with rows that start with a meaning.

Source: Text4Seg++, special tokens and bricks; starting rows and the rule for spare rows are ours.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.textmask import Codec
from mvplm.textmask import add_mask_tokens as add_to_tokenizer

_ROUND = 64
_MEANING = {
    "<ref>": "start of name",
    "</ref>": "end of name",
    "<box>": "start of box",
    "</box>": "end of box",
    "<seg>": "start of mask",
    "</seg>": "end of mask",
}
_COLOURS = {"fg": "foreground", "bg": "background"}


def describe_token(token: str) -> str:
    """What a tag or brick means, in words: the mean of their rows is where its own row starts."""
    if token in _MEANING:
        return _MEANING[token]
    name = token.strip("<>")
    return f"{_COLOURS[name[:2]]} {name[2:]}"


def add_mask_tokens(model: nn.Module, tokenizer: Any, *, codec: Codec) -> list[int]:
    """Give a model and its tokenizer the tokens that a codec needs (in place).

    Spare rows of the embedding are used where there are any; a table never shrinks and grows to a multiple of 64.

    Args:
        model: of ``AutoModelForImageTextToText``. tokenizer: its fast tokenizer.
        codec: image-wise ones are plain text and need no tokens.

    Returns:
        Ids whose rows are new; tokens that the tokenizer had before are not among them.
    """
    if codec.name.startswith("isd_"):
        return []
    before = set(tokenizer.get_vocab())
    add_to_tokenizer(tokenizer)
    return start_new_rows(model, tokenizer, before=before, describe=describe_token)


def start_new_rows(model: nn.Module, tokenizer: Any, *, before: set[str], describe: Callable[[str], str]) -> list[int]:
    """Rows for the tokens that a tokenizer was given since ``before`` (in place); tables never shrink.

    Args:
        model: of ``AutoModelForImageTextToText``. tokenizer: with the new tokens. before: its tokens without them.
        describe: a token in words; the mean of their rows is where its own row starts.

    Returns:
        Ids of the new tokens, ascending.
    """
    new = {token: place for token, place in tokenizer.get_vocab().items() if token not in before}
    rows = model.get_input_embeddings().weight.shape[0]
    needed = max([rows - 1, *new.values()]) + 1
    if needed > rows:
        model.resize_token_embeddings(-(-needed // _ROUND) * _ROUND, mean_resizing=False)
    tables = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings()
    if head is not None and head.weight is not tables[0]:
        tables.append(head.weight)
    words = {token: tokenizer.encode(describe(token), add_special_tokens=False) for token in new}
    for table in tables:
        with torch.no_grad():
            # Rows that only round the table up start alike everywhere, so that a model can be built a second time.
            table[rows:] = table[:rows].float().mean(0).to(table.dtype)
        _start_rows(table, new, words=words)
    return sorted(new.values())


@torch.no_grad()
def _start_rows(table: Tensor, new: dict[str, int], *, words: dict[str, list[int]]) -> None:
    """Every new row becomes the mean of the rows of its description."""
    for token, place in new.items():
        table[place] = table[words[token]].float().mean(0).to(table.dtype)


def token_tables(model: nn.Module) -> list[str]:
    """Last parts of the names of the modules with a row per token; with tied weights the embedding alone."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    kept = [embedding] if head is None or head.weight is embedding.weight else [embedding, head]
    return [name.rsplit(".", 1)[-1] for name, part in model.named_modules() if any(part is table for table in kept)]
