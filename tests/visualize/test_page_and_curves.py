"""The report page and the training curves."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvplm.visualize import Card, plot_curves, write_page
from mvplm.visualize.curves import read_metrics_log


@pytest.fixture
def png(tmp_path: Path) -> Path:
    Image.fromarray(np.full((4, 5, 3), 99, np.uint8)).save(tmp_path / "it.png")
    return tmp_path / "it.png"


def test_a_page_embeds_its_pictures_and_loads_nothing(tmp_path: Path, png: Path):
    cards = [Card("One", png, text="words", facts={"score": "0.9"}), Card("Two", str(png))]
    page = write_page(tmp_path / "deep" / "report.html", "Title", lead="Lead", cards=cards, closing="a\nb")
    text = page.read_text(encoding="utf-8")
    pictures = re.findall(r"src='data:image/png;base64,([^']*)'", text)
    assert [base64.b64decode(picture) for picture in pictures] == [png.read_bytes()] * 2
    assert "<th>score</th><td>0.9</td>" in text and "<pre>a\nb</pre>" in text and "<title>Title</title>" in text
    assert not re.search(r"https?://|<script|<link", text) and text.count("src=") == 2


NASTY = "<script>alert('x')</script> & \"quoted\" 'single'"


def test_every_text_is_escaped(tmp_path: Path, png: Path):
    card = Card(NASTY, png, text=NASTY, facts={NASTY: NASTY})
    text = write_page(tmp_path / "r.html", NASTY, lead=NASTY, cards=[card], closing=NASTY).read_text(encoding="utf-8")
    assert "<script" not in text and text.count("&lt;script&gt;") == 9
    (alt,) = re.findall(r"alt='([^']*)'", text)
    assert "&#x27;single&#x27;" in alt


def test_a_page_without_cards_or_closing(tmp_path: Path):
    text = write_page(tmp_path / "r.html", "T", lead="", cards=[]).read_text(encoding="utf-8")
    assert "<pre>" not in text and "<img" not in text and text.endswith("</html>")


def log(folder: Path, lines: list[dict | str]) -> Path:
    path = folder / "metrics.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def train_line(step: int, **more: object) -> dict:
    return {"kind": "train", "step": step, "loss": 9 / step, "totals": [1.0], "lr": 1e-3, "word": 1 / step, **more}


def ink(path: Path) -> int:
    """Pixels of a saturated colour: curves, not axes."""
    with Image.open(path) as picture:
        values = np.asarray(picture.convert("RGB")).astype(int)
    return int((values.max(-1) - values.min(-1) > 60).sum())


def test_curves_show_losses_and_evaluations(tmp_path: Path):
    train = [train_line(step) for step in range(1, 9)]
    few = plot_curves(log(tmp_path, train), tmp_path / "deep" / "few.png")
    more = plot_curves(
        log(tmp_path, [*train, *({"kind": "eval", "step": s, "panoptic/PQ": s} for s in (4, 8))]), tmp_path / "more.png"
    )
    assert few == tmp_path / "deep" / "few.png" and 0 < ink(few) < ink(more)


@pytest.mark.parametrize(
    "lines",
    [[], [{"kind": "train", "step": 1, "loss": None}], [train_line(1)], ["", {"no": "step"}, train_line(2, flag=True)]],
    ids=["empty", "a loss that was not finite", "one line", "blank lines and foreign ones"],
)
def test_curves_of_odd_logs(tmp_path: Path, lines: list):
    with Image.open(plot_curves(log(tmp_path, lines), tmp_path / "c.png")) as picture:
        assert picture.format == "PNG"


def test_a_line_that_is_not_json_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 3 is not JSON"):
        read_metrics_log(log(tmp_path, [train_line(1), "", '{"step": 2, "lo']))
