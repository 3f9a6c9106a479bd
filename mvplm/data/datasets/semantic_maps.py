"""Pictures with label maps: one record each, with one annotation for every class in the map."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.label_maps import read_labels
from mvplm.structures import Annotation, Record, Vocabulary
from mvplm.structures.masks import encode_mask, tight_box


@dataclass(frozen=True)
class LabelledPicture:
    """``key``: image id; ``image``: the picture; ``labels``: its label map."""

    key: str
    image: Path
    labels: Path


@dataclass(frozen=True)
class SemanticFiles:
    """Files of a semantic dataset.

    Attributes:
        root: its folder.
        pictures: pictures and their maps, in order.
        vocabulary: names; its dataset ids are the values of the maps.
        void: values that stand for no class.
        labels: folder of the maps, for the checker to find maps without a picture; None when nothing can be said.
        collection: of the pictures (see ``RecordSequence``).
    """

    root: Path
    pictures: tuple[LabelledPicture, ...]
    vocabulary: Vocabulary
    void: frozenset[int] = field(default_factory=frozenset)
    labels: Path | None = None
    collection: str = ""

    def hashes(self) -> dict[str, str]:
        """First 16 hexadecimal digits of the SHA-256 over names and sizes of the label maps, under one key.

        The maps themselves are many files; reading all of them would take longer than an evaluation.
        """
        digest = hashlib.sha256()
        for picture in self.pictures:
            size = picture.labels.stat().st_size if picture.labels.is_file() else -1
            digest.update(f"{picture.key} {picture.labels.name} {size}\n".encode())
        return {"names and sizes of label maps": digest.hexdigest()[:16]}


class SemanticMaps(RecordSequence):
    """One record per picture; annotations stand in the order of the vocabulary, their id is the value in the map.

    Args:
        files: where they lie.
        source: name for messages.
    """

    def __init__(self, files: SemanticFiles, *, source: str) -> None:
        self.semantic = files
        self.collection = files.collection
        self.vocabulary = files.vocabulary
        self._source = source

    def __len__(self) -> int:
        return len(self.semantic.pictures)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``."""
        return self.semantic.pictures[index].image.name

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``."""
        return self.semantic.pictures[index].key

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len).

        Raises:
            FileNotFoundError: there is no map.
            ValueError: the map cannot be read, or holds a value that is neither class nor void.
        """
        picture = self.semantic.pictures[index]
        labels = read_labels(picture.labels)
        unknown = unknown_values(labels, self.semantic)
        if unknown:
            raise ValueError(f"label map {picture.labels} holds {unknown}, which are neither classes nor void")
        return Record(
            image_id=picture.key,
            image=picture.image,
            size=(labels.shape[0], labels.shape[1]),
            source=self._source,
            vocabulary=self.vocabulary,
            annotations=tuple(class_annotations(labels, self.vocabulary)),
        )


def open_semantic(files: SemanticFiles, *, source: str, num: int | None = None) -> Sequence[Record]:
    """Records of label maps; ``num`` takes only the first so many. Raises ValueError when ``num`` is below 1."""
    maps = SemanticMaps(files, source=source)
    records: RecordSequence = maps if num is None else FirstRecords(maps, num)
    records.files = files
    return records


def class_annotations(labels: np.ndarray, vocabulary: Vocabulary) -> list[Annotation]:
    """One annotation for each class that has pixels in ``labels`` (H, W)."""
    present = set(np.unique(labels).tolist())
    annotations = []
    for label, value in enumerate(vocabulary.dataset_ids):
        if value not in present:
            continue
        mask = labels == value
        box = tight_box(mask)
        assert box is not None
        x1, y1, x2, y2 = box.tolist()
        annotations.append(
            Annotation((x1, y1, x2, y2), label, encode_mask(mask), isthing=vocabulary.isthing[label], id=value)
        )
    return annotations


def unknown_values(labels: np.ndarray, files: SemanticFiles) -> list[int]:
    """Values of a map that are neither a class nor void, sorted."""
    return sorted(set(np.unique(labels).tolist()) - set(files.vocabulary.dataset_ids) - files.void)


def pair_by_stem(images: Iterable[Path], labels: Path, *, ending: str) -> tuple[LabelledPicture, ...]:
    """Pictures, sorted by name, with the maps ``labels``/STEM``ending``."""
    return tuple(LabelledPicture(path.stem, path, labels / f"{path.stem}{ending}") for path in sorted(images))
