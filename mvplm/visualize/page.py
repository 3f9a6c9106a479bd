"""One self-contained HTML page of pictures, answers and numbers."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; color: #1c2430 }
h1 { margin-bottom: .2rem }
.lead { color: #556; margin-top: 0 }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 1.2rem }
.card { background: #fff; border: 1px solid #e3e6ec; border-radius: 10px; overflow: hidden }
.card img { width: 100%; display: block }
.card div { padding: .7rem 1rem }
.card h2 { font-size: 1.05rem; margin: 0 0 .3rem }
.card p { margin: .2rem 0; color: #445 }
table { border-collapse: collapse; margin: .4rem 0; font-size: .9rem }
td, th { border-bottom: 1px solid #e3e6ec; padding: .15rem .7rem .15rem 0; text-align: left }
pre { background: #f1f3f7; padding: .8rem; border-radius: 8px; overflow: auto }
"""


@dataclass
class Card:
    """One picture with its story.

    Attributes:
        title: heading. image: path of a PNG. text: a sentence or two. facts: name -> value, shown as a table.
    """

    title: str
    image: str | Path
    text: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def write_page(path: str | Path, title: str, *, lead: str, cards: Sequence[Card], closing: str = "") -> Path:
    """Write the page; pictures are embedded, text is escaped, nothing is loaded from elsewhere.

    Args:
        path: file to write.
        title: heading of the page. lead: a line under it. cards: the pictures. closing: plain text shown as a block.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "\n".join(card_html(card, source=_embedded(card.image)) for card in cards)
    tail = f"<pre>{html.escape(closing)}</pre>" if closing else ""
    path.write_text(document(title, lead, body=f"<div class='grid'>{body}</div>{tail}"), encoding="utf-8")
    return path


def document(title: str, lead: str, *, body: str) -> str:
    """A whole page.

    Args:
        title: heading of the page. lead: a line under it. Both are escaped. body: HTML below them.
    """
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1><p class='lead'>{html.escape(lead)}</p>{body}</body></html>"
    )


def _embedded(image: str | Path) -> str:
    data = base64.b64encode(Path(image).read_bytes()).decode("ascii")
    return f"data:image/png;base64,{data}"


def card_html(card: Card, *, source: str) -> str:
    """A card; its texts are escaped.

    Args:
        card: what to show. source: where the page finds the picture, an address or the data.
    """
    rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in card.facts.items())
    table = f"<table>{rows}</table>" if rows else ""
    return (
        f"<div class='card'><img alt='{html.escape(card.title, quote=True)}' src='{html.escape(source, quote=True)}'>"
        f"<div><h2>{html.escape(card.title)}</h2><p>{html.escape(card.text)}</p>{table}</div></div>"
    )
