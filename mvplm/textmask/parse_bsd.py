"""Reading box-wise answers that may be damaged. Never raises; a mask is read or its absence has a status."""

import re
from dataclasses import dataclass

import numpy as np

from mvplm.textmask.answer import NO_TARGET, TAGS, answer_text, block_text
from mvplm.textmask.bricks import IS_FOREGROUND, LENGTH, LONGEST, ROW_BREAK
from mvplm.textmask.items import TAG, TEXT, Items
from mvplm.textmask.labels import unescape
from mvplm.textmask.layout import Body, lay
from mvplm.textmask.result import ParsedAnswer, ParsedInstance, sum_repairs

REF, _REF_END, BOX, _BOX_END, SEG, SEG_END = range(TAG, TAG + len(TAGS))
_INTEGER = re.compile(r"(?<![0-9])-?[0-9]+")
_PLAIN_RUN = re.compile(r"(fg|bg)([0-9]+)|\n|\S")
_FORBIDDEN = re.compile(r"[<>\n]")
_DIGITS = 9


@dataclass(frozen=True)
class BsdFormat:
    """How blocks are written.

    Attributes:
        bricks: masks are bricks; otherwise plain text such as ``bg1fg2``. limit: largest coordinate.
        canvas: (h, w) of every mask, or None: the mask has the size of its box. row_breaks: between rows.
    """

    bricks: bool
    limit: tuple[int, int]
    canvas: tuple[int, int] | None
    row_breaks: bool


@dataclass
class _Block:
    """Where the parts of one block stand, as ranges of pieces; ``stop``: where the next one begins."""

    start: int
    stop: int = 0
    label: range | None = None
    box: range | None = None
    mask: range | None = None
    closed: bool = False


def parse_bsd(items: Items, fmt: BsdFormat) -> ParsedAnswer:
    """Whatever can be read of an answer."""
    text = items.text(0, len(items.texts))
    blocks = _find_blocks(items)
    if not blocks:
        *before, last = text.strip().split("\n")
        if last.strip() == NO_TARGET:
            return ParsedAnswer("no_target", preamble="\n".join(before), raw_text=text)
        return ParsedAnswer("unparsed", preamble=text, raw_text=text)
    lead = items.text(0, blocks[0].start)
    preamble = lead.removesuffix("\n")
    instances, written = [], []
    for block in blocks:
        instance = _read_block(block, items, fmt=fmt)
        instances.append(instance)
        written.append(_rewrite(block, items, instance=instance))
    _mark_spelling(instances, written, texts=[items.text(b.start, b.stop) for b in blocks])
    spelled = None not in written and answer_text([w for w in written if w is not None], preamble) == text
    repairs = sum_repairs([instance.repairs for instance in instances])
    painted = any(instance.grid is not None for instance in instances)
    if painted and not repairs and not (spelled and (not lead or preamble)):
        repairs = {"format": 1}
    invalid = sum(instance.box is None for instance in instances)
    return ParsedAnswer(
        _status(instances, repairs), instances, preamble, len(blocks), invalid, repairs, _is_empty(instances), text
    )


def _status(instances: list[ParsedInstance], repairs: dict[str, int]) -> str:
    """Status of an answer with blocks."""
    if all(instance.grid is None for instance in instances):
        return "invalid"
    if any(instance.status == "truncated" for instance in instances):
        return "truncated"
    return "repaired" if repairs else "ok"


def _is_empty(instances: list[ParsedInstance]) -> bool:
    return all(instance.empty_by_model for instance in instances)


def _find_blocks(items: Items) -> list[_Block]:
    """A block opens at a label, or at a box or a mask where none is open or the open one has that part."""
    blocks: list[_Block] = []
    tags = (items.codes >= TAG).nonzero()[0]
    codes, places = items.codes[tags].tolist(), [*tags.tolist(), len(items.texts)]
    for number, code in enumerate(codes):
        place, following = places[number : number + 2]
        content = range(place + 1, following)
        current = blocks[-1] if blocks else None
        if code == REF:
            blocks.append(_Block(place, label=content))
        elif code == BOX:
            if current is None or current.box is not None:
                blocks.append(_Block(place))
            blocks[-1].box = content
        elif code == SEG:
            if current is None or current.mask is not None:
                blocks.append(_Block(place))
            blocks[-1].mask = content
            blocks[-1].closed = codes[number + 1 : number + 2] == [SEG_END]
    for block, stop in zip(blocks, [*(b.start for b in blocks), len(items.texts)][1:], strict=True):
        block.stop = stop
    return blocks


