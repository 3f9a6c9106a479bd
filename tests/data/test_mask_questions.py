"""Records become questions with answers that the codec reads back."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from oracles.small_vlms import text_mask_parts

from mvplm.data.catalog import get_dataset
from mvplm.data.mask_mapper import MaskTextMapper
from mvplm.data.mask_questions import QuestionMaker, drawn_names, visible
from mvplm.prompts.mask_tasks import BOX_FORMS, FORMS, TEMPLATES, mask_question, wording_of
from mvplm.structures import Annotation, Expression, Record, Vocabulary
from mvplm.structures.masks import decode_mask, encode_mask
from mvplm.textmask import get_codec

CODEC = get_codec("bsd_bricks", grid=16)


def mapper(form: str, *, codec=CODEC, training: bool = True, **options) -> MaskTextMapper:
    tokenizer = text_mask_parts("qwen3_vl").model.tokenizer
    maker = QuestionMaker(codec, form, training=training, answered=True)
    return MaskTextMapper(maker, tokenizer, task="gres", **options)


def record(*boxes: tuple[int, int, int, int], expressions=(), **options) -> Record:
    """A picture 32 x 48 with one rectangle per box."""
    annotations = []
    for place, (x1, y1, x2, y2) in enumerate(boxes):
        mask = np.zeros((32, 48), bool)
        mask[y1:y2, x1:x2] = True
        annotations.append(Annotation((x1, y1, x2, y2), place % 2, segmentation=encode_mask(mask)))
    return Record(
        7,
        np.full((32, 48, 3), 90, np.uint8),
        (32, 48),
        vocabulary=Vocabulary(("cat", "dog", "sky", "sea")),
        annotations=tuple(annotations),
        expressions=tuple(Expression(text, targets) for text, targets in expressions),
        **options,
    )


TWO = record((0, 0, 12, 10), (24, 8, 48, 32), expressions=[("both pets", (0, 1)), ("the cat", (0,)), ("the cow", ())])


def test_every_form_has_wordings_and_fills_its_slot():
    for form in FORMS:
        for wording in range(3):
            asked = mask_question(form, text="{classes} or {text}?", classes=["a", "b"], wording=wording)
            assert "{classes} or {text}?" in asked or "a; b" in asked or form == "semantic.all"
    assert [len(TEMPLATES[form]) for form in FORMS] == [3] * 11 + [1]
    with pytest.raises(ValueError, match=r"did you mean 'refer.single'"):
        mask_question("refer.singel", text="a")
    with pytest.raises(ValueError, match="needs a text"):
        mask_question("ground", text=" ")


def test_wordings_are_spread_and_fixed():
    counts = Counter(wording_of(f"sample-{place}") for place in range(3000))
    assert all(900 < counts[wording] < 1100 for wording in range(3))
    assert [wording_of("coco-1"), wording_of("coco-2")] == [wording_of("coco-1"), wording_of("coco-2")]


@pytest.mark.parametrize("name", ["bsd_bricks", "bsd", "canvas", "isd_rrle", "isd_irle", "isd_full"])
@pytest.mark.parametrize("form", FORMS)
def test_answers_are_read_back_as_they_were_meant(form: str, name: str):
    if form == "vqa" or (form in BOX_FORMS and name.startswith("isd")):
        return
    codec = get_codec(name, grid=16)
    made = mapper(form, codec=codec)
    sample = made(TWO, index=3)
    turn = sample.turns[0]
    told = made.ask(TWO, rng=random.Random("0-0-3"), expression=1 if made.maker.places(TWO) else None)
    result = codec.decode_ids(turn.answer, (32, 48), tokenizer=made.tokenizer)
    if form == "ground":
        assert result.box_only_labels == ["the cat"]
        return
    if form == "detect":
        present = {TWO.vocabulary.names[annotation.label] for annotation in TWO.annotations}
        assert result.box_only_labels
        assert set(result.box_only_labels) <= set(turn.names) & present
        return
    assert result.status in ("ok", "no_target")
    assert codec.decode(told.answer, (32, 48)).status == "ok"
    if form == "refer.single" and not name.startswith("isd"):
        again = codec.decode(told.answer, (32, 48))
        truth = decode_mask(TWO.annotations[0].segmentation, (32, 48))
        assert (again.masks[0] & truth).sum() / (again.masks[0] | truth).sum() > 0.8
        assert again.labels == ["the cat"]


def test_forms_take_the_expressions_that_fit():
    assert [mapper(form).maker.places(TWO) for form in ("refer.general", "refer.single", "ground", "vqa")] == [
        [0, 1, 2],
        [0, 1],
        [1],
        [],
    ]


def test_no_target_several_targets_and_region_ids():
    rng = random.Random(0)
    general, reason = mapper("refer.general"), mapper("reason.multi")
    assert general.ask(TWO, rng=rng, expression=2).answer == "No object in the image matches the request."
    both = general.ask(TWO, rng=rng, expression=0).answer
    assert both.count("<ref>both pets</ref>") == 2
    assert "<ref>roi0</ref>" in (numbered := reason.ask(TWO, rng=rng, expression=0).answer)
    assert "<ref>roi1</ref>" in numbered
    assert "<ref>roi2" not in numbered


def test_partial_and_conditional_lists_follow_the_scheme():
    names = [f"n{place}" for place in range(10)]
    rng = random.Random(1)
    lists = [drawn_names(names, names[:3], form="semantic.conditional", rng=rng) for _ in range(2000)]
    with_others = np.mean(["others" in asked for asked in lists])
    with_absent = np.mean([any(name in names[3:] for name in asked) for asked in lists])
    assert with_others == pytest.approx(0.5, abs=0.05)
    assert with_absent == pytest.approx(0.9, abs=0.03)
    assert all(any(name in names[:3] for name in asked) for asked in lists)
    assert all(len(set(asked)) == len(asked) for asked in lists)
    assert drawn_names(names, [], form="semantic.partial", rng=rng)


def test_classes_not_asked_for_are_left_out_of_the_answer():
    seen = {mapper("semantic.partial")(TWO, index=place).turns[0].names for place in range(20)}
    for place in range(20):
        made = mapper("semantic.partial").ask(TWO, rng=random.Random(place), expression=None)
        assert set(made.labels) <= set(made.names)
    assert len(seen) > 3


def test_targets_that_vanish_on_the_grid_are_counted_and_left_out():
    codec = get_codec("isd_rrle", grid=4, down="nearest")
    tiny = record((0, 0, 1, 1), (24, 8, 48, 32), expressions=[("dot", (0,)), ("both", (0, 1))])
    made = mapper("refer.general", codec=codec)
    sample = made.several(tiny, count=2)[0]
    assert [turn.names for turn in sample.turns] == [("both",)]
    assert made.vanished == 1
    with pytest.raises(ValueError, match="nothing of what 'Segment every object described as: dot"):
        mapper("refer.general", codec=codec, wordings=1)(tiny, expression=0)
    masks = np.stack([decode_mask(a.segmentation, (32, 48)) for a in tiny.annotations])
    assert visible(masks, codec).tolist() == [False, True]
    assert visible(masks, get_codec("isd_rrle", grid=4)).tolist() == [True, True]


def test_several_questions_share_a_picture_and_keep_to_the_length():
    made = mapper("refer.general")
    sample = made.several(TWO, count=5)[0]
    assert sorted(turn.names[0] for turn in sample.turns) == ["both pets", "the cat", "the cow"]
    short = mapper("refer.general", max_length=120).several(TWO, count=5)[0]
    assert 0 < len(short.turns) < 3


def test_questions_apart_have_samples_of_their_own_about_one_picture():
    samples = mapper("refer.general", apart=True, max_length=120).several(TWO, count=5)
    assert sorted(sample.turns[0].names[0] for sample in samples) == ["both pets", "the cat", "the cow"]
    assert all(sample.image is samples[0].image and len(sample.turns) == 1 for sample in samples)


def test_evaluation_asks_the_first_wording_and_tells_nothing():
    tokenizer = text_mask_parts("qwen3_vl").model.tokenizer
    maker = QuestionMaker(CODEC, "semantic.partial", training=False, answered=False)
    sample = MaskTextMapper(maker, tokenizer, task="instance")(replace(TWO, annotations=(), expressions=()))
    assert sample.turns[0].answer is None
    assert sample.turns[0].question.startswith("Segment only these categories and mark everything else as others: cat;")


def test_scenes_give_answers_of_every_kind():
    dataset = get_dataset("scenes/train", role="referring", num=4, seed=2)
    statuses = set()
    for place in range(4):
        for turn in mapper("refer.general").several(dataset[place], count=9)[0].turns:
            statuses.add(CODEC.decode_ids(turn.answer, (192, 192), tokenizer=mapper("ground").tokenizer).status)
    assert statuses == {"ok", "no_target"}


def test_boxes_need_a_codec_that_writes_them():
    with pytest.raises(ValueError, match="ground asks for boxes"):
        QuestionMaker(get_codec("isd_rrle"), "ground", training=True, answered=True)


@pytest.mark.parametrize("told", [True, False])
def test_the_boxes_of_tokens_are_told_where_they_are_asked_for(told: bool):
    turn = mapper("refer.general", hints=("shown", "boxes") if told else ("shown",))(TWO, expression=1).turns[0]
    assert (turn.about is not None) == told
    if told:
        assert turn.about.shape == (len(turn.answer), 4)
        assert turn.about[0, :2].tolist() == [0, 0], "the cat stands in the corner"
