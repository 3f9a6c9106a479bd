"""From records to samples whose answers name boxes."""

import numpy as np
import pytest
import torch
from oracles.box_perceivers import tiny_box_perceiver

from mvplm.data.box_questions import BoxQuestionMaker, listed_names, named_objects
from mvplm.data.guided_boxes import BoxMix
from mvplm.data.guided_mapper import GuidedCollate, GuidedMapper
from mvplm.data.scenes import SceneDataset
from mvplm.models.qwen3vl_seg import parse_boxes
from mvplm.prompts.box_masks import MASK_TEXT, MASK_TOKEN
from mvplm.structures import Annotation, Expression, Record, Vocabulary
from mvplm.structures.masks import encode_mask


@pytest.fixture(scope="module")
def system():
    return tiny_box_perceiver().system


def record(count: int = 3) -> Record:
    """Cats and a dog, left to right in the wrong order; one more cat that is hidden."""
    annotations = []
    for place, left in enumerate((20, 4, 36)[:count]):
        mask = np.zeros((32, 48), bool)
        mask[8:20, left : left + 8] = True
        box = (left, 8, left + 8, 20)
        annotations.append(Annotation(box, label=place % 2, segmentation=encode_mask(mask)))
    hidden = Annotation((0, 0, 4, 4), label=0, segmentation=encode_mask(np.zeros((32, 48), bool)))
    return Record(
        7,
        np.zeros((32, 48, 3), np.uint8),
        (32, 48),
        vocabulary=Vocabulary(("cat", "dog", "fish")),
        annotations=(*annotations, hidden),
        expressions=(Expression("the left one", (1,)), Expression("both cats", (0, 2)), Expression("a fish", ())),
        captions=("A dog and cats.",),
    )


def mapper(system, form: str, *, boxes: BoxMix | None = None, **options) -> GuidedMapper:
    kept = {key: options.pop(key) for key in ("most_masks", "max_length", "tells_drawn", "written") if key in options}
    maker = BoxQuestionMaker(form, **options)
    return GuidedMapper(maker, system.tokenizer, task="gres", boxes=boxes or BoxMix(1, 0, 0), **kept)


def answer_of(system, turn) -> str:
    return system.tokenizer.decode(turn.answer)


def test_an_answer_names_the_objects_from_left_to_right(system):
    sample = mapper(system, "category", training=False)(record(), expression=None)
    (turn,) = sample.turns
    assert "cat, dog" in turn.question and turn.names == ("cat", "dog")
    parsed = parse_boxes(answer_of(system, turn), (32, 48))
    assert parsed.labels == ["cat", "cat", "dog"] and parsed.status == "ok"
    assert parsed.boxes[:, 0].tolist() == pytest.approx([20, 36, 4], abs=0.1)  # by name, then by place
    assert turn.answer.count(system.mask_id) == 3
    target = sample.target
    assert target.tokens.tolist() == [0, 1, 2]
    assert [mask.float().argmax().item() % 48 for mask in target.masks] == [20, 36, 4]
    assert target.boxes[0].tolist() == pytest.approx([0.416, 0.25, 0.584, 0.625])


@pytest.mark.parametrize(
    ("form", "place", "count"), [("description", 0, 1), ("general", 1, 2), ("general", 2, 0), ("reason", 1, 2)]
)
def test_expressions_have_their_targets(system, form, place, count):
    sample = mapper(system, form)(record(), expression=place)
    answer = answer_of(system, sample.turns[0])
    assert answer.count(MASK_TEXT.replace(" ", "")) == len(sample.target) == count
    assert (answer == "[]") == (count == 0)


def test_boxes_alone_and_plain_text_ask_for_no_masks(system):
    boxes = mapper(system, "rec")(record(), expression=0)
    assert len(boxes.target) == 0 and MASK_TOKEN not in answer_of(system, boxes.turns[0])
    said = mapper(system, "vqa")(record())
    assert answer_of(system, said.turns[0]) == "A dog and cats." and len(said.target) == 0


