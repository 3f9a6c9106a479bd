"""Which symbols may follow in an image-wise answer, so that every finished one fills the grid exactly.

A state is a tuple ``(phase, place, label, data)``; ``label`` is the last label written (-1: none that matters),
``data`` the cells left in the row and the rows left with the current one. Neighbouring runs differ in their labels.
"""

from collections.abc import Container, Sequence
from functools import lru_cache
from typing import Any

from mvplm.textmask import labels as spelling
from mvplm.textmask.codec_isd import IsdCodec
from mvplm.textmask.isd import CLOSE, OPEN
from mvplm.textmask.label_tree import LabelTree
from mvplm.textmask.symbols import END, NumberRange, Symbols, can_reach, spell

State = tuple[str, int, int, tuple[int, ...]]
DONE: State = ("done", 0, 0, ())
_DIGIT = ord("0")


class LabelGrammar:
    """Grammar of :class:`IsdCodec`.

    Args:
        codec: what is written. atoms: codes that are tokens of their own. labels: the labels asked for; background
            may be written in any case.
    """

    def __init__(self, codec: IsdCodec, atoms: Container[int], *, labels: Sequence[str]) -> None:
        named = dict.fromkeys(codec.write_label(spelling.canonical(label)) for label in labels)
        names = [spelling.OTHERS, *(name for name in named if name != spelling.OTHERS)]
        self.full = codec.mode == "full"
        height, width = codec.grid
        self.rows, self.width = (height, width) if codec.mode == "rrle" else (1, height * width)
        star = "" if self.full else " *"
        spelled = [f"{name}{star}".encode() for name in names]
        self.trees = {-1: LabelTree(spelled)}
        self.names = {-1: list(range(len(spelled)))}
        for skipped in range(0 if self.full or len(spelled) == 1 else len(spelled)):
            kept = [place for place in range(len(spelled)) if place != skipped]
            self.names[skipped] = kept
            self.trees[skipped] = LabelTree([spelled[place] for place in kept])
        texts = {
            "open": f"{codec.lead_in}\n{OPEN}" if codec.lead_in else OPEN,
            "next": "| ",
            "row": "\n ",
            "close": f"\n{CLOSE}" if codec.mode == "rrle" else CLOSE,
        }
        self.literals: dict[str, Symbols] = {name: spell(text, atoms) for name, text in texts.items()}
        self.several = len(spelled) > 1
        self.longest_label = max(map(len, spelled))
        self.next = lru_cache(maxsize=1 << 14)(self._next)
        self.cost = lru_cache(maxsize=1 << 16)(self._cost)

    def reserve(self, state: State) -> int:
        """How much longer than a shortest way the one after any next token can be: another label for the rest."""
        return 64 + 2 * self.longest_label

    def fixed_texts(self) -> list[LabelTree]:
        """Trees of the texts that have to be spelled somewhere."""
        return list(self.trees.values())

    def start(self) -> State:
        """Nothing written yet."""
        return ("open", 0, -1, (self.width, self.rows))

    def is_free(self, state: State) -> bool:
        """Whether any text may follow: never, labels are fixed."""
        return False

    def most_tokens(self, state: State) -> int:
        """There is no free text."""
        return 0

    def after_text(self, state: State, *, visible: bool) -> State:
        """There is no free text."""
        raise AssertionError("labels are fixed")

    def key(self, state: State, span: int) -> Any:
        """What the next ``span`` rows of symbols depend on: equal keys allow equal tokens."""
        phase, place, label, data = state
        if not data:
            return state
        left = min(data[0], span + 2) if self.full else data[0]
        return phase, place, label, (left, min(data[1], span + 1))

    def number(self, state: State) -> NumberRange | None:
        """What may be written where a number stands, or None elsewhere."""
        phase, place, _, data = state
        return NumberRange(place, 1 if self.several else data[0], data[0]) if phase == "count" else None

    def cells_left(self, state: State) -> int | None:
        """Cells that are not painted yet; None before and after the descriptor."""
        phase, _, _, data = state
        return None if phase in ("open", "close", "end", "done") else data[0] + self.width * (data[1] - 1)

    def _behind(self, phase: str, label: int, *, data: tuple[int, ...]) -> State:
        if phase == "close":
            return ("end", 0, -1, ())
        return ("label", 0, label if phase == "next" and not self.full else -1, data)

    def _next(self, state: State) -> dict[int, State]:
        """The symbols that may follow, and where they lead."""
        phase, place, label, data = state
        if phase == "label":
            return self._in_label(state)
        if phase == "count":
            return self._in_count(state)
        if phase == "end":
            return {END: DONE}
        if phase == "done":
            return {}
        symbols = self.literals[phase]
        ahead = (phase, place + 1, label, data)
        return {symbols[place]: ahead if place + 1 < len(symbols) else self._behind(phase, label, data=data)}

    def _in_label(self, state: State) -> dict[int, State]:
        _, node, skipped, data = state
        tree = self.trees[skipped]
        options: dict[int, State] = {}
        for symbol, child in tree.children[node].items():
            if tree.is_label[child] and not self.full:
                options[symbol] = ("count", -1, self.names[skipped][tree.index[child]], data)
            else:
                options[symbol] = ("label", child, skipped, data)
        if self.full and tree.is_label[node]:
            options.update(self._next(self._behind_run(-1, data, length=1)))
        return options

    def _in_count(self, state: State) -> dict[int, State]:
        _, prefix, label, data = state
        low = 1 if self.several else data[0]
        options: dict[int, State] = {}
        for digit in range(10):
            value = digit if prefix < 0 else 10 * prefix + digit
            if value and can_reach(value, low, high=data[0]):
                options[_DIGIT + digit] = ("count", value, label, data)
        if low <= prefix <= data[0]:
            options.update(self._next(self._behind_run(label, data, length=prefix)))
        return options

    def _behind_run(self, label: int, data: tuple[int, ...], *, length: int) -> State:
        left, rows = data
        if left > length:
            return ("next", 0, label, (left - length, rows))
        return ("row", 0, -1, (self.width, rows - 1)) if rows > 1 else ("close", 0, -1, ())

    def _cost(self, state: State) -> int:
        """Symbols of a short way to the end: the nearest label, and one run for the rest of each row."""
        phase, place, label, data = state
        if phase in ("end", "done"):
            return int(phase == "end")
        if phase == "label":
            nearest = self.trees[label].depth[place]
            return nearest + (self._cells_cost(data) if self.full else len(str(data[0])) + self._rows_cost(data[1]))
        if phase == "count":
            ways = []
            if place > 0 and (self.several or place == data[0]):
                ways.append(self.cost(self._behind_run(label, data, length=place)))
            if place < 0 or str(data[0]).startswith(str(place)):
                digits = len(str(data[0])) - (len(str(place)) if place > 0 else 0)
                ways.append(digits + self._rows_cost(data[1]))
            return min(ways)
        return len(self.literals[phase]) - place + self.cost(self._behind(phase, label, data=data))

    def _rows_cost(self, rows: int) -> int:
        """What follows after the last run of a row."""
        row = len(self.literals["row"]) + self.trees[-1].depth[0] + len(str(self.width))
        return (rows - 1) * row + len(self.literals["close"]) + 1

    def _cells_cost(self, data: tuple[int, ...]) -> int:
        """What follows after a label without a count."""
        cell = len(self.literals["next"]) + self.trees[-1].depth[0]
        return (data[0] - 1) * cell + len(self.literals["close"]) + 1
