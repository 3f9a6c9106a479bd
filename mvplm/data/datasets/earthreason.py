"""EarthReason: questions about overhead pictures whose answer is a region, or nothing.

::

    earthreason/                             (or EarthReason/)
      {train,val,test}/images/*.jpg  labels/*.png  QAs/*.json

Files of one picture share their stem. A label is the region where it is not 0; a file of questions holds
``{"questions": [...], "answer": [...]}``, in which no answer means that nothing fits.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.datasets.coco_files import read_json
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.places import either, need_place
from mvplm.data.images import image_size
from mvplm.structures import Annotation, Expression, Record
from mvplm.structures.masks import encode_mask, tight_box

SPLITS = ("train", "val", "test")
FOLDERS = ("earthreason", "EarthReason")
_ENDINGS = (".jpg", ".jpeg", ".png", ".tif")


def load_earthreason(root: str | Path, *, split: str, num: int | None = None) -> Sequence[Record]:
    """Records of a split, one per picture, in the order of their names.

    Args:
        root: folder of the datasets. split: one of ``SPLITS``. num: only the first so many records.

    Raises:
        FileNotFoundError: no such folder, or no picture in it.
        ValueError: ``num`` below 1.
    """
    folder = need_place(root, *(f"{place}/{split}" for place in FOLDERS))
    images = sorted(path for path in (folder / "images").glob("*") if path.suffix.lower() in _ENDINGS)
    if not images:
        raise FileNotFoundError(f"no picture in {folder / 'images'}")
    records = EarthReason(images, folder=folder, source=f"earthreason_{split}")
    return records if num is None else FirstRecords(records, num)


class EarthReason(RecordSequence):
    """Questions about at most one region of a picture.

    Args:
        images: the pictures. folder: of the split. source: name for messages.
    """

    collection = "earthreason"

    def __init__(self, images: Sequence[Path], *, folder: Path, source: str) -> None:
        self._images, self._folder, self._source = list(images), folder, source

    def __len__(self) -> int:
        return len(self._images)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``."""
        return self._images[index].name

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``: its name."""
        return self._images[index].stem

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len).

        Raises:
            FileNotFoundError: no label or no questions under the picture's name.
            ValueError: malformed questions, a label of another size, or an answer without a region; with the file.
        """
        image = self._images[index]
        questions = need_place(self._folder, f"QAs/{image.stem}.json")
        content = read_json(questions)
        if not isinstance(content, dict) or not {"questions", "answer"} <= set(content):
            raise ValueError(f"{questions} needs the keys questions and answer")
        size = image_size(image)
        target = self._region(image.stem, size) if content["answer"] else []
        if content["answer"] and not target:
            raise ValueError(f"{questions} has an answer, but labels/{image.stem}.png has no region")
        return Record(
            image_id=image.stem,
            image=image,
            size=size,
            source=self._source,
            annotations=tuple(target),
            expressions=tuple(
                Expression(" ".join(str(text).split()), (0,) if target else (), "" if target else "none", place)
                for place, text in enumerate(content["questions"])
            ),
            exhaustive=False,
        )

    def _region(self, stem: str, size: tuple[int, int]) -> list[Annotation]:
        path = need_place(self._folder, f"labels/{stem}.png")
        with Image.open(path) as opened:
            values = np.asarray(opened)
        mask = values.any(-1) if values.ndim == 3 else values != 0
        if mask.shape != size:
            raise ValueError(f"{path} has size {mask.shape}, its picture {size}")
        box = tight_box(mask)
        if box is None:
            return []
        x1, y1, x2, y2 = box.tolist()
        return [Annotation((x1, y1, x2, y2), segmentation=encode_mask(mask))]


ENTRIES = {
    f"earthreason_{split}": CatalogEntry(
        partial(load_earthreason, split=split),
        needs=tuple(
            either(*(f"{folder}/{split}/{part}" for folder in FOLDERS)) for part in ("images", "labels", "QAs")
        ),
    )
    for split in SPLITS
}
