"""Grammars of answers as EBNF text, for engines that read such: image-wise answers, and masks of one size.

Rules are named by what may follow: cells left in the row, and the label or colour that may not come next.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

from mvplm.textmask import labels as spelling
from mvplm.textmask.bricks import LONGEST
from mvplm.textmask.codec_isd import IsdCodec
from mvplm.textmask.isd import CLOSE, OPEN
from mvplm.textmask.items import TEXT, cut_text

MOST_RUNS = 200_000
"""Runs that a grammar may spell out; one of all runs over a large raster would take minutes to compile."""


def terminal(text: str, atoms: Mapping[int, int]) -> str:
    """A text as terminals: tokens of their own by id, the rest as strings.

    Args:
        text: to be written. atoms: id of every code of :data:`mvplm.textmask.items.SPELLING` that is a token.
    """
    items = cut_text(text)
    parts = [
        f"Token({atoms[code]})" if code != TEXT and code in atoms else json.dumps(piece)
        for code, piece in zip(items.codes.tolist(), items.texts, strict=True)
    ]
    return " ".join(parts) or '""'


def image_grammar(codec: IsdCodec, labels: Sequence[str], *, atoms: Mapping[int, int]) -> str:
    """EBNF of the answers of an image-wise codec; neighbouring runs differ in their labels.

    Args:
        codec: what is written. labels: those asked for; background may always be written. atoms: see :func:`terminal`.

    Raises:
        ValueError: the grammar would be too large.
    """
    named = dict.fromkeys(codec.write_label(spelling.canonical(label)) for label in labels)
    names = [spelling.OTHERS, *(name for name in named if name != spelling.OTHERS)]
    height, width = codec.grid if codec.mode == "rrle" else (1, codec.grid[0] * codec.grid[1])
    opening = f"{codec.lead_in}\n{OPEN}" if codec.lead_in else OPEN
    closing = f"\n{CLOSE}" if codec.mode == "rrle" else CLOSE
    rows = f'row{width} ("\\n " row{width}){{{height - 1}}}' if height > 1 else f"row{width}"
    rules = [f"root ::= {terminal(opening, atoms)} {rows} {terminal(closing, atoms)}"]
    if codec.mode == "full":
        one = " | ".join(map(json.dumps, names))
        return "\n".join([*rules, f'row{width} ::= cell ("| " cell){{{width - 1}}}', f"cell ::= {one}"])
    count = width * (width + 1) // 2 * len(names) ** 2
    if count > MOST_RUNS:
        raise ValueError(f"{codec.name} with grid {codec.grid} needs a grammar of {count} runs: too many for xgrammar")
    for left in range(1, width + 1):
        rules.append(_rule(f"row{left}", (f"{_run(index)} {_counted(index, left)}" for index in range(len(names)))))
    return "\n".join([*rules, *_image_rules(names, width)])


def _run(index: int) -> str:
    return f"label{index}"


def _counted(index: int, left: int) -> str:
    return f"count{index}x{left}"


def _image_rules(names: Sequence[str], width: int) -> list[str]:
    """Counts behind each label with so many cells left, and what may follow."""
    rules = [f"label{index} ::= {json.dumps(f'{name} *')}" for index, name in enumerate(names)]
    for left in range(1, width + 1):
        for index in range(len(names)):
            others = [other for other in range(len(names)) if other != index]
            shorter = (f'"{n}| " next{index}x{left - n}' for n in range(1, left)) if others else ()
            rules.append(_rule(_counted(index, left), [*shorter, f'"{left}"']))
            if others:
                rules.append(_rule(f"next{index}x{left}", (f"{_run(o)} {_counted(o, left)}" for o in others)))
    return rules


def mask_grammar(shape: tuple[int, int], *, row_sep: str, atoms: Mapping[int, int]) -> str:
    """EBNF of the bricks of a mask of (h, w) cells: rows that add up, no colour twice but behind a longest brick.

    Args:
        shape: (h, w). row_sep: between rows. atoms: ids of the bricks.
    """
    height, width = shape
    between = f"{json.dumps(row_sep)} any{width}" if row_sep else f"any{width}"
    rules = [f"root ::= any{width}" + (f" ({between}){{{height - 1}}}" if height > 1 else "")]
    for left in range(1, width + 1):
        rules.append(f"any{left} ::= fg{left} | bg{left}")
        for first, colour, other in ((0, "fg", "bg"), (LONGEST, "bg", "fg")):
            ways = []
            for length in range(1, min(left, LONGEST) + 1):
                after = f" {'any' if length == LONGEST else other}{left - length}" if left > length else ""
                ways.append(f"Token({atoms[first + length - 1]}){after}")
            rules.append(_rule(f"{colour}{left}", ways))
    return "\n".join(rules)


def _rule(name: str, ways: Iterable[str]) -> str:
    return f"{name} ::= {' | '.join(ways)}"
