"""A page of sections: text, tables, charts and pictures that lie in files beside it."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from os.path import relpath
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mvplm.visualize.page import Card, card_html, document


@dataclass(frozen=True)
class Sheet:
    """A table: title, names of its columns, rows of texts and numbers; None is shown as a dash."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Section:
    """title, text: plain. charts: their pictures. sheets: tables. cards: pictures with their stories."""

    title: str
    text: str = ""
    charts: Sequence[Card] = field(default_factory=tuple)
    sheets: Sequence[Sheet] = field(default_factory=tuple)
    cards: Sequence[Card] = field(default_factory=tuple)


def write_sections(path: str | Path, title: str, *, lead: str, sections: Sequence[Section]) -> Path:
    """Write the page; pictures are linked where they lie, text is escaped, nothing is loaded from the network.

    Args:
        path: file to write.
        title: heading of the page. lead: a line under it. sections: its parts.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "\n".join(_section(section, folder=path.parent) for section in sections)
    path.write_text(document(title, lead, body=body), encoding="utf-8")
    return path


def _section(section: Section, *, folder: Path) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{html.escape(section.text)}</p>")
    parts += [_sheet(sheet) for sheet in section.sheets]
    for cards in (section.charts, section.cards):
        if cards:
            inside = "".join(card_html(card, source=_link(card.image, folder)) for card in cards)
            parts.append(f"<div class='grid'>{inside}</div>")
    return "\n".join(parts)


def _link(image: str | Path, folder: Path) -> str:
    return quote(relpath(image, folder).replace("\\", "/"))


def _sheet(sheet: Sheet) -> str:
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in sheet.columns)
    rows = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in sheet.rows)
    return f"<h3>{html.escape(sheet.title)}</h3><table><tr>{head}</tr>{rows}</table>"


def _cell(value: Any) -> str:
    text = "–" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)
    return f"<td>{html.escape(text)}</td>"
