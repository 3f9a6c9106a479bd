"""Referring expressions over a COCO-format folder.

The file is a JSON list with one entry per expression:
``{"ref_id": int, "image": path below the folder, "image_id": int, "height": int, "width": int, "expression": str,
"boxes": [[x1, y1, x2, y2], ...] pixels, "no_target": bool, "ann_ids": [int or null, ...], "kind": str}``.
``ann_ids`` stand in the order of ``boxes`` and point into the instance files. A single ``ann_id`` (int or null) and a
list of kinds under ``type`` are understood too. An object without an id is known by its box alone; one without a box
takes that of its instance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco_files import CocoFiles, captions_by_image, read_coco, read_json
from mvplm.structures import Annotation, Expression, Record


@dataclass(frozen=True)
class ReferredObject:
    """One object of an expression: XYXY_ABS box or None, annotation id or None; at least one of them."""

    box: tuple[float, float, float, float] | None
    annotation_id: int | None


def referred_objects(entry: Mapping[str, Any]) -> list[ReferredObject]:
    """Objects that an entry of the referring file points at; empty for no target.

    Raises:
        ValueError: "no_target" contradicts the boxes, or boxes and ids differ in number.
    """
    boxes: list[Any] = [tuple(float(value) for value in box) for box in entry.get("boxes") or ()]
    ids = entry.get("ann_ids")
    if ids is None:
        ids = [] if entry.get("ann_id") is None else [entry["ann_id"]]
    name = f"expression {entry.get('ref_id')}"
    if ids and boxes and len(ids) != len(boxes):
        raise ValueError(f"{name} has {len(boxes)} boxes but {len(ids)} annotation ids")
    objects = [ReferredObject(box, id_) for box, id_ in zip_longest(boxes, ids)]
    if bool(entry.get("no_target", not objects)) != (not objects):
        raise ValueError(f"{name} says no_target={entry.get('no_target')} but points at {len(objects)} objects")
    return objects


class CocoReferring(RecordSequence):
    """One record per picture with its expressions; annotations are the objects they refer to.

    An object keeps the box of the referring file and takes mask and category of its instance.

    Args:
        files: where the parts lie; instance files give the masks.
        source: name for messages.
        masks_only: leave out expressions with a target that has no mask.

    Raises:
        ValueError: malformed file.
    """

    def __init__(self, files: CocoFiles, *, source: str, masks_only: bool = False) -> None:
        path = files.need("referring")
        entries = read_json(path)
        if not isinstance(entries, list):
            raise ValueError(f"{path} must hold a list of expressions, got {type(entries).__name__}")
        self._root = files.root
        self._source = source
        self._instances = _instances_by_id(files)
        self._groups: dict[Any, list[Mapping[str, Any]]] = {}
        for entry in entries:
            if not masks_only or self._all_masks(entry):
                self._groups.setdefault(entry["image_id"], []).append(entry)
        self._image_ids = list(self._groups)
        self._captions = captions_by_image(files)

    def __len__(self) -> int:
        return len(self._image_ids)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``."""
        return str(self._groups[self._image_ids[index]][0]["image"])

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``."""
        return self._image_ids[index]

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len)."""
        image_id = self._image_ids[index]
        entries = self._groups[image_id]
        places: dict[ReferredObject, int] = {}
        expressions = []
        for entry in entries:
            targets = tuple(places.setdefault(item, len(places)) for item in referred_objects(entry))
            expressions.append(Expression(str(entry["expression"]), targets, _kind(entry), entry.get("ref_id")))
        return Record(
            image_id=image_id,
            image=self._root / entries[0]["image"],
            size=(int(entries[0]["height"]), int(entries[0]["width"])),
            source=self._source,
            annotations=tuple(self._annotation(item) for item in places),
            expressions=tuple(expressions),
            captions=self._captions.get(image_id, ()),
            exhaustive=False,
        )

    def _annotation(self, item: ReferredObject) -> Annotation:
        instance = self._instances.get(item.annotation_id) if item.annotation_id is not None else None
        if item.annotation_id is not None and instance is None:
            raise ValueError(f"annotation id {item.annotation_id} of a referring expression is in no instance file")
        segmentation = None if instance is None else instance.get("segmentation") or None
        box = item.box
        if box is None and instance is not None:
            x, y, width, height = (float(value) for value in instance["bbox"])
            box = (x, y, x + width, y + height)
        if box is None:
            raise ValueError("a referred object needs a box or an annotation id")
        return Annotation(box=box, segmentation=segmentation, id=item.annotation_id)

    def _all_masks(self, entry: Mapping[str, Any]) -> bool:
        ids = [item.annotation_id for item in referred_objects(entry)]
        return all(id_ in self._instances and self._instances[id_].get("segmentation") for id_ in ids)


def _kind(entry: Mapping[str, Any]) -> str:
    kinds = entry.get("kind") or entry.get("type") or ()
    return kinds if isinstance(kinds, str) else "+".join(str(kind) for kind in kinds)


def _instances_by_id(files: CocoFiles) -> dict[int, Mapping[str, Any]]:
    paths = (*files.instances, *files.lookup)
    return {entry["id"]: entry for path in paths for entry in read_coco(path, "annotations")["annotations"]}
