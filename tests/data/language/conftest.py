"""Public datasets in miniature: the tests write their trees in the published formats."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from mvplm.data.catalog import get_dataset
from mvplm.structures.masks import encode_mask

from PIL import Image  # isort: skip

POLYGON = [[10.0, 20.0, 30.0, 20.0, 30.0, 50.0, 10.0, 50.0], [40.5, 5.0, 44.0, 5.0, 44.0, 9.5]]
UNCOMPRESSED = {"size": [60, 80], "counts": [60 * 4 + 6, 30, 30, 30, 60 * 80 - 60 * 4 - 96]}


def compressed() -> dict[str, Any]:
    """A run-length code as pycocotools writes it into JSON."""
    import numpy as np

    mask = np.zeros((60, 80), bool)
    mask[2:6, 70:80] = True
    return encode_mask(mask)


class Tree:
    """A root of datasets that a test fills."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def json(self, place: str, content: Any) -> Path:
        """Write JSON below the root."""
        path = self._made(place)
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def pickle(self, place: str, content: Any, *, protocol: int = 2) -> Path:
        """Write a pickle below the root, by default as Python 2 wrote the public ones."""
        path = self._made(place)
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        return path

    def picture(self, place: str, size: tuple[int, int] = (60, 80)) -> Path:
        """Write a grey picture of size (H, W)."""
        path = self._made(place)
        Image.new("RGB", (size[1], size[0]), (90, 90, 90)).save(path)
        return path

    def folder(self, place: str) -> Path:
        """Make a folder."""
        path = self.root / place
        path.mkdir(parents=True, exist_ok=True)
        return path

    def open(self, name: str, **options: Any) -> Any:
        """Open a dataset of the catalog below the root."""
        return get_dataset(name, root=self.root, **options)

    def _made(self, place: str) -> Path:
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def instances() -> dict[str, Any]:
    """``instances.json`` of the referring sets: ids with holes, a crowd, polygons and both kinds of codes."""

    def image(number: int) -> dict[str, Any]:
        return {
            "license": 1,
            "file_name": f"COCO_train2014_{number:012d}.jpg",
            "coco_url": f"http://mscoco.org/images/{number}",
            "height": 60,
            "width": 80,
            "date_captured": "2013-11-18 02:53:27",
            "flickr_url": "",
            "id": number,
        }

    def annotation(
        number: int, image_id: int, segmentation: Any, *, box: list[float], crowd: int = 0
    ) -> dict[str, Any]:
        return {
            "segmentation": segmentation,
            "area": 600.0,
            "iscrowd": crowd,
            "image_id": image_id,
            "bbox": box,
            "category_id": 18,
            "id": number,
        }

    return {
        "info": {"description": "a dataset", "url": "", "version": "1.0", "year": 2015},
        "images": [image(9), image(581857), image(30)],
        "licenses": [{"url": "", "id": 1, "name": ""}],
        "annotations": [
            annotation(1719310, 581857, POLYGON, box=[10.0, 5.0, 34.0, 45.0]),
            annotation(42, 9, UNCOMPRESSED, box=[4.0, 6.0, 2.0, 30.0]),
            annotation(900100581857, 581857, UNCOMPRESSED, box=[4.0, 6.0, 2.0, 30.0], crowd=1),
            annotation(47, 9, compressed(), box=[70.0, 2.0, 10.0, 4.0]),
            annotation(50, 30, POLYGON, box=[10.0, 5.0, 34.0, 45.0]),
        ],
        "categories": [{"supercategory": "animal", "id": 18, "name": "dog"}],
    }


def ref(number: int, image_id: int, ann_id: Any, *, split: str, said: dict[int, str], **more: Any) -> dict[str, Any]:
    """One entry of a refs file; ``said`` maps sentence ids to texts."""
    return {
        "sent_ids": list(said),
        "file_name": f"COCO_train2014_{image_id:012d}_{number}.jpg",
        "ann_id": ann_id,
        "ref_id": number,
        "image_id": image_id,
        "split": split,
        "sentences": [
            {"tokens": text.split(), "raw": text.title(), "sent_id": sent_id, "sent": text}
            for sent_id, text in said.items()
        ],
        "category_id": 18,
        **more,
    }
