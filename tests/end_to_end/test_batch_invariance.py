"""A sample's answer does not depend on what stands beside it in the batch."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles.tiny import noise_picture
from torch import Tensor

from mvplm.data.mapper import SampleMapper
from mvplm.data.unify import UnifySettings
from mvplm.perceiver import Perceiver
from mvplm.structures import Annotation, Batch, Expression, PerceptionOutput, Record, Sample, Vocabulary
from mvplm.structures.masks import encode_mask

SIZES = ((60, 80), (80, 50), (64, 64), (33, 90))
NAMES = (
    ("star",),
    ("ring", "sky", "green circle", "a thing of many words indeed", "sand"),
    ("sky", "star"),
    ("ring", "star"),
)
TEXTS = ("it", "the green circle left of the second star from the top", "sand", "the left one")
OBJECTS = (1, 3, 0, 2)
WITHIN = 1e-4


def record(place: int) -> Record:
    """Records of different sizes, list lengths and numbers of targets, the third without any."""
    height, width = SIZES[place]
    annotations = []
    for number in range(OBJECTS[place]):
        mask = np.zeros((height, width), bool)
        mask[5 + 6 * number : 20 + 6 * number, 3 : 20 + 2 * number] = True
        box = (3.0, 5.0 + 6 * number, 20.0 + 2 * number, 20.0 + 6 * number)
        annotations.append(Annotation(box, number % len(NAMES[place]), encode_mask(mask)))
    names = NAMES[place]
    return Record(
        place,
        noise_picture(height, width, seed=place),
        (height, width),
        vocabulary=Vocabulary(names, tuple(name not in ("sky", "sand") for name in names)),
        annotations=tuple(annotations),
        expressions=(Expression(TEXTS[place], tuple(range(OBJECTS[place]))),),
    )


def samples(perceiver: Perceiver, task: str, *, open_prompt: bool) -> list[Sample]:
    mapper = SampleMapper(
        perceiver.tokenizer,
        image_size=perceiver.config.image.size,
        num_image_tokens=perceiver.config.num_image_tokens,
        task=task,
        training=False,
        settings=UnifySettings(open_prompt=open_prompt),
    )
    return [mapper(record(place)) for place in range(4)]


def columns(output: PerceptionOutput, row: int, names: int) -> Tensor:
    """Logits of the real names and, for words, of no object."""
    logits = output.final.logits[row]
    return logits if output.family == "sentence" else torch.cat([logits[:, :names], logits[:, -1:]], dim=1)


def mask_logits(output: PerceptionOutput, row: int) -> Tensor:
    return torch.einsum("qc,chw->qhw", output.final.mask_embeddings[row], output.mask_features[row])


def assert_rows_equal(batch: Batch, together: PerceptionOutput, alone: Sequence[PerceptionOutput]) -> None:
    for row, single in enumerate(alone):
        count = len(batch.names[row])
        for one, two in (
            (columns(together, row, count), columns(single, 0, count)),
            (together.final.boxes[row], single.final.boxes[0]),
            (mask_logits(together, row), mask_logits(single, 0)),
            (together.text_embeddings[row, :count], single.text_embeddings[0, :count]),
            (together.summary[row], single.summary[0]),
        ):
            assert bool(torch.isfinite(one).all())
            torch.testing.assert_close(one, two, rtol=0, atol=WITHIN)


# Golden G46.
@pytest.mark.parametrize("task", ["panoptic", "detection", "gres"])
def test_a_mixed_batch_equals_its_samples_one_by_one(perceiver: Perceiver, task: str):
    mixed = samples(perceiver, task, open_prompt=False)
    batch = perceiver.collate(mixed)
    assert task == "gres" or len({len(sample.names) for sample in mixed}) > 2
    assert task == "detection" or tuple(len(target) for target in batch.targets) == OBJECTS
    with torch.inference_mode():
        together = perceiver.model(batch)
        alone = [perceiver.model(perceiver.collate([sample])) for sample in mixed]
    assert_rows_equal(batch, together, alone)
    assert float((together.final.logits[0, :, 0] - together.final.logits[1, :, 0]).abs().max()) > 10 * WITHIN


# Golden G46.
@pytest.mark.parametrize("task", ["panoptic", "gres"])
def test_so_it_is_when_the_response_is_written_first(perceiver: Perceiver, task: str):
    mixed = samples(perceiver, task, open_prompt=True)
    batch = perceiver.collate(mixed)
    together = perceiver.model.perceive(batch, mode="caption", max_new_tokens=5)
    alone = [
        perceiver.model.perceive(perceiver.collate([sample]), mode="caption", max_new_tokens=5) for sample in mixed
    ]
    assert together.caption_ids == [single.caption_ids[0] for single in alone]
    assert together.forced == [single.forced[0] for single in alone]
    assert_rows_equal(batch, together.output, [single.output for single in alone])


@pytest.mark.parametrize("task", ["panoptic", "gres"])
def test_the_order_in_the_batch_is_kept(perceiver: Perceiver, task: str):
    mixed = samples(perceiver, task, open_prompt=False)
    turned = mixed[::-1]
    with torch.inference_mode():
        forth, back = perceiver.model(perceiver.collate(mixed)), perceiver.model(perceiver.collate(turned))
    torch.testing.assert_close(forth.final.boxes, back.final.boxes.flip(0), rtol=0, atol=WITHIN)


def test_a_shared_picture_is_encoded_once_and_changes_nothing(perceiver: Perceiver):
    alone = samples(perceiver, "gres", open_prompt=False)[:2]
    questions = [replace(alone[0], names=s.names, prompt=s.prompt) for s in alone]
    separate = [replace(s, image=s.image.clone()) for s in questions]
    together, apart = perceiver.collate(questions), perceiver.collate(separate)
    assert len(together.images) == 1 and together.image_rows == [0, 0] and apart.image_rows is None
    with torch.no_grad():
        first, second = perceiver.model(together), perceiver.model(apart)
    assert torch.allclose(first.logits, second.logits, atol=WITHIN)
    assert torch.allclose(first.boxes, second.boxes, atol=WITHIN)
