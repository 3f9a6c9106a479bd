"""Complete JSON objects in text that may be cut, fenced or mixed with prose.

Every ``{`` before a key may begin one, unless an object before has used it up, so that a broken quote spoils one object
and not all that follow. The JSON reader gives up at its nesting limit: deep nesting costs at most that many readings.
"""

import ast
import json
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_DECODER = json.JSONDecoder(strict=False)
_BEGIN = re.compile(r"""\{(?=\s*["'}])""")
_FLAT = re.compile(r"\{[^{}]{0,4096}\}")
_LANGUAGE = re.compile(r"\A[A-Za-z0-9_+-]*[ \t]*(\r?\n|(?=[\[{]))")
_OPEN, _CLOSE, _FENCE = "<think>", "</think>", "```"


@dataclass
class Found:
    """One object of an answer.

    Attributes:
        value: the object.
        start, end: where it is written in the answer.
    """

    value: dict[str, Any]
    start: int
    end: int


def only_answer(text: str, repairs: Counter[str]) -> str:
    """The text without thoughts and without code fences; thoughts left open or never opened are counted.

    An open thought runs to the end. With fences, their inside is the answer, unless objects stand outside, too.
    """
    spoken, place = [], 0
    while (opened := text.find(_OPEN, place)) >= 0:
        spoken.append(text[place:opened])
        closed = text.find(_CLOSE, opened)
        repairs["think_open"] += closed < 0
        place = closed + len(_CLOSE) if closed >= 0 else len(text)
    answer = "".join([*spoken, text[place:]])
    if _CLOSE in answer:
        repairs["think_stray"] += 1
        answer = answer.rpartition(_CLOSE)[2]
    parts = answer.split(_FENCE)
    if len(parts) == 1 or any("{" in outside for outside in parts[::2]):
        return answer.strip()
    return "\n".join(_LANGUAGE.sub("", inside, count=1) for inside in parts[1::2]).strip()


def is_list_of_objects(answer: str) -> bool:
    """Whether an answer is one JSON list whose every member is an object."""
    try:
        value = json.loads(answer, strict=False)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)


def find_objects(answer: str, *, keys: Sequence[str], repairs: Counter[str]) -> list[Found]:
    """All complete objects, in order; where one holds others, these are found, too.

    Args:
        answer: text to look through.
        keys: an object that holds others counts itself only if it has one of these.
        repairs: counts "object_bad" (an object that cannot be read), "python" (Python's spelling) and "nested".
    """
    found: list[Found] = []
    begin = _BEGIN.search(answer)
    while begin:
        place = begin.start()
        value, end = _object_at(answer, place, repairs=repairs)
        following = end
        if value is not None:
            nested = _holds_objects(value)
            repairs["nested"] += nested
            following = place + 1 if nested else end
            if not nested or any(key in value for key in keys):
                found.append(Found(value, place, end))
        begin = _BEGIN.search(answer, following)
    return found


def _holds_objects(value: dict[str, Any]) -> bool:
    inside = list(value.values())
    while inside:
        member = inside.pop()
        if isinstance(member, dict):
            return True
        if isinstance(member, list):
            inside.extend(member)
    return False


def _object_at(answer: str, place: int, *, repairs: Counter[str]) -> tuple[dict[str, Any] | None, int]:
    """The object that begins at ``place``, if there is one, and where to go on."""
    try:
        return _DECODER.raw_decode(answer, place)
    except (ValueError, RecursionError):
        pass
    flat = _FLAT.match(answer, place)
    value = _python_object(flat.group()) if flat else None
    if flat is None or value is None:
        repairs["object_bad"] += 1
        return None, place + 1
    repairs["python"] += 1
    return value, flat.end()


def _python_object(text: str) -> dict[str, Any] | None:
    """An object with single quotes or a comma at the end, as models write that have read much Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
