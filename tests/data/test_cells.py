"""Every visual token gets the object that covers its cell."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles.small_vlms import picture, text_mask_parts

from mvplm.data.cells import CellCollate, CellMapper, Forms, Ladder
from mvplm.data.token_grids import TokenGrids
from mvplm.structures import Annotation, Record, Vocabulary
from mvplm.structures.cells import CellSample
from mvplm.structures.masks import encode_mask
from mvplm.textmask import get_codec

FORMS = Forms(Ladder(get_codec("bsd_bricks", grid=4)))
PARTS = {family: text_mask_parts(family) for family in ("qwen3_vl", "llava")}


def collate(family: str = "qwen3_vl") -> CellCollate:
    parts = PARTS[family]
    return CellCollate(parts.collate.pictures, parts.model.tokenizer, grids=TokenGrids.of(parts.model.model.config))


def sample(height: int, width: int, *objects: tuple[int, int, int, int]) -> CellSample:
    """Rectangles, the first with name (5,), the second with (6, 7) and so on."""
    masks = torch.zeros(len(objects), height, width, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, objects, strict=True):
        mask[y1:y2, x1:x2] = True
    boxes = torch.tensor(objects).reshape(-1, 4) / torch.tensor([width, height, width, height])
    names = tuple(tuple(range(5 + place, 6 + 2 * place)) for place in range(len(objects)))
    steps = 10 * torch.arange(len(objects))[:, None].repeat(1, 4) + torch.arange(1, 5)
    return CellSample(picture(height, width), 1, masks, boxes, steps, None, names)


def test_a_token_shows_what_covers_most_of_its_cell():
    # Visual tokens are 16 pixels a side: two rows of three.
    batch = collate()([sample(32, 48, (0, 0, 16, 16), (10, 0, 30, 32))])
    assert batch.shown.tolist() == [True, True, False, True, True, False]
    rows = [[i for i in row if i >= 0] for row in batch.words.tolist()]
    nothing = PARTS["qwen3_vl"].model.tokenizer.encode(" background")
    assert rows == [[5], [6, 7], nothing, [6, 7], [6, 7], nothing]
    assert batch.boxes[1].tolist() == pytest.approx([10 / 48, 0, 30 / 48, 1])
    assert batch.boxes[2].tolist() == [0, 0, 0, 0]
    assert batch.steps.tolist()[:3] == [[1, 2, 3, 4], [11, 12, 13, 14], [0, 0, 0, 0]]
    assert {"pixel_values", "image_grid_thw"} == set(batch.inputs)


def test_quarters_are_those_that_the_shown_object_covers():
    batch = collate()([sample(32, 48, (0, 0, 16, 9), (20, 8, 40, 30)), sample(16, 16)])
    cells = batch.quarters[:6].reshape(2, 3, 2, 2).transpose(1, 2).reshape(4, 6).int().tolist()
    assert cells == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 0]]
    assert batch.quarters[6:].tolist() == [[False] * 4]


def test_an_object_must_cover_an_eighth_of_a_cell():
    small = collate()([sample(16, 16, (0, 0, 4, 7)), sample(16, 16, (0, 0, 4, 9))])
    assert small.shown.tolist() == [False, True]


def test_pictures_of_several_sizes_and_without_objects_follow_each_other():
    batch = collate()([sample(32, 48), sample(16, 32, (16, 0, 32, 16))])
    assert batch.shown.tolist() == [False] * 7 + [True]
    assert batch.boxes[7].tolist() == [0.5, 0, 1, 1]
    assert len(batch) == 2 and batch.to("cpu").shown is not None


def test_square_pictures_need_no_grid():
    batch = collate("llava")([sample(32, 32, (0, 0, 16, 16))])
    assert batch.shown.reshape(4, 4).tolist() == [[True, True, False, False]] * 2 + [[False] * 4] * 2


def test_tokens_that_form_no_grid_are_named():
    parts = PARTS["qwen3_vl"]
    grids = TokenGrids(parts.model.model.config.image_token_id, 1)
    wrong = CellCollate(parts.collate.pictures, parts.model.tokenizer, grids=grids)
    with pytest.raises(ValueError, match="visual tokens form no grid: there are \\[6\\]"):
        wrong([sample(32, 48)])


def record(**changes) -> Record:
    mask = np.zeros((8, 16), bool)
    mask[2:6, 4:12] = True
    annotations = (
        Annotation((4, 2, 12, 6), 1, segmentation=encode_mask(mask)),
        Annotation((0, 0, 16, 8), 0, segmentation=encode_mask(~mask), iscrowd=True),
    )
    fields = {"vocabulary": Vocabulary(("cat", "dog")), "annotations": annotations} | changes
    return Record(3, np.zeros((8, 16, 3), np.uint8), (8, 16), **fields)


def test_records_become_samples():
    tokenizer = PARTS["qwen3_vl"].model.tokenizer
    made = CellMapper(tokenizer, forms=FORMS)(record(), epoch=1, index=2)
    assert made.names == (tuple(tokenizer.encode(" dog")),)
    assert made.boxes.tolist() == [[0.25, 0.25, 0.75, 0.75]]
    assert made.steps.tolist() == [[1, 1, 3, 3]]
    assert made.masks.shape == (1, 8, 16) and int(made.masks.sum()) == 32
    assert made.image.shape == (3, 8, 16)


def test_half_of_the_samples_are_mirrored_with_all_that_they_tell():
    mapper = CellMapper(PARTS["qwen3_vl"].model.tokenizer, forms=FORMS)
    pixels = np.arange(8 * 16 * 3, dtype=np.uint8).reshape(8, 16, 3)
    mask = np.zeros((8, 16), bool)
    mask[2:6, :4] = True
    given = replace(record(), image=pixels, annotations=(Annotation((0, 2, 4, 6), 1, segmentation=encode_mask(mask)),))
    samples = [mapper(given, epoch=epoch, index=3) for epoch in range(12)]
    plain = torch.from_numpy(pixels).permute(2, 0, 1)
    mirrored = [torch.equal(made.image, plain.flip(2)) for made in samples]
    assert 2 <= sum(mirrored) <= 10
    for made, turned in zip(samples, mirrored, strict=True):
        assert torch.equal(made.image, plain.flip(2) if turned else plain)
        assert torch.equal(made.masks[0], torch.from_numpy(mask[:, ::-1].copy() if turned else mask))
        assert made.boxes.tolist() == [[0.75, 0.25, 1, 0.75] if turned else [0, 0.25, 0.25, 0.75]]
        assert made.steps.tolist() == [[3, 1, 4, 3] if turned else [0, 1, 1, 3]]
    assert torch.equal(mapper(given, epoch=5, index=3).image, samples[5].image)


def test_records_without_names_or_masks_are_named():
    mapper = CellMapper(PARTS["qwen3_vl"].model.tokenizer, forms=FORMS)
    with pytest.raises(ValueError, match="image 3: cells need a list of names"):
        mapper(record(vocabulary=None))
    with pytest.raises(ValueError, match="image 3: cells need the masks of all objects"):
        mapper(record(annotations=(Annotation((0, 0, 4, 4), 0),)))


@pytest.mark.parametrize(
    ("name", "grid", "steps"), [("bsd_bricks", 8, 9), ("bsd", 16, 17), ("canvas", 4, 11), ("isd_rrle", 16, 11)]
)
def test_steps_are_what_answers_spell(name: str, grid: int, steps: int):
    ladder, masks = Ladder(get_codec(name, grid=grid)), np.zeros((2, 48, 64), bool)
    masks[0, 11:40, 30:64] = masks[1, :48, :5] = True
    found = ladder(masks)
    assert ladder.steps == steps and found.dtype == torch.int64 and int(found.max()) < steps
    if name.startswith("bsd"):
        for mask, box in zip(masks, found.tolist(), strict=True):
            assert f"[[{' '.join(map(str, box))}]]" in ladder.codec.encode(mask[None], ["it"])
    else:
        assert found.tolist() == [[4, 2, 10, 8], [0, 0, 0, 10]]


def test_pictures_without_objects_have_no_steps():
    made = CellMapper(PARTS["qwen3_vl"].model.tokenizer, forms=FORMS)(record(annotations=()))
    assert made.steps.shape == (0, 4) and made.steps.dtype == torch.int64
