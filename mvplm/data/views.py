"""Views of datasets: records with other expressions or names, or fewer of them, made when they are asked for."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mvplm.data.datasets.base import RecordSequence
from mvplm.structures import Expression, Record, Vocabulary
from mvplm.structures.choices import check_choice

SYNONYMS = ("first", "joined", "max")


class RecordView(RecordSequence):
    """Another dataset's records, changed or chosen.

    Args:
        records: the dataset.
        change: applied to each record.
        keep: places of the records that stay, in order; None keeps all.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        change: Callable[[Record], Record] | None = None,
        keep: Sequence[int] | None = None,
    ) -> None:
        self._records = records
        self._change = change
        self._keep = range(len(records)) if keep is None else keep
        self.files = getattr(records, "files", None)
        self.name_groups = getattr(records, "name_groups", None)
        self.detection_rules = getattr(records, "detection_rules", self.detection_rules)
        vocabulary: Vocabulary | None = getattr(records, "vocabulary", None)
        self.vocabulary = vocabulary

    def __len__(self) -> int:
        return len(self._keep)

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``."""
        return image_id_of(self._records, self._keep[index])

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len)."""
        record = self._records[self._keep[index]]
        return record if self._change is None else self._change(record)

    def picture(self, index: int) -> str | None:
        """File name of a record's picture; see ``RecordSequence``."""
        return picture_of(self._records, self._keep[index])

    def picture_keys(self) -> list[str | None]:
        """Keys of the pictures that stay; see ``RecordSequence``."""
        keys = picture_keys(self._records)
        return [keys[place] for place in self._keep]


def prepared(records: Sequence[Record], *, synonyms: str = "first", merged: bool = False) -> Sequence[Record]:
    """A dataset as it is asked about; the same object when there is nothing to change.

    Args:
        records: the dataset.
        synonyms: of names with commas keep the "first" part, or all of it ("joined"); with "max" classes are called by
            the first, too (who asks for them takes the others from the dataset's ``vocabulary``).
        merged: make one expression of all that mean the same objects.
    """
    check_choice("synonyms", synonyms, choices=SYNONYMS)
    if merged:
        records = RecordView(records, change=merge_expressions)
    vocabulary = getattr(records, "vocabulary", None)
    if synonyms != "joined" and vocabulary is not None and any("," in name for name in vocabulary.names):
        short = first_synonyms(vocabulary)
        records = RecordView(records, change=partial(replace, vocabulary=short))
    return records


def first_synonyms(vocabulary: Vocabulary) -> Vocabulary:
    """The vocabulary with names cut at their first comma; names that would then be equal stay whole."""
    cut = [name.split(",", 1)[0].strip() or name for name in vocabulary.names]
    names = [short if cut.count(short) == 1 else name for short, name in zip(cut, vocabulary.names, strict=True)]
    return replace(vocabulary, names=tuple(names))


def merge_sentences(texts: Iterable[str]) -> str:
    """Several sentences as one expression: each after a blank and closed by a period."""
    return "".join(f" {text}." for text in texts)


def merge_expressions(record: Record) -> Record:
    """The record with one expression for each set of targets, in order of appearance.

    Expressions for nothing stay as they are: nothing says that they mean the same.
    """
    groups: dict[Any, list[Expression]] = {}
    for place, expression in enumerate(record.expressions):
        groups.setdefault(tuple(sorted(expression.targets)) or f"none {place}", []).append(expression)
    merged = [replace(group[0], text=merge_sentences(e.text for e in group).strip()) for group in groups.values()]
    return replace(record, expressions=tuple(merged))


def picture_of(records: Sequence[Record], index: int) -> str | None:
    """File name of the picture at ``index``, None where the dataset has no files."""
    known = getattr(records, "picture", None)
    return None if known is None else known(index)


def picture_keys(records: Sequence[Record]) -> list[str | None]:
    """Key of each record's picture (see ``RecordSequence.picture_keys``); None for datasets without files."""
    known = getattr(records, "picture_keys", None)
    return [None] * len(records) if known is None else known()


def image_id_of(records: Sequence[Record], index: int) -> int | str:
    """Id of the image at ``index``, without building the record where the dataset can tell."""
    known = getattr(records, "image_id", None)
    return records[index].image_id if known is None else known(index)


def image_ids(records: Sequence[Record]) -> Iterator[int | str]:
    """Ids of all images, in order."""
    return (image_id_of(records, index) for index in range(len(records)))


def pictures(records: Sequence[Record]) -> set[str]:
    """Keys of all pictures of a dataset on disk; empty for others."""
    return {key for key in picture_keys(records) if key is not None}


def without_pictures(records: Sequence[Record], excluded: set[str]) -> Sequence[Record]:
    """The records whose picture is not among the ``excluded`` keys.

    Raises:
        ValueError: nothing would be left.
    """
    if not excluded or not hasattr(records, "picture_keys"):
        return records
    keys = picture_keys(records)
    keep = array("q", (index for index, key in enumerate(keys) if key is None or key not in excluded))
    if not keep:
        raise ValueError("every picture of this dataset belongs to an evaluation set")
    return records if len(keep) == len(records) else RecordView(records, keep=keep)


class _Remembered(RecordView):
    """The first records that were asked for stay in memory."""

    def __init__(self, records: Sequence[Record], most: int) -> None:
        super().__init__(records)
        self._most = most
        self._kept: dict[int, Record] = {}

    def record(self, index: int) -> Record:
        """The record at ``index``, made once if there is room."""
        found = self._kept.get(index)
        if found is None:
            found = super().record(index)
            if len(self._kept) < self._most:
                self._kept[index] = found
        return found


def remembered(records: Sequence[Record], most: int) -> Sequence[Record]:
    """The same records, of which up to ``most`` are made only once: for data that are drawn when they are asked for."""
    return _Remembered(records, most) if most else records
