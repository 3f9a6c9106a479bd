"""Questions and answers of a data set as JSON records, for training elsewhere and for looking at them."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mvplm.data.mask_questions import QuestionMaker
from mvplm.prompts.mask_tasks import NAME_FORMS, wording_of
from mvplm.structures import Record
from mvplm.structures.masks import encode_mask, tight_box


@dataclass
class MaskRecords:
    """Iterates over the records of a data set, one per expression or list of names.

    Attributes:
        dataset, maker: what is asked, and how; the maker tells the answers.
        image: file name of a record's picture, as it is to stand in the output.
        split: of the data set. wordings, seed: see ``MaskTextMapper``.
        counts: written, vanished targets, and questions that were left out because nothing of them can be told.
        reason: why the first one was left out.
    """

    dataset: Sequence[Record]
    maker: QuestionMaker
    image: Callable[[Record], str]
    split: str = "train"
    wordings: int = 3
    seed: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    reason: str = ""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index in range(len(self.dataset)):
            record = self.dataset[index]
            fitting = self.maker.places(record)
            whole = self.maker.form in NAME_FORMS or (self.maker.form == "vqa" and not fitting)
            for expression in [None] if whole else fitting:
                yield from self._one(record, index, expression=expression)

    def _one(self, record: Record, index: int, *, expression: int | None) -> Iterator[dict[str, Any]]:
        name = f"{record.source}-{record.image_id}-{expression}-{self.maker.form}"
        rng = random.Random(f"{self.seed}-0-{index}-{expression}")
        try:
            made = self.maker(record, rng=rng, expression=expression, wording=wording_of(name, self.wordings))
        except ValueError as error:
            self.counts["left_out"] += 1
            self.reason = self.reason or str(error)
            return
        self.counts["written"] += 1
        self.counts["vanished"] += made.vanished
        image = self.image(record)
        instances = []
        for label, mask in zip(made.labels, () if made.masks is None else made.masks, strict=True):
            box = tight_box(mask)
            instances.append(
                {"label": label, "box_px": None if box is None else box.tolist(), "rle": encode_mask(mask)}
            )
        yield {
            "id": name,
            "image": image,
            "height": record.size[0],
            "width": record.size[1],
            "task": self.maker.form,
            "profile": f"{self.maker.codec.name}-{self.maker.codec.grid[0]}",
            "messages": [
                {"role": "user", "content": made.question},
                {"role": "assistant", "content": made.answer},
            ],
            "instances": instances,
            "source": record.source,
            "split": self.split,
            "image_key": hashlib.sha256(image.encode("utf-8")).hexdigest()[:16],
        }