def _read_block(block: _Block, items: Items, *, fmt: BsdFormat) -> ParsedInstance:
    raw = "" if block.label is None else items.text(block.label.start, block.label.stop)
    span = (int(items.ends[block.start]), int(items.ends[block.stop]))
    instance = ParsedInstance("invalid_box", unescape(" ".join(raw.split())), span=span)
    repairs = instance.repairs
    if block.box is not None:
        instance.box = _read_box(items.text(block.box.start, block.box.stop), fmt, repairs=repairs)
    if instance.box is None:
        return instance
    body = None if block.mask is None else _read_body(block.mask, items, bricks=fmt.bricks, repairs=repairs)
    if body is None or not (body.lengths > 0).any():
        instance.status = "box_only"
        return instance
    x1, y1, x2, y2 = instance.box
    shape = fmt.canvas or (y2 - y1, x2 - x1)
    laid = lay(body, shape, row_breaks=fmt.row_breaks, longest=LONGEST if fmt.bricks else None)
    repairs.update(laid.repairs)
    if not repairs and not laid.canonical:
        repairs["format"] = 1
    if len(repairs) > 1:
        repairs.pop("format", None)
    instance.grid = laid.grid
    incomplete = not block.closed or "rows_missing" in repairs or "row_short" in repairs
    instance.empty_by_model = not incomplete and not body.values.any()
    instance.status = "repaired" if repairs else "ok"
    if not block.closed:
        instance.status = "truncated"
    return instance


def _read_box(text: str, fmt: BsdFormat, *, repairs: dict[str, int]) -> tuple[int, ...] | None:
    """``(x1, y1, x2, y2)`` with x1 < x2 and y1 < y2 inside the range, or None with fewer than four numbers."""
    found = _INTEGER.findall(text)
    if len(found) < 4:
        return None
    if len(found) > 4:
        repairs["box_extra"] = 1
    values = [int(number[: _DIGITS + 1]) for number in found[:4]]
    counts = dict.fromkeys(("box_swap", "box_clamp", "box_degenerate"), 0)
    for axis, limit in enumerate(fmt.limit):
        low, high = values[axis], values[axis + 2]
        if low > high:
            low, high = high, low
            counts["box_swap"] += 1
        inside = [min(max(value, 0), limit) for value in (low, high)]
        counts["box_clamp"] += (inside[0] != low) + (inside[1] != high)
        low, high = inside
        if low == high:
            low, high = (low, low + 1) if low < limit else (low - 1, low)
            counts["box_degenerate"] += 1
        values[axis], values[axis + 2] = low, high
    repairs.update({name: count for name, count in counts.items() if count})
    return tuple(values)


def _read_body(mask: range, items: Items, *, bricks: bool, repairs: dict[str, int]) -> Body:
    if not bricks:
        return _read_plain(items.text(mask.start, mask.stop), repairs)
    codes = items.codes[mask.start : mask.stop].copy()
    foreign = np.flatnonzero(codes == TEXT)
    for place in foreign.tolist():
        index = mask.start + place
        text = items.texts[index]
        if not text.strip() and "\n" in text:
            codes[place] = ROW_BREAK
            repairs["format"] = 1
        else:
            ids = items.ends[index + 1] - items.ends[index] if items.by_id else 1
            repairs["junk"] = repairs.get("junk", 0) + int(ids)
    codes = codes[codes != TEXT]
    return Body(IS_FOREGROUND[codes], LENGTH[codes])


def _read_plain(text: str, repairs: dict[str, int]) -> Body:
    """Runs of the spelling without bricks."""
    values, lengths, junk = [], [], 0
    for found in _PLAIN_RUN.finditer(text):
        length = 0 if found[2] is None else int(found[2][:_DIGITS])
        if found[0] == "\n" or length:
            values.append(found[1] == "fg")
            lengths.append(length)
        else:
            junk += 1
    if junk:
        repairs["junk"] = junk
    spelled = "".join(
        f"{'fg' if value else 'bg'}{length}" if length else "\n" for value, length in zip(values, lengths, strict=True)
    )
    if spelled != text:
        repairs["format"] = 1
    return Body(np.array(values, bool), np.array(lengths, np.int64))


def _rewrite(block: _Block, items: Items, *, instance: ParsedInstance) -> str | None:
    """The block as the encoder spells what was read, its label verbatim; None where it would not write such a block."""
    if instance.box is None or block.label is None:
        return None
    label = items.text(block.label.start, block.label.stop)
    if not label.strip() or _FORBIDDEN.search(label):
        return None
    if block.mask is None:
        return block_text(label, instance.box, mask=None)
    if instance.grid is None:
        return None
    body = items.text(block.mask.start, block.mask.stop)
    return block_text(label, instance.box, mask=body)


def _mark_spelling(instances: list[ParsedInstance], written: list[str | None], *, texts: list[str]) -> None:
    """Blocks that were read without repair but are spelled otherwise."""
    for instance, form, text in zip(instances, written, texts, strict=True):
        if instance.status == "ok" and form != text.removesuffix("\n"):
            instance.status, instance.repairs["format"] = "repaired", 1
