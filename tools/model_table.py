"""Parameters and multiply-adds of named architectures, part by part, as Markdown; nothing is allocated.

Example: python tools/model_table.py mvplm-tiny mvplm-swin-b-phi-1.5
         python tools/model_table.py --write MODEL_ZOO.md
"""

import argparse
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from mvplm.prompts import PromptTokenizer

ROLES = {
    "encoder": "picture to feature maps of strides 4 to 32",
    "connector": "coarsest map to visual tokens",
    "llm": "reads prompt and visual tokens, writes the caption",
    "text": "hidden states to embeddings of names and expressions",
    "pixel_decoder": "feature maps to memory and mask features",
    "selector": "memory tokens most similar to the text",
    "query": "summary token to base queries",
    "stuff": "learned queries for stuff",
    "decoder": "queries look at the memory, layer by layer",
    "heads": "queries to scores, boxes, masks",
}
"""What each part of the network does."""
OPTIONAL_ROLES = {"names_reader": "lets the language model read the names alone"}
"""The same for parts that only some networks have."""
BEGIN, END = "<!-- sizes: begin -->", "<!-- sizes: end -->"
"""Between these lines of a file stands what ``--write`` writes."""
_GIGA = 1e9


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names of architectures; default: all")
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"replace what stands between {BEGIN} and {END}")
    return parser


@cache
def scenes_tokenizer() -> "PromptTokenizer":
    """The tokenizer all architectures have by default."""
    from mvplm.build import build_tokenizer
    from mvplm.config import load_config

    return build_tokenizer(load_config())


def build_on_meta(name: str) -> nn.Module:
    """The architecture on the meta device: shapes without memory.

    Raises:
        ValueError: unknown name.
    """
    import torch

    import mvplm

    tokenizer = scenes_tokenizer()
    with torch.device("meta"):
        return mvplm.create_model(name, tokenizer=tokenizer)


def multiply_adds(name: str) -> dict[str, int]:
    """Multiply-adds by part of an architecture, for one picture of its own size and the names of COCO panoptic."""
    import mvplm
    from mvplm.complexity import Question, count_multiply_adds
    from mvplm.config import load_config

    size, tokenizer = load_config(None, [f"model.preset={name}"]).image.size, scenes_tokenizer()
    return count_multiply_adds(lambda: mvplm.create_model(name, tokenizer=tokenizer), Question(size))


def model_table(model: nn.Module, counted: dict[str, int]) -> str:
    """The Markdown table of one network: part, what it does, parameters, how many are trained, and multiply-adds.

    Args:
        model: the network.
        counted: multiply-adds by part.
    """
    from mvplm.complexity import count_parameters

    rows = ["| part | what it does | parameters | trained | GMAC |", "|---|---|---:|---:|---:|"]
    for part, module in model.named_children():
        total, trained = count_parameters(module), count_parameters(module, trained=True)
        work = f"{counted[part] / _GIGA:,.2f}"
        rows.append(f"| `{part}` | {(ROLES | OPTIONAL_ROLES).get(part, '')} | {total:,} | {trained:,} | {work} |")
    total, trained = count_parameters(model), count_parameters(model, trained=True)
    work = f"{sum(counted.values()) / _GIGA:,.2f}"
    return "\n".join([*rows, f"| **all** | | **{total:,}** | **{trained:,}** | **{work}** |"])


def tables(names: Sequence[str]) -> str:
    """The tables of several architectures, each under its name.

    Raises:
        ValueError: unknown name.
    """
    return "\n\n".join(f"### {name}\n\n{model_table(build_on_meta(name), multiply_adds(name))}" for name in names)


def write_between(file: Path, content: str) -> None:
    """Replace what stands between the two lines of ``file``.

    Raises:
        ValueError: the file has no such lines.
    """
    text = file.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text.partition(BEGIN)[2]:
        raise ValueError(f"{file} needs a line {BEGIN} and after it a line {END}")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    file.write_text(f"{before}{BEGIN}\n\n{content}\n\n{END}{after}", encoding="utf-8")


def main(given: Sequence[str] | None = None) -> int:
    """Print or write the tables."""
    from mvplm.config.presets import PRESETS

    arguments = build_parser().parse_args(given)
    try:
        content = tables(arguments.models or sorted(PRESETS))
        if arguments.write is None:
            print(content)
        else:
            write_between(arguments.write, content)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
