"""Names of a dataset as detectron2's metadata numbers them, and as a vocabulary lists them.

detectron2 counts things and stuff apart (contiguous ids of ``thing_classes`` and of ``stuff_classes``), or together
when every thing stands among ``stuff_classes`` too. A vocabulary is one list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mvplm.structures import Vocabulary

_ALL_THINGS = "things"
"""The stuff class that panoptic FPN data sets give to all pixels of things."""
_NO_ID = -1


@dataclass(frozen=True)
class DatasetNames:
    """K names and their places in detectron2's formats.

    Attributes:
        vocabulary: names in prompt order, which of them are things, and the dataset's ids.
        thing_ids: K contiguous ids of instances and of segments of things; -1 for a name that has none.
        stuff_ids: K channels in ``sem_seg`` and contiguous ids of segments of stuff; -1 for a name that has none.
        channels: number of channels of ``sem_seg``; 0 when the dataset knows things only.
        ignore_label: value of ``sem_seg`` ground truth that means nothing.

    Raises:
        ValueError: the ids are not as many as the names.
    """

    vocabulary: Vocabulary
    thing_ids: tuple[int, ...]
    stuff_ids: tuple[int, ...]
    channels: int
    ignore_label: int = 255

    def __post_init__(self) -> None:
        count = len(self.vocabulary)
        if len(self.thing_ids) != count or len(self.stuff_ids) != count:
            raise ValueError(
                f"{count} names need as many ids, got {len(self.thing_ids)} (things) and {len(self.stuff_ids)} (stuff)"
            )

    @classmethod
    def of(cls, names: Sequence[str] | Vocabulary, isthing: Sequence[bool] = ()) -> "DatasetNames":
        """Names that are numbered by their place in the list, things and stuff alike; all things by default."""
        vocabulary = names if isinstance(names, Vocabulary) else Vocabulary(tuple(names), tuple(isthing))
        places = tuple(range(len(vocabulary)))
        return cls(vocabulary, places, places, channels=len(places))

    @classmethod
    def from_metadata(cls, metadata: Any) -> "DatasetNames":
        """The names of ``MetadataCatalog.get(name)``.

        Three kinds of metadata are understood: things only; stuff only (semantic segmentation, every name counts as
        stuff); and both, numbered apart as for Panoptic FPN or together as for Mask2Former.

        Raises:
            ValueError: no classes at all, a name in both lists by accident, or lists that are equal without
                ``thing_dataset_id_to_contiguous_id`` to tell which names are things.
        """
        things = list(metadata.get("thing_classes", None) or ())
        stuff = list(metadata.get("stuff_classes", None) or ())
        where = f"dataset {metadata.get('name', None)!r}"
        if not things and not stuff:
            raise ValueError(f"the metadata of {where} has neither thing_classes nor stuff_classes")
        thing_map = metadata.get("thing_dataset_id_to_contiguous_id", None) or {}
        stuff_map = metadata.get("stuff_dataset_id_to_contiguous_id", None) or {}
        if things and set(things) <= set(stuff):
            entries = _counted_together(things, stuff, known=set(thing_map.values()), where=where)
        else:
            entries = _counted_apart(things, stuff, where=where)
        return cls(
            Vocabulary(
                tuple(entry.name for entry in entries),
                tuple(entry.isthing for entry in entries),
                _dataset_ids(entries, thing_map=thing_map, stuff_map=stuff_map),
            ),
            tuple(entry.thing_id for entry in entries),
            tuple(entry.stuff_id for entry in entries),
            channels=len(stuff),
            ignore_label=int(metadata.get("ignore_label", 255)),
        )

    def things(self) -> "DatasetNames":
        """The names of things alone, with the ids they have."""
        kept = [place for place, isthing in enumerate(self.vocabulary.isthing) if isthing]
        return DatasetNames(
            self.vocabulary.subset(kept),
            tuple(self.thing_ids[place] for place in kept),
            tuple(self.stuff_ids[place] for place in kept),
            channels=self.channels,
            ignore_label=self.ignore_label,
        )

    @property
    def by_class(self) -> dict[int, int]:
        """Place in the vocabulary of each class of instances; where there are no things, instances count stuff."""
        ids = self.thing_ids if any(number != _NO_ID for number in self.thing_ids) else self.stuff_ids
        return {number: place for place, number in enumerate(ids) if number != _NO_ID}

    @property
    def by_channel(self) -> dict[int, int]:
        """Place in the vocabulary of each value of ``sem_seg``; a value that several names share is left out."""
        return {
            number: place
            for place, number in enumerate(self.stuff_ids)
            if number != _NO_ID and self.stuff_ids.count(number) == 1
        }


def metadata_of(vocabulary: Vocabulary) -> dict[str, Any]:
    """What ``MetadataCatalog.get(name).set(**metadata_of(vocabulary))`` should know about the names.

    With things and stuff among the names, both lists hold all of them and one numbering serves both: the evaluators and
    the visualiser of detectron2 can follow that, and :meth:`DatasetNames.from_metadata` gives the vocabulary back.
    """
    places = {number: place for place, number in enumerate(vocabulary.dataset_ids)}
    flags = zip(vocabulary.dataset_ids, vocabulary.isthing, strict=True)
    things = {number: places[number] for number, isthing in flags if isthing}
    known: dict[str, Any] = {}
    if things:
        known |= {"thing_classes": list(vocabulary.names), "thing_dataset_id_to_contiguous_id": things}
    if len(things) < len(vocabulary):
        known |= {"stuff_classes": list(vocabulary.names), "stuff_dataset_id_to_contiguous_id": places}
    return known


@dataclass(frozen=True)
class _Entry:
    name: str
    isthing: bool
    thing_id: int
    stuff_id: int


def _counted_together(things: list[str], stuff: list[str], *, known: set[int], where: str) -> list[_Entry]:
    """All names stand in ``stuff``; ``known`` are the contiguous ids of things, where the metadata tells them."""
    if things == stuff and not known:
        raise ValueError(
            f"{where} lists the same names as things and as stuff; its metadata needs "
            "thing_dataset_id_to_contiguous_id to tell which are things"
        )
    counted = known or {stuff.index(name) for name in things}
    return [_Entry(name, place in counted, place, place) for place, name in enumerate(stuff)]


def _counted_apart(things: list[str], stuff: list[str], *, where: str) -> list[_Entry]:
    """Things first, then stuff; a stuff class "things" is no name but the channel of all things."""
    if both := sorted(set(things) & set(stuff)):
        raise ValueError(f"{where} has names that are things and stuff: {', '.join(both)}")
    shared = stuff.index(_ALL_THINGS) if things and _ALL_THINGS in stuff else _NO_ID
    entries = [_Entry(name, True, place, shared) for place, name in enumerate(things)]
    return entries + [_Entry(name, False, _NO_ID, place) for place, name in enumerate(stuff) if place != shared]


def _dataset_ids(
    entries: Sequence[_Entry], *, thing_map: Mapping[int, int], stuff_map: Mapping[int, int]
) -> tuple[int, ...]:
    """The dataset's own id of every name, or nothing where the maps do not tell all of them apart."""
    of_thing = {contiguous: number for number, contiguous in thing_map.items()}
    of_stuff = {contiguous: number for number, contiguous in stuff_map.items()}
    found = [of_thing.get(e.thing_id) if e.isthing else of_stuff.get(e.stuff_id) for e in entries]
    ids = tuple(number for number in found if number is not None)
    return ids if len(ids) == len(found) == len(set(ids)) else ()
