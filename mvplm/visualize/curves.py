"""Training curves from a metrics log."""

import json
from pathlib import Path
from typing import Any


def read_metrics_log(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a ``metrics.jsonl``. Raises ValueError naming the line that is not JSON."""
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
    return rows


def plot_curves(log: str | Path, out: str | Path) -> Path:
    """Draw the loss, its parts, the learning rate and the evaluations of a ``metrics.jsonl`` into a PNG.

    Numbers whose name holds a slash are taken as evaluation results in percent.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in read_metrics_log(log) if "step" in row]
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool):
                series.setdefault(name, []).append((row["step"], float(value)))
    panels = {
        "loss": [n for n in ("loss", "total") if n in series],
        "parts": [n for n in ("word", "sentence", "mask_bce", "mask_dice", "box_l1", "box_giou", "lm") if n in series],
        "learning rate": [n for n in ("lr",) if n in series],
        "evaluation (%)": sorted(n for n in series if "/" in n),
    }
    figure = Figure(figsize=(12, 8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, names) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for name in names[:12]:
            steps, values = zip(*series[name], strict=True)
            axes.plot(steps, values, label=name, linewidth=1.4, marker="." if len(steps) < 30 else None)
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        if names:
            axes.legend(fontsize=8)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    return out
