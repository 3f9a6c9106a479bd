"""Official lists of categories, shipped as JSON: id, name, thing or stuff, colour where there is an official one."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from mvplm.structures import Vocabulary
from mvplm.structures.choices import check_choice

_TABLES = "categories"


def list_category_tables() -> list[str]:
    """Names of the tables, sorted."""
    folder = files("mvplm.data.datasets") / _TABLES
    return sorted(item.name.removesuffix(".json") for item in folder.iterdir() if item.name.endswith(".json"))


@cache
def category_table(name: str) -> tuple[Mapping[str, Any], ...]:
    """Rows of a table in official order: ``id``, ``name``, ``isthing``, often ``color`` [r, g, b].

    ``words`` is there where the official name is no English ("tvmonitor"); ``full_id`` in PASCAL Context's 59 classes
    is the class among all 459.

    Raises:
        ValueError: there is no such table; the message lists them.
    """
    check_choice("category table", name, choices=list_category_tables())
    text = (files("mvplm.data.datasets") / _TABLES / f"{name}.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["categories"])


def table_vocabulary(name: str, *, clean_names: bool = True, offset: int = 0) -> Vocabulary:
    """Vocabulary of a table.

    Args:
        name: the table.
        clean_names: take ``words`` instead of official names that are no English.
        offset: added to the ids, for label maps that count from elsewhere.
    """
    rows = category_table(name)
    return Vocabulary(
        tuple(str(row.get("words", row["name"]) if clean_names else row["name"]) for row in rows),
        tuple(bool(row["isthing"]) for row in rows),
        tuple(int(row["id"]) + offset for row in rows),
    )
