"""Parameters of a named architecture, part by part, as a Markdown table; nothing is allocated.

Example: python tools/model_table.py mvplm-tiny mvplm-swin-b-phi-1.5
"""

import argparse
import sys
from collections.abc import Sequence

from torch import nn

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


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names of architectures; default: all")
    return parser


def build_on_meta(name: str) -> nn.Module:
    """The architecture on the meta device: shapes without memory.

    Raises:
        ValueError: unknown name.
    """
    import torch

    import mvplm

    with torch.device("meta"):
        return mvplm.create_model(name)


def model_table(model: nn.Module) -> str:
    """The Markdown table of one network: part, what it does, parameters, and how many of them are trained."""
    rows = ["| part | what it does | parameters | trained |", "|---|---|---:|---:|"]
    for part, module in model.named_children():
        total, trained = count_parameters(module), count_parameters(module, trained=True)
        rows.append(f"| `{part}` | {ROLES.get(part, '')} | {total:,} | {trained:,} |")
    total, trained = count_parameters(model), count_parameters(model, trained=True)
    return "\n".join([*rows, f"| **all** | | **{total:,}** | **{trained:,}** |"])


def count_parameters(module: nn.Module, *, trained: bool = False) -> int:
    """Values in the parameters of a module, shared ones once; with ``trained`` only those that get a gradient."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)


def main(given: Sequence[str] | None = None) -> int:
    """Print the tables."""
    from mvplm.build import list_models

    arguments = build_parser().parse_args(given)
    try:
        tables = [f"### {name}\n\n{model_table(build_on_meta(name))}" for name in arguments.models or list_models()]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n\n".join(tables))
    return 0


if __name__ == "__main__":
    sys.exit(main())
