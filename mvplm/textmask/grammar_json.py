"""Which symbols may follow in a JSON answer with boxes, so that every finished answer is exactly what is learned.

``[{"bbox_2d": [x1, y1, x2, y2], "label": "...", "mask": "<three tokens>"}, {...}]`` or ``[]``, with integers 0 to 1000,
``x1 < x2`` and ``y1 < y2``. A state is a tuple ``(phase, place, instance, data)``; ``data`` are the coordinates so far.
JSON-schema tools can express neither the order of coordinates nor tokens that are not spelled.
"""

from functools import lru_cache
from typing import Any

from mvplm.textmask.label_tree import LabelTree
from mvplm.textmask.symbols import ATOM, END, NumberRange, Symbols, can_reach, completions

State = tuple[str, int, int, tuple[int, ...]]
DONE: State = ("done", 0, 0, ())
BARRED = b'<>"\\\x7f'
"""Bytes that no label may hold; control characters are not allowed, either."""
_DIGIT, _LIMIT = ord("0"), 1000
_OBJECT = b'{"bbox_2d": ['


class JsonBoxGrammar:
    """Grammar of answers with boxes.

    Args:
        mask_tokens: how many tokens a mask field holds, as codes from 0; 0: objects have no mask field.
        most: how many objects. may_refuse: whether the answer may be the empty list. label_tokens: longest label.
    """

    def __init__(
        self, *, mask_tokens: int = 3, most: int = 32, may_refuse: bool = True, label_tokens: int = 64
    ) -> None:
        self.most, self.may_refuse, self.label_tokens = most, may_refuse, label_tokens
        mask = (*b'", "mask": "', *(ATOM + code for code in range(mask_tokens))) if mask_tokens else ()
        self.literals: dict[str, Symbols] = {
            "begin": tuple(b"["),
            "open": tuple(_OBJECT),
            "again": tuple(b", " + _OBJECT),
            "space": tuple(b", "),
            "to_label": tuple(b'], "label": "'),
            "to_mask": (*mask, *b'"}'),
            "close": tuple(b"]"),
        }
        self.next = lru_cache(maxsize=1 << 14)(self._next)
        self.cost = lru_cache(maxsize=1 << 14)(self._cost)

    def reserve(self, state: State) -> int:
        """How much longer than a shortest way the one after any next token can be, at most."""
        return self.cost(("again", 0, 0, ())) + 64

    def fixed_texts(self) -> list[LabelTree]:
        """Trees of the texts that have to be spelled somewhere: none but the literals."""
        return []

    def start(self) -> State:
        """Nothing written yet."""
        return ("begin", 0, 0, ())

    def is_free(self, state: State) -> bool:
        """Whether any text may follow."""
        return state[0] == "label"

    def cells_left(self, state: State) -> int | None:
        """No mask is painted in cells here."""
        return None

    def most_tokens(self, state: State) -> int:
        """The longest that a label may be, in tokens."""
        return self.label_tokens

    def after_text(self, state: State, *, visible: bool) -> State:
        """A label after more of its text."""
        return (state[0], max(state[1], int(visible)), *state[2:])

    def key(self, state: State, span: int) -> Any:
        """What the next symbols depend on: equal keys allow equal tokens."""
        phase, place, instance, data = state
        # A token may hold the end of an object and the beginning of the next one.
        left = min(self.most - instance, 2)
        return phase, place, left, instance == 0, data if phase in ("number", "space") else len(data)

    def number(self, state: State) -> NumberRange | None:
        """What may be written where a number stands, or None elsewhere."""
        phase, place, _, data = state
        return NumberRange(place, *_range(data)) if phase == "number" else None

    def _behind(self, phase: str, instance: int, *, data: tuple[int, ...]) -> State:
        if phase == "begin":
            return ("list", 0, 0, ())
        if phase in ("open", "again", "space"):
            return ("number", -1, instance, data)
        if phase == "to_label":
            return ("label", 0, instance, ())
        return ("list", 0, instance + 1, ()) if phase == "to_mask" else ("end", 0, 0, ())

    def _next(self, state: State) -> dict[int, State]:
        """The symbols that may follow, and where they lead; free text apart."""
        phase, place, instance, data = state
        if phase == "list":
            more = self._next(("again" if instance else "open", 0, instance, ())) if instance < self.most else {}
            return {**more, **(self._next(("close", 0, instance, ())) if instance or self.may_refuse else {})}
        if phase == "label":
            return self._next(("to_mask", 0, instance, ())) if place else {}
        if phase == "number":
            return self._after_digit(state)
        if phase == "end":
            return {END: DONE}
        if phase == "done":
            return {}
        symbols = self.literals[phase]
        ahead = (phase, place + 1, instance, data)
        return {symbols[place]: ahead if place + 1 < len(symbols) else self._behind(phase, instance, data=data)}

    def _after_digit(self, state: State) -> dict[int, State]:
        _, prefix, instance, data = state
        low, high = _range(data)
        options: dict[int, State] = {}
        for digit in range(10) if prefix else ():
            value = digit if prefix < 0 else 10 * prefix + digit
            if can_reach(value, low, high=high):
                options[_DIGIT + digit] = ("number", value, instance, data)
        if low <= prefix <= high:
            options.update(self._next(_behind_number(instance, (*data, prefix))))
        return options

    def _cost(self, state: State) -> int:
        """Symbols of a shortest way to the end."""
        phase, place, instance, data = state
        if phase == "done":
            return 0
        if phase == "end":
            return 1
        if phase == "list":
            empty = bool(instance) or self.may_refuse
            return self.cost(("close" if empty else "open", 0, instance, ()))
        if phase == "label":
            return (not place) + self.cost(("to_mask", 0, instance, ()))
        if phase == "number":
            low, high = _range(data)
            digits = 0 if place < 0 else len(str(place))
            return min(
                len(str(value)) - digits + self.cost(_behind_number(instance, (*data, value)))
                for value in completions(place, low, high=high)
            )
        return len(self.literals[phase]) - place + self.cost(self._behind(phase, instance, data=data))


def _range(data: tuple[int, ...]) -> tuple[int, int]:
    """Smallest and largest value of the next coordinate."""
    return (0, _LIMIT - 1) if len(data) < 2 else (data[len(data) - 2] + 1, _LIMIT)


def _behind_number(instance: int, data: tuple[int, ...]) -> State:
    return ("space", 0, instance, data) if len(data) < 4 else ("to_label", 0, instance, ())
