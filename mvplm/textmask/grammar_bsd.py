"""Which symbols may follow in a box-wise answer, so that every finished answer is exactly what the encoder writes.

A state is a tuple ``(phase, place, instance, data)``; ``data`` are the coordinates so far, or in a mask the width, the
rows left with the current one, and the colour that may not come next. Rows add up to the width and the mask to the
box that was just written; ``x1 < x2`` and ``y1 < y2``.
"""

from collections.abc import Container, Sequence
from functools import lru_cache
from typing import Any

from mvplm.textmask import labels as spelling
from mvplm.textmask.answer import BOX, BOX_END, NO_TARGET, REF, REF_END, SEG, SEG_END
from mvplm.textmask.bricks import LONGEST
from mvplm.textmask.codec_bsd import BsdCodec
from mvplm.textmask.label_tree import LabelTree
from mvplm.textmask.symbols import ATOM, END, NumberRange, Symbols, can_reach, completions, spell

State = tuple[str, int, int, tuple[int, ...]]
DONE: State = ("done", 0, 0, ())
_LINE, _DIGIT = 10, ord("0")
_LABEL_TOKENS, _PREAMBLE_TOKENS = 64, 96
_IN_MASK = ("run", "colour", "g", "length", "row")
_COLOURS = (ord("b"), ord("f"))


