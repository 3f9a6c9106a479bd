"""Where the parts of a COCO-format folder lie, and reading its JSON."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mvplm.structures.choices import near_matches

_ENDING = re.compile(r"(?:-(?:merged|other|stuff))+$")
_SEVERAL = ("instances", "lookup")
_USUAL = {
    "images": ("images/{split}", "{split}", "images"),
    "panoptic": ("annotations/panoptic_{split}.json",),
    "panoptic_masks": ("panoptic_{split}", "annotations/panoptic_{split}"),
    "instances": ("annotations/instances_{split}.json",),
    "captions": ("annotations/captions_{split}.json",),
    "referring": ("refs_{split}.json", "annotations/refs_{split}.json", "annotations/referring_{split}.json"),
}


@dataclass(frozen=True)
class CocoFiles:
    """Paths of a COCO-format folder.

    Attributes:
        root: the folder; pictures of the referring file are relative to it.
        images: folder that ``file_name`` is relative to.
        panoptic: panoptic JSON; panoptic_masks: folder of its PNGs.
        instances: instance JSON files; lookup: more of them, read only to find the masks of referring expressions.
        captions: captions JSON.
        referring: referring JSON.
        table: official category table that the files must agree with (see ``category_tables``), where there is one.
        collection: of the pictures, where they are not COCO's (see ``RecordSequence``).
    """

    root: Path
    images: Path
    panoptic: Path | None = None
    panoptic_masks: Path | None = None
    instances: tuple[Path, ...] = ()
    captions: Path | None = None
    referring: Path | None = None
    lookup: tuple[Path, ...] = ()
    table: str | None = None
    collection: str = ""

    def read(self, path: Path, *keys: str) -> dict[str, Any]:
        """Contents of one of the files, see ``read_coco``; formats that differ from COCO's are brought into it here."""
        return read_coco(path, *keys)

    def need(self, part: str) -> Path:
        """Path of a part. Raises ValueError when it was neither given nor found."""
        value = getattr(self, part)
        value = value[0] if isinstance(value, tuple) and value else value
        if not value:
            usual = ", ".join(_USUAL.get(part, ()))
            raise ValueError(
                f"{self.root}: no {part} file; give {part}=PATH, or split=NAME for {usual}{self._splits()}"
            )
        return value

    def hashes(self) -> dict[str, str]:
        """First 16 hexadecimal digits of the SHA-256 of every annotation file, by path below ``root``."""
        single = (self.panoptic, self.captions, self.referring)
        paths = [path for path in (*single, *self.instances, *self.lookup) if path is not None]
        return {
            str(path.relative_to(self.root) if path.is_relative_to(self.root) else path.name): _sha256(path)[:16]
            for path in sorted(paths)
        }

    def richest_role(self) -> str:
        """The first of panoptic, instance, referring and caption that there is a file for.

        Raises:
            ValueError: there is no annotation file.
        """
        roles = {"panoptic": "panoptic", "instance": "instances", "referring": "referring", "caption": "captions"}
        for role, part in roles.items():
            if getattr(self, part):
                return role
        raise ValueError(f"{self.root}: no annotation file given or found{self._splits()}")

    def _splits(self) -> str:
        found = {path.stem.split("_", 1)[1] for path in self.root.glob("annotations/*_*.json")}
        return f" (splits seen: {', '.join(sorted(found))})" if found else ""


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def find_coco_files(root: str | Path, *, split: str | None = None, **given: str | Sequence[str] | None) -> CocoFiles:
    """Paths given by name (relative to ``root``), the rest looked for at the usual places of a split.

    The usual places are ``images/SPLIT``, ``annotations/{panoptic,instances,captions}_SPLIT.json``, ``panoptic_SPLIT``
    and ``refs_SPLIT.json``; without a split the ending ``_SPLIT`` is left out.

    Args:
        root: the folder.
        split: "train", "val2017" ...
        **given: any path of ``CocoFiles`` but ``root``; ``instances`` and ``lookup`` may be lists.

    Raises:
        ValueError: unknown part.
        FileNotFoundError: no such folder, or a given path does not exist.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"dataset folder not found: {root}")
    parts = [field.name for field in fields(CocoFiles) if field.name not in ("root", "table", "collection")]
    for part in given:
        if part not in parts:
            raise ValueError(f"unknown part {part!r}{near_matches(part, parts)} (parts: {', '.join(parts)})")
    found: dict[str, Any] = {}
    for part in parts:
        value = given.get(part)
        if value is not None:
            paths = [_existing(root / path) for path in ([value] if isinstance(value, str) else value)]
        else:
            paths = [path for place in _usual_places(part, split) if (path := root / place).exists()][:1]
        found[part] = tuple(paths) if part in _SEVERAL else (paths[0] if paths else None)
    found["images"] = found["images"] or root
    return CocoFiles(root=root, **found)


def _usual_places(part: str, split: str | None) -> list[str]:
    places = _USUAL.get(part, ())
    if split is None:
        return [place.replace("_{split}", "").replace("/{split}", "") for place in places if place != "{split}"]
    return [place.replace("{split}", split) for place in places]


def read_json(path: str | Path) -> Any:
    """Contents of a JSON file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON; the message names the file.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def read_coco(path: str | Path, *keys: str) -> dict[str, Any]:
    """Contents of a COCO JSON file that must hold the given keys, each a list.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or a key is missing; the message names the file.
    """
    data = read_json(path)
    for key in keys:
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise ValueError(f"{path} is not a COCO file: it needs a list under {key!r}")
    return data


def captions_by_image(files: CocoFiles) -> dict[Any, tuple[str, ...]]:
    """Non-empty captions of each image id, in the file's order; empty without a captions file."""
    if files.captions is None:
        return {}
    captions: dict[Any, list[str]] = defaultdict(list)
    for entry in read_coco(files.captions, "annotations")["annotations"]:
        text = " ".join(str(entry["caption"]).split())
        if text:
            captions[entry["image_id"]].append(text)
    return {image_id: tuple(texts) for image_id, texts in captions.items()}


def clean_category_names(names: Sequence[str]) -> list[str]:
    """Names without the endings "-merged", "-other" and "-stuff"; names that would collide stay as they are."""
    cleaned = [_ENDING.sub("", name) or name for name in names]
    return [short if cleaned.count(short) == 1 else name for short, name in zip(cleaned, names, strict=True)]


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"dataset file not found: {path}")
    return path