def test_several_questions_share_a_picture_and_count_their_mask_tokens(system):
    several = mapper(system, "general").several(record(), count=3)
    assert len(several) == 1 and len(several[0].turns) == 3
    ids = [token for turn in several[0].turns for token in turn.answer]
    assert several[0].target.tokens.tolist() == list(range(ids.count(system.mask_id)))


def test_answers_keep_all_boxes_where_few_masks_are_learned(system):
    sample = mapper(system, "category", training=False, most_masks=2)(record())
    assert sample.turns[0].answer.count(system.mask_id) == 3
    assert len(sample.target) == 2 and sample.target.tokens.tolist() == sorted(set(sample.target.tokens.tolist()))


def test_text_is_true_while_the_decoder_gets_shifted_boxes(system):
    shifted = BoxMix(0, 1, 0, amount=0.2)
    plain, moved = (mapper(system, "general", boxes=mix)(record(), expression=1) for mix in (None, shifted))
    assert plain.turns[0].answer == moved.turns[0].answer
    assert not torch.equal(plain.target.boxes, moved.target.boxes)
    told = mapper(system, "general", boxes=shifted, tells_drawn=True)(record(), expression=1)
    assert torch.equal(told.target.boxes, moved.target.boxes)
    said = parse_boxes(answer_of(system, told.turns[0]), (32, 48)).boxes / torch.tensor([48, 32, 48, 32])
    assert torch.allclose(said, told.target.boxes, atol=1.1e-3)


def test_written_boxes_of_the_picture_are_used(system):
    written = {"7": torch.tensor([[0.42, 0.26, 0.58, 0.62]])}
    sample = mapper(system, "description", boxes=BoxMix(0, 0, 1), written=written)
    sample = sample(Record(**{**vars(record()), "expressions": (Expression("it", (0,)),)}), expression=0)
    assert torch.equal(sample.target.boxes, written["7"])


def test_draws_depend_on_seed_epoch_and_index_alone(system):
    asked = mapper(system, "category", boxes=BoxMix(0, 1, 0))
    first, again, other = (asked(record(), epoch=epoch, index=3) for epoch in (0, 0, 1))
    assert first.turns == again.turns and torch.equal(first.target.boxes, again.target.boxes)
    same = first.turns == other.turns and torch.equal(first.target.boxes, other.target.boxes)
    assert not same


def test_names_that_are_not_there_are_answered_by_nothing(system):
    sample = mapper(system, "category", negatives=1.0)(record())
    assert sample.turns[0].names == ("fish",) and answer_of(system, sample.turns[0]) == "[]"


def test_what_does_not_fit_is_refused(system):
    with pytest.raises(ValueError, match="image 7: no question fits into 5 ids"):
        mapper(system, "general", max_length=5)(record())
    bare = Record(7, np.zeros((32, 48, 3), np.uint8), (32, 48))
    for form in ("category", "general"):
        with pytest.raises(ValueError, match="image 7"):
            mapper(system, form)(bare)
    boxed = Record(**{**vars(record()), "annotations": (Annotation((1, 1, 5, 5), label=0),), "expressions": ()})
    with pytest.raises(ValueError, match="needs the masks"):
        mapper(system, "category")(boxed)


def test_a_record_as_one_expression_for_all_it_names():
    view = named_objects(record())
    (expression,) = view.expressions
    assert expression.targets == (0, 1, 2, 3) and listed_names(view, expression) == ("cat", "dog")


def test_a_batch_of_drawn_scenes(system):
    scenes = SceneDataset("train", num=4, seed=3, role="referring")
    asked = mapper(system, "category", training=True)
    batch = GuidedCollate(system.collate(tiny_box_perceiver().config))([asked(scenes[i], index=i) for i in range(4)])
    assert len(batch) == 4 and batch.image_ids == [0, 1, 2, 3]
    for row, target in zip(batch.written.inputs["input_ids"], batch.targets, strict=True):
        assert (row == system.mask_id).sum() >= len(target)