class BoxGrammar:
    """Grammar of :class:`BsdCodec`.

    Args:
        codec: what is written. atoms: codes that are tokens of their own. labels: the only labels, or None: free text.
        most: how many instances. may_refuse: whether the answer may be that nothing fits.
        preamble: a line of free text may come first; an answer that nothing fits then has one.
        masks: whether blocks have masks; otherwise they end with their boxes.
    """

    def __init__(
        self,
        codec: BsdCodec,
        atoms: Container[int],
        *,
        labels: Sequence[str] | None = None,
        most: int = 64,
        may_refuse: bool = True,
        preamble: bool = False,
        masks: bool = True,
    ) -> None:
        self.masks = masks
        self.codec, self.most, self.may_refuse, self.preamble = codec, most, may_refuse, preamble
        self.written = [spelling.escape(spelling.canonical(label)).encode() for label in labels or ()]
        self.tree = None if labels is None else LabelTree(self.written)
        self.whole_bricks = codec.bricks and 0 in atoms
        self.longest = LONGEST if codec.bricks else max(codec.grid)
        texts = {
            "refuse": NO_TARGET,
            "open": REF,
            "again": f"\n{REF}",
            "to_box": f"{REF_END}{BOX}[[",
            "space": " ",
            "to_mask": f"]]{BOX_END}{SEG}" if masks else f"]]{BOX_END}",
            "row": codec.row_sep,
            "close": SEG_END,
        }
        self.literals: dict[str, Symbols] = {name: spell(text, atoms) for name, text in texts.items()}
        self.next = lru_cache(maxsize=1 << 14)(self._next)
        self.cost = lru_cache(maxsize=1 << 16)(self._cost)

    def reserve(self, state: State) -> int:
        """How much longer than a shortest way the one after any next token can be, at most."""
        label = _PREAMBLE_TOKENS + (0 if self.tree is None else max(map(len, self.written)))
        settled = _IN_MASK if not self.codec.canvas else (*_IN_MASK, "number")
        if self.whole_bricks and state[0] in settled:
            return label
        height, width = self.codec.grid
        return label + len(NO_TARGET) + self._rows_cost(width, height)

    def fixed_texts(self) -> list[LabelTree]:
        """Trees of the texts that have to be spelled somewhere."""
        return [LabelTree([b"[] fgb<>"] if not self.whole_bricks else [b"[] "]), *([self.tree] if self.tree else [])]

    def start(self) -> State:
        """Nothing written yet."""
        return ("begin", 0, 0, ())

    def is_free(self, state: State) -> bool:
        """Whether any text may follow."""
        if state[0] == "label":
            return self.tree is None and not self.codec.roi
        return self.preamble and state[0] in ("begin", "preamble")

    def most_tokens(self, state: State) -> int:
        """The longest that free text may be, in tokens."""
        return _LABEL_TOKENS if state[0] == "label" else _PREAMBLE_TOKENS

    def after_text(self, state: State, *, visible: bool) -> State:
        """A free label or a preamble after more of its text."""
        phase = "label" if state[0] == "label" else "preamble"
        return (phase, max(state[1], int(visible)), *state[2:])

    def key(self, state: State, span: int) -> Any:
        """What the next ``span`` rows of symbols depend on: equal keys allow equal tokens."""
        phase, place, instance, data = state
        if phase == "run" and self.whole_bricks:
            return phase, place, data[2]
        if phase in ("run", "colour", "g", "length") or (phase == "row" and data):
            data = (data[0], min(data[1], span + 1), *data[2:])
        elif phase == "row":
            data = ()
        return phase, place, instance if self.codec.roi else instance < self.most, data

    def number(self, state: State) -> NumberRange | None:
        """What may be written where a number stands, or None elsewhere."""
        phase, place, _, data = state
        if phase == "number":
            low, high = self._range(data)
            return NumberRange(place, low, high)
        return NumberRange(place, 1, min(data[3], self.longest)) if phase == "length" else None

    def cells_left(self, state: State) -> int | None:
        """Cells of the current mask that are not painted yet; None outside of masks."""
        phase, place, _, data = state
        if phase in ("run", "colour", "g"):
            return place + data[0] * (data[1] - 1)
        if phase == "length":
            return data[3] + data[0] * (data[1] - 1)
        return data[0] * data[1] if phase == "row" else None

    def _literal(self, phase: str, instance: int) -> Symbols:
        return tuple(f"roi{instance}".encode()) if phase == "roi" else self.literals[phase]

    def _enter(self, phase: str, instance: int, *, data: tuple[int, ...] = ()) -> State:
        """The state in front of a literal, or behind it when it is empty."""
        if not self._literal(phase, instance):
            return self._behind(phase, instance, data=data)
        return (phase, 0, instance, data)

    def _behind(self, phase: str, instance: int, *, data: tuple[int, ...]) -> State:
        if phase in ("open", "again"):
            return ("roi", 0, instance, ()) if self.codec.roi else ("label", 0, instance, ())
        if phase == "roi":
            return self._enter("to_box", instance)
        if phase in ("to_box", "space"):
            return ("number", -1, instance, data)
        if phase == "to_mask" and not self.masks:
            return ("end", 0, instance + 1, ())
        if phase in ("to_mask", "row"):
            return ("run", data[0], instance, (*data, -1))
        return ("end", 0, instance + 1, ()) if phase == "close" else ("end", 0, self.most, ())

    def _next(self, state: State) -> dict[int, State]:
        """The symbols that may follow, and where they lead; free text apart."""
        phase, place, instance, data = state
        if phase in ("begin", "turn"):
            return self._first(may_refuse=self.may_refuse and (phase == "turn" or not self.preamble))
        if phase == "preamble":
            return {_LINE: ("turn", 0, 0, ())} if place else {}
        if phase == "label":
            return self._after_label(state)
        if phase == "number":
            return self._after_digit(state)
        if phase in _IN_MASK[:-1]:
            return self._in_mask(state)
        if phase == "end":
            more = self._next(("again", 0, instance, ())) if instance < self.most else {}
            return {**more, END: DONE}
        if phase == "done":
            return {}
        symbols = self._literal(phase, instance)
        ahead = (phase, place + 1, instance, data)
        return {symbols[place]: ahead if place + 1 < len(symbols) else self._behind(phase, instance, data=data)}

    def _first(self, *, may_refuse: bool) -> dict[int, State]:
        options = self._next(("open", 0, 0, ()))
        return {**options, **self._next(("refuse", 0, 0, ()))} if may_refuse else options

    def _after_label(self, state: State) -> dict[int, State]:
        _, node, instance, _ = state
        ending = self._next(("to_box", 0, instance, ()))
        if self.tree is None:
            return ending if node else {}
        options = {symbol: ("label", child, instance, ()) for symbol, child in self.tree.children[node].items()}
        return {**options, **(ending if self.tree.is_label[node] else {})}

    def _range(self, data: tuple[int, ...]) -> tuple[int, int]:
        """Smallest and largest value of the next coordinate."""
        axis = len(data) % 2
        limit = self.codec.limit[axis]
        return (0, limit - 1) if len(data) < 2 else (data[axis] + 1, limit)

    def _after_digit(self, state: State) -> dict[int, State]:
        _, prefix, instance, data = state
        low, high = self._range(data)
        options: dict[int, State] = {}
        for digit in range(10) if prefix else ():
            value = digit if prefix < 0 else 10 * prefix + digit
            if can_reach(value, low, high=high):
                options[_DIGIT + digit] = ("number", value, instance, data)
        if low <= prefix <= high:
            options.update(self._next(self._behind_number(instance, (*data, prefix))))
        return options

    def _behind_number(self, instance: int, data: tuple[int, ...]) -> State:
        if len(data) < 4:
            return ("space", 0, instance, data)
        height, width = self.codec.grid if self.codec.canvas else (data[3] - data[1], data[2] - data[0])
        return ("to_mask", 0, instance, (width, height))

    def _in_mask(self, state: State) -> dict[int, State]:
        phase, place, instance, data = state
        if phase == "run" and self.whole_bricks:
            return {
                ATOM + length - 1 + (0 if colour else LONGEST): self._behind_run(state, colour, length=length)
                for colour in (1, 0)
                if colour != data[2]
                for length in range(1, min(place, LONGEST) + 1)
            }
        if phase == "run" and self.codec.bricks:
            return {ord("<"): ("colour", *state[1:])}
        if phase in ("run", "colour"):
            return {_COLOURS[c]: ("g", place, instance, (*data, c)) for c in (0, 1) if c != data[2]}
        if phase == "g":
            return {ord("g"): ("length", -1, instance, (*data[:3], place, data[3]))}
        width, rows, last, left, colour = data
        run: State = ("run", left, instance, (width, rows, last))
        options: dict[int, State] = {}
        for digit in range(10):
            value = digit if place < 0 else 10 * place + digit
            if can_reach(value, 1, high=min(left, self.longest)):
                options[_DIGIT + digit] = ("length", value, instance, data)
        if place > 0:
            behind = self._behind_run(run, colour, length=place)
            options.update({ord(">"): behind} if self.codec.bricks else self._next(behind))
        return options

    def _behind_run(self, state: State, colour: int, *, length: int) -> State:
        """After a run of a colour in front of ``state``."""
        _, left, instance, (width, rows, _) = state
        if left > length:
            again = self.codec.bricks and length == LONGEST
            return ("run", left - length, instance, (width, rows, -1 if again else colour))
        return self._enter("row", instance, data=(width, rows - 1)) if rows > 1 else self._enter("close", instance)

    def _cost(self, state: State) -> int:
        """Symbols of a shortest way to the end."""
        phase, place, instance, data = state
        if phase == "done":
            return 0
        if phase == "end":
            return 1
        if phase in ("begin", "turn"):
            refusing = self.may_refuse and (phase == "turn" or not self.preamble)
            return min([self.cost(("open", 0, 0, ()))] + [self.cost(("refuse", 0, 0, ()))] * refusing)
        if phase == "preamble":
            return (not place) + 1 + self.cost(("turn", 0, 0, ()))
        if phase == "label":
            left = (not place) if self.tree is None else self.tree.depth[place]
            return left + self.cost(("to_box", 0, instance, ()))
        if phase == "number":
            low, high = self._range(data)
            digits = 0 if place < 0 else len(str(place))
            return min(
                len(str(value)) - digits + self.cost(self._behind_number(instance, (*data, value)))
                for value in completions(place, low, high=high)
            )
        if phase == "run":
            return self._row_cost(place) + self._rows_cost(data[0], data[1] - 1)
        if phase in ("colour", "g"):
            written = 2 if phase == "g" and self.codec.bricks else 1
            return self._row_cost(place) - written + self._rows_cost(data[0], data[1] - 1)
        if phase == "length":
            return self._length_cost(place, data) + self._rows_cost(data[0], data[1] - 1)
        return len(self._literal(phase, instance)) - place + self.cost(self._behind(phase, instance, data=data))

    def _rows_cost(self, width: int, rows: int) -> int:
        """Whole rows after the current one, and the end."""
        return rows * (len(self.literals["row"]) + self._row_cost(width)) + len(self.literals["close"]) + 1

    def _row_cost(self, left: int) -> int:
        """Symbols for the rest of a row in one colour."""
        if self.whole_bricks:
            return -(-left // LONGEST)
        frame = 4 if self.codec.bricks else 2
        whole, rest = divmod(left, self.longest)
        return whole * (frame + len(str(self.longest))) + (frame + len(str(rest)) if rest else 0)

    def _length_cost(self, prefix: int, data: tuple[int, ...]) -> int:
        """The rest of a run's length and of its row: stop here, or go on to the longest run possible."""
        left = data[3]
        frame, target = int(self.codec.bricks), min(left, self.longest)
        ways = [frame + self._row_cost(left - prefix)] if prefix > 0 else []
        if prefix < 0 or str(target).startswith(str(prefix)):
            digits = len(str(target)) - (len(str(prefix)) if prefix > 0 else 0)
            ways.append(digits + frame + self._row_cost(left - target))
        return min(ways)
