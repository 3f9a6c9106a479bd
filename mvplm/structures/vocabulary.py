"""A vocabulary: the names a model is asked for, which of them are things, and the ids a dataset gives them."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Vocabulary:
    """An ordered list of names.

    Attributes:
        names: K names as shown to the model.
        isthing: K flags; True for countable objects, False for stuff. Empty means: all things.
        dataset_ids: K integer ids of the dataset. Empty means 0..K-1.
    """

    names: tuple[str, ...]
    isthing: tuple[bool, ...] = ()
    dataset_ids: tuple[int, ...] = ()
    _index: dict[int, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.names)
        if not self.isthing:
            object.__setattr__(self, "isthing", (True,) * count)
        if not self.dataset_ids:
            object.__setattr__(self, "dataset_ids", tuple(range(count)))
        if len(self.isthing) != count or len(self.dataset_ids) != count:
            raise ValueError(
                f"a vocabulary of {count} names got {len(self.isthing)} isthing flags and "
                f"{len(self.dataset_ids)} dataset ids"
            )
        if len(set(self.dataset_ids)) != count:
            raise ValueError("dataset ids of a vocabulary must be unique")
        self._index.update({dataset_id: index for index, dataset_id in enumerate(self.dataset_ids)})

    def __len__(self) -> int:
        return len(self.names)

    def index_of(self, dataset_id: int) -> int:
        """Position of a dataset id in the list. Raises ValueError naming the id when it is unknown."""
        if dataset_id not in self._index:
            raise ValueError(f"unknown category id {dataset_id}; the vocabulary has {sorted(self.dataset_ids)[:20]}...")
        return self._index[dataset_id]

    def subset(self, indices: Sequence[int]) -> "Vocabulary":
        """The vocabulary of the given positions, in that order."""
        return Vocabulary(
            tuple(self.names[i] for i in indices),
            tuple(self.isthing[i] for i in indices),
            tuple(self.dataset_ids[i] for i in indices),
        )
