"""Checking what every COCO-format file begins with: its lists of images and categories, and the pictures themselves."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvplm.data.datasets.category_tables import category_table
from mvplm.data.images import image_size, load_image
from mvplm.data.problems import CheckReport

_FIELDS = ("id", "file_name", "height", "width")


@dataclass
class ImageList:
    """Images of a file.

    Attributes:
        known: well-formed entries by id.
        broken: ids of entries that were reported; what points at them is not reported again.
    """

    known: dict[Any, Mapping[str, Any]] = field(default_factory=dict)
    broken: set[Any] = field(default_factory=set)

    def size(self, image_id: Any) -> tuple[int, int] | None:
        """(H, W) of a well-formed image, else None."""
        info = self.known.get(image_id) if _is_id(image_id) else None
        return None if info is None else (int(info["height"]), int(info["width"]))

    def report_stranger(self, report: CheckReport, where: str, *, image_id: Any) -> None:
        """Report an id that stands in no entry."""
        if not _is_id(image_id) or (image_id not in self.known and image_id not in self.broken):
            report.error(where, f"points at image {image_id}, which is not listed")


def check_images(report: CheckReport, where: str, *, images: Iterable[Any]) -> ImageList:
    """Report entries that lack fields, have no usable id or size, or repeat an id or a file name."""
    found = ImageList()
    names: Counter[str] = Counter()
    for place, info in enumerate(images):
        here = f"{where} images[{place}]"
        wrong = _wrong_entry(info)
        if wrong is not None:
            report.error(here, wrong)
            if isinstance(info, Mapping) and _is_id(info.get("id")):
                found.broken.add(info["id"])
        elif info["id"] in found.known:
            report.error(here, f"duplicated image id {info['id']}")
        else:
            found.known[info["id"]] = info
            names[info["file_name"]] += 1
    for name, times in names.items():
        if times > 1:
            report.warn(where, f"file name {name} stands for {times} image ids")
    return found


def _wrong_entry(info: Any) -> str | None:
    if not isinstance(info, Mapping):
        return f"must be an object with {', '.join(_FIELDS)}, got {info!r}"
    missing = [key for key in _FIELDS if key not in info]
    if missing:
        return f"lacks {', '.join(missing)}"
    if not _is_id(info["id"]):
        return f"an id is a number or a text, got {info['id']!r}"
    sides = (info["height"], info["width"])
    if not all(isinstance(side, (int, float)) and side == int(side) and side > 0 for side in sides):
        return f"height and width must be positive whole numbers, got {sides}"
    return None


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


class Pictures:
    """Looks at every picture once.

    Args:
        report: receives the problems.
        decode: decode every picture; False only reads their headers.
    """

    def __init__(self, report: CheckReport, *, decode: bool) -> None:
        self._report = report
        self._decode = decode
        self._seen: set[Path] = set()

    def check(self, path: Path, size: tuple[int, int], *, where: str) -> None:
        """Report a picture that is missing, broken or of another size than (H, W) ``size``."""
        if path in self._seen:
            return
        self._seen.add(path)
        self._report.counts["pictures"] += 1
        try:
            found = load_image(path).shape[:2] if self._decode else image_size(path)
        except (ValueError, OSError) as error:
            self._report.error(where, str(error))
            return
        if tuple(found) != size:
            self._report.error(where, f"{path.name} has size {tuple(found)}, the file says {size} (H, W)")

    def check_all(self, images: ImageList, *, folder: Path, where: str) -> None:
        """Check the pictures of a list below ``folder``."""
        for image_id, info in images.known.items():
            size = (int(info["height"]), int(info["width"]))
            self.check(folder / info["file_name"], size, where=f"{where} image {image_id}")


def check_categories(
    report: CheckReport, where: str, *, categories: Iterable[Mapping[str, Any]]
) -> dict[Any, Mapping[str, Any]]:
    """Well-formed categories by id; reports missing fields, duplicated ids and names."""
    known: dict[Any, Mapping[str, Any]] = {}
    names: set[str] = set()
    for place, category in enumerate(categories):
        here = f"{where} categories[{place}]"
        if "id" not in category or not str(category.get("name", "")).strip():
            report.error(here, "needs an id and a name")
        elif category["id"] in known:
            report.error(here, f"duplicated category id {category['id']}")
        else:
            if category["name"] in names:
                report.error(here, f"duplicated category name {category['name']!r}")
            names.add(category["name"])
            known[category["id"]] = category
    return known


def check_against_table(
    report: CheckReport,
    where: str,
    *,
    categories: Mapping[Any, Mapping[str, Any]],
    table: str,
    things_only: bool,
) -> None:
    """Report categories that differ from an official table in name, kind or number.

    Args:
        report: receives the problems.
        where: the file.
        categories: its well-formed categories by id.
        table: name of the table.
        things_only: the file holds only things.
    """
    official = {row["id"]: row for row in category_table(table) if row["isthing"] or not things_only}
    for id_, category in categories.items():
        row = official.get(id_)
        name = str(category["name"]).strip()
        if row is None:
            report.error(where, f"category {id_} ({name}) is not one of the {len(official)} official ones")
        elif name != row["name"]:
            report.error(where, f"category {id_} is called {name!r}, officially {row['name']!r}")
        elif bool(category.get("isthing", row["isthing"])) != bool(row["isthing"]):
            kinds = ("stuff", "a thing")
            report.error(
                where, f"category {id_} ({name}) is {kinds[not row['isthing']]}, officially {kinds[row['isthing']]}"
            )
    missing = [row["name"] for id_, row in official.items() if id_ not in categories]
    if missing:
        report.error(where, f"lacks {len(missing)} of {len(official)} official categories: {', '.join(missing[:5])}")
