"""Small records and a small tokenizer for the tests of the data room."""

from collections.abc import Callable

import numpy as np
import pytest

from mvplm.prompts import PromptTokenizer, train_scenes_tokenizer
from mvplm.structures import Annotation, Expression, Record, Vocabulary
from mvplm.structures.masks import encode_mask

NAMES = ("star", "ring", "sky")


@pytest.fixture(scope="session")
def small_tokenizer() -> PromptTokenizer:
    """A byte-level tokenizer that knows the words of the small records."""
    return train_scenes_tokenizer(["star, ring, sky", "the left star", "A star and a ring."], vocab_size=600)


@pytest.fixture(scope="session")
def small_record() -> Callable[..., Record]:
    """Factory of 60 x 80 records: one thing with a mask on the left, stuff above, one expression for each case."""

    def make(image_id: int = 0, *, masks: bool = True) -> Record:
        star, sky = np.zeros((60, 80), bool), np.zeros((60, 80), bool)
        star[20:50, 10:30] = True
        sky[:10] = True
        codes = (encode_mask(star), encode_mask(sky)) if masks else (None, None)
        return Record(
            image_id=image_id,
            image=np.full((60, 80, 3), image_id % 250, np.uint8),
            size=(60, 80),
            vocabulary=Vocabulary(NAMES, (True, True, False)),
            annotations=(
                Annotation((10, 20, 30, 50), 0, codes[0], phrase="left star"),
                Annotation((0, 0, 80, 10), 2, codes[1], isthing=False),
            ),
            expressions=(Expression("the left star", (0,)), Expression("a green ring", ())),
            captions=("A star under the sky.",),
        )

    return make
