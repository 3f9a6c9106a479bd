"""Reading image-wise answers that may be damaged: row breaks re-synchronise, every repair is counted.

Never raises and never repeats a label more often than the row has cells. Letters: h x w cells.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mvplm.textmask.errors import CodecError
from mvplm.textmask.isd import CLOSE, OPEN, decode_isd
from mvplm.textmask.labels import OTHERS, canonical, is_others, resolve
from mvplm.textmask.result import ParsedAnswer, ParsedInstance

_COUNT = re.compile(r"\* *([0-9]+)")
_TAG = re.compile(f"({OPEN}|{CLOSE})")
_HAS_COUNT = re.compile(r"\*[0-9]")
_DIGITS = 9


@dataclass(frozen=True)
class IsdFormat:
    """How an answer is spelled.

    Attributes:
        mode: ``full``, ``irle`` or ``rrle``. shape: (h, w). read, write: unescape and escape a label.
        candidates: the labels asked for, to which others are resolved. None: any label.
        keep_unknown: a label that resolves to none keeps its cells; otherwise it becomes background.
    """

    mode: str
    shape: tuple[int, int]
    read: Callable[[str], str]
    write: Callable[[str], str]
    candidates: Sequence[str] | None = None
    keep_unknown: bool = False


@dataclass
class _Reader:
    """Labels and repairs of one body."""

    format: IsdFormat
    names: list[str] = field(default_factory=lambda: [OTHERS])
    index: dict[str, int] = field(default_factory=dict)
    repairs: Counter[str] = field(default_factory=Counter)

    def label(self, written: str) -> int:
        """Class of a label as written; 0 is background."""
        if written not in self.index:
            self.index[written] = self._meaning(written)
        if self.index[written] < 0:
            self.repairs["label_unknown"] += 1
            return 0
        return self.index[written]

    def labels(self, written: list[str]) -> list[int]:
        """Classes of many labels."""
        meaning = {name: self.label(name) for name in dict.fromkeys(written)}
        unknown = [name for name in meaning if self.index[name] < 0]
        self.repairs["label_unknown"] += sum(written.count(name) - 1 for name in unknown)
        return [meaning[name] for name in written]

    def _meaning(self, written: str) -> int:
        text = " ".join(unicodedata.normalize("NFC", written).split())
        if is_others(text):
            return 0
        name: str | None = " ".join(self.format.read(text).split())
        if self.format.candidates is not None and name:
            known = resolve(name, self.format.candidates)
            self.repairs["label_mismatch"] += known is None and self.format.keep_unknown
            name = name if known is None and self.format.keep_unknown else known
        if not name:
            return -1
        if name in self.names[1:]:
            return self.names.index(name, 1)
        self.names.append(name)
        return len(self.names) - 1

    def runs(self, line: str, most: int) -> list[tuple[int, int]]:
        """(class, cells) of one line; cells are capped at ``most + 1``."""
        found: list[tuple[int, int]] = []
        for piece in line.split("|"):
            # label, count, label, count, ..., what stands behind the last count
            parts = _COUNT.split(piece)
            if len(parts) > 1:
                pairs = zip(parts[:-1:2], parts[1::2], strict=True)
                found += [(self.label(label.strip()), _count(digits, most)) for label, digits in pairs]
                self.repairs["sep_missing"] += len(parts) // 2 - 1
                self.repairs["junk"] += bool(parts[-1].strip())
            elif piece.strip():
                self.repairs["count_missing"] += 1
                found.append((self.label(piece.strip()), 1))
            else:
                self.repairs["empty_run"] += 1
        return found


def _count(digits: str, most: int) -> int:
    """The number, at most ``most + 1``."""
    return min(int(digits), most + 1) if len(digits) <= _DIGITS else most + 1


def parse_isd(text: str, fmt: IsdFormat) -> ParsedAnswer:
    """Whatever can be read of an answer; the first descriptor counts, further ones become ``extra_blocks``."""
    given, text = text, text.replace("\r\n", "\n")
    parts = [*_TAG.split(text), ""]
    opened = [place for place, part in enumerate(parts) if part == OPEN]
    if not opened:
        return _parse_untagged(text, fmt)
    answer, *rest = [
        _parse_body(parts[place + 1], fmt, closed=parts[place + 2] == CLOSE, tagged=True) for place in opened
    ]
    lead = "".join(parts[: opened[0]])
    answer.preamble, answer.raw_text, answer.extra_blocks = lead.removesuffix("\n"), text, rest
    clean = given == text and (not lead or (lead.endswith("\n") and len(lead) > 1))
    clean = clean and not any(parts[opened[0] + 3 :])
    if not clean and answer.status == "ok":
        answer.status, answer.repairs["format"] = "repaired", 1
        for instance in answer.instances:
            instance.status = "repaired"
    return answer


def _parse_untagged(text: str, fmt: IsdFormat) -> ParsedAnswer:
    if not _HAS_COUNT.search(text):
        return ParsedAnswer("unparsed", preamble=text, raw_text=text)
    closed = CLOSE in text
    answer = _parse_body(text.partition(CLOSE)[0], fmt, closed=closed, tagged=False)
    answer.raw_text = text
    return answer


def _parse_body(body: str, fmt: IsdFormat, *, closed: bool, tagged: bool) -> ParsedAnswer:
    reader = _Reader(fmt)
    classes = _read_exactly(body, reader)
    exact = classes is not None
    if classes is None:
        reader = _Reader(fmt)
        classes = _read_tolerantly(body, reader, closed=closed)
        if classes is None:
            return ParsedAnswer("unparsed", n_blocks=1, n_invalid=1, raw_text=body)
    repairs = {name: count for name, count in reader.repairs.items() if count}
    if not tagged:
        repairs["tag_missing"] = 1
    lost = any(name in repairs for name in ("rows_missing", "row_short"))
    if not closed and (tagged or "rows_missing" in repairs):
        status = "truncated"
    elif not repairs and not exact:
        status, repairs = "repaired", {"format": 1}
    else:
        status = "repaired" if repairs else "ok"
    order = [index for index in dict.fromkeys(classes.ravel().tolist()) if index]
    instances = [ParsedInstance(status, reader.names[index], grid=classes == index) for index in order]
    return ParsedAnswer(status, instances, "", 1, 0, repairs, not order and not lost, body)


def _read_exactly(body: str, reader: _Reader) -> np.ndarray | None:
    """Classes of a body that is exactly what the encoder writes, or None."""
    fmt = reader.format
    try:
        cells = decode_isd(body, shape=fmt.shape, mode=fmt.mode)
    except CodecError:
        return None
    if not cells.canonical or not all(_is_canonical(name, fmt) for name in cells.names):
        return None
    return np.array([reader.label(name) for name in cells.names])[cells.classes]


def _is_canonical(written: str, fmt: IsdFormat) -> bool:
    """Whether the encoder writes a label in this way, and it is one of those asked for."""
    if written == OTHERS:
        return True
    label = fmt.read(written)
    if not label.strip() or fmt.write(canonical(label)) != written:
        return False
    return fmt.candidates is None or label in fmt.candidates


def _read_tolerantly(body: str, reader: _Reader, *, closed: bool) -> np.ndarray | None:
    """Classes of any body, or None when it has no run at all."""
    lines = [line.strip() for line in body.rstrip().split("\n")]
    if not closed:
        lines[-1] = _without_cut(lines[-1], reader)
    height, width = reader.format.shape
    flat = _read_flat(lines[0], reader) if len(lines) == 1 and height > 1 else None
    if flat is not None:
        return flat
    if len(lines) != height:
        # As many lines as rows: an empty one stands for its row. Otherwise it is a break too many.
        full = [line for line in lines if line]
        reader.repairs["row_empty"] += len(lines) - len(full)
        lines = full
    else:
        reader.repairs["row_empty"] += lines.count("")
    classes = np.zeros(reader.format.shape, np.int64)
    read = False
    for row, line in enumerate(lines[:height]):
        runs = reader.runs(line, width) if line else []
        read |= bool(runs)
        filled = _fill(classes[row], runs)
        reader.repairs["row_long"] += filled > width
        reader.repairs["row_short"] += filled < width and bool(line)
    reader.repairs["rows_extra"] += max(0, len(lines) - height)
    reader.repairs["rows_missing"] += max(0, height - len(lines))
    return classes if read else None


def _without_cut(line: str, reader: _Reader) -> str:
    """The last line of an answer that stops early, without a label whose count is not there."""
    if reader.format.mode == "full":
        return line
    head, bar, tail = line.rpartition("|")
    if _HAS_COUNT.search(tail):
        return line
    return head if bar else ""


def _read_flat(line: str, reader: _Reader) -> np.ndarray | None:
    """Classes of one line that holds all rows: cells without counts, or runs over the raster. None: it is one row."""
    fmt = reader.format
    cells = fmt.shape[0] * fmt.shape[1]
    classes = np.zeros(cells, np.int64)
    pieces = line.split("|")
    if not _HAS_COUNT.search(line):
        if fmt.mode != "full" and len(pieces) != cells:
            return None
        named = [name for name in map(str.strip, pieces[: cells + 1]) if name]
        reader.repairs["empty_run"] += min(len(pieces), cells + 1) - len(named)
        classes[: len(named)] = reader.labels(named)[:cells]
        filled = len(named)
    else:
        probe = _Reader(fmt)
        runs = probe.runs(line, cells)
        if fmt.mode == "rrle" and sum(count for _, count in runs) != cells:
            return None
        reader.names, reader.index, reader.repairs = probe.names, probe.index, probe.repairs
        filled = _fill(classes, runs)
    if not filled:
        return None
    missing_rows, missing_cells = divmod(max(0, cells - filled), fmt.shape[1])
    reader.repairs["row_long"] += filled > cells
    reader.repairs["rows_missing"] += missing_rows
    reader.repairs["row_short"] += missing_cells > 0
    return classes.reshape(fmt.shape)


def _fill(cells: np.ndarray, runs: list[tuple[int, int]]) -> int:
    """Write runs into a row, as far as it goes; the cells they have together."""
    place = 0
    for label, count in runs:
        if place < len(cells):
            cells[place : place + count] = label
        place += count
    return place
