"""Tables beside the metrics: every class, every size, every kind of expression by itself."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mvplm.evaluation.box_accuracy import BoxAccuracy
from mvplm.evaluation.panoptic import PanopticQuality
from mvplm.evaluation.referring import ReferringIoU
from mvplm.evaluation.semantic import SemanticIoU
from mvplm.evaluation.sizes import SIZES


@dataclass(frozen=True)
class Table:
    """Rows of names and numbers (percent, counts, None for what is not known) under the names of the columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    @classmethod
    def of_groups(cls, heading: str, groups: Mapping[str, Mapping[str, Any]]) -> "Table":
        """One row per group, sorted by name, sizes by size.

        Args:
            heading: of the first column.
            groups: name -> column -> value; what a group does not have is None.
        """
        columns = list(dict.fromkeys(name for values in groups.values() for name in values))
        order = {name: place for place, name in enumerate(SIZES)} if set(groups) <= set(SIZES) else {}
        names = sorted(groups, key=lambda name: (order.get(name, 0), name))
        return cls([heading, *columns], [[name, *(groups[name].get(c) for c in columns)] for name in names])


def panoptic_tables(quality: PanopticQuality) -> dict[str, Table]:
    """``panoptic/per_class``: PQ, SQ, RQ in percent, TP, FP, FN of the classes that occur."""
    columns = ("name", "PQ", "SQ", "RQ", "TP", "FP", "FN")
    classes = quality.compute()["per_class"].values()
    return {"panoptic/per_class": Table(columns, sorted([entry[c] for c in columns] for entry in classes))}


def semantic_tables(iou: SemanticIoU, names: Sequence[str]) -> dict[str, Table]:
    """``semantic/per_class``: IoU in percent and true pixels of the classes that occur."""
    rows = sorted([names[place], entry["IoU"], entry["pixels"]] for place, entry in iou.per_class().items())
    return {"semantic/per_class": Table(("name", "IoU", "pixels"), rows)}


def expression_tables(parts: Mapping[str, ReferringIoU | BoxAccuracy]) -> dict[str, Table]:
    """``PART/per_size`` and ``PART/per_kind`` (where kinds are told) of every part that has expressions."""
    out = {}
    for part, metric in parts.items():
        for by in ("kind", "size"):
            groups = metric.table(by)
            if set(groups) - {""}:
                out[f"{part}/per_{by}"] = Table.of_groups(by, groups)
    return out


def write_tables(path: str | Path, tables: Mapping[str, Table]) -> Path:
    """Write ``{name: {"columns": [...], "rows": [[...], ...]}}`` as JSON, numbers rounded to 4 places.

    Args:
        path: file to write; its folder is made.
        tables: by name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        name: {key: [_rounded(entry) for entry in part] for key, part in asdict(table).items()}
        for name, table in sorted(tables.items())
    }
    lines = json.dumps(content, ensure_ascii=False, indent=1)
    path.write_text(lines + "\n", encoding="utf-8")
    return path


def _rounded(entry: Any) -> Any:
    if isinstance(entry, (list, tuple)):
        return [_rounded(value) for value in entry]
    return round(entry, 4) if isinstance(entry, float) else entry
