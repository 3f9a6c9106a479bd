"""Unification: names, negatives, order, budget, expressions and captions of training and evaluation samples."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from mvplm.data.unify import NameSampling, UnifySettings, expression_indices, unify
from mvplm.data.unify.phrases import conflicts
from mvplm.structures import Annotation, Expression, Record, Vocabulary

BOX = (0.0, 0.0, 4.0, 4.0)
SETTINGS = UnifySettings()


def things(label, **extra):
    return Annotation(BOX, label, id=label, **extra)


def record(names=6, stuff=2, annotations=None, **extra):
    vocabulary = Vocabulary(tuple(f"name {i}" for i in range(names)), tuple(i < names - stuff for i in range(names)))
    if annotations is None:
        annotations = (things(1), things(3), things(1), things(names - 1, isthing=False), things(2, iscrowd=True))
    return Record(
        7, "none.jpg", (8, 8), vocabulary=vocabulary, annotations=annotations, captions=("one", "two"), **extra
    )


def run(sample, task, *, training=True, seed=0, settings=SETTINGS, **extra):
    return unify(sample, task=task, rng=random.Random(seed), settings=settings, training=training, **extra)


def check_labels(unified, sample):
    """Every label leads to the name of the annotation, wherever the name stands in the prompt."""
    for annotation, label in unified.annotations:
        assert unified.names[label] == sample.vocabulary.names[annotation.label]


# Golden G22.
@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance", "detection"])
@pytest.mark.parametrize("seed", range(8))
def test_labels_follow_the_drawn_list(task, seed):
    sample = record()
    unified = run(sample, task, seed=seed)
    check_labels(unified, sample)
    assert len(unified.annotations) == (4 if task in ("panoptic", "semantic") else 3)
    assert unified.use_stuff == (task in ("panoptic", "semantic"))
    assert sorted(unified.conversation.order) == list(range(len(unified.names)))
    assert unified.isthing == tuple(int(name.split()[1]) < 4 for name in unified.names)
    assert unified.conversation.response in ("one.", "two.")
    assert "name 2" not in unified.names


def test_order_is_fresh_and_reproducible():
    orders = {run(record(), "panoptic", seed=seed).conversation.order for seed in range(20)}
    assert len(orders) > 10
    assert run(record(), "panoptic", seed=3) == run(record(), "panoptic", seed=3)
    straight = run(record(), "panoptic", settings=UnifySettings(names=NameSampling(shuffle=False)))
    assert straight.conversation.order == tuple(range(len(straight.names)))


@pytest.mark.parametrize(("open_prompt", "response"), [(True, None), (False, "")])
def test_evaluation_keeps_the_full_list_in_order(open_prompt, response):
    sample = record()
    unified = run(sample, "panoptic", training=False, settings=UnifySettings(open_prompt=open_prompt))
    assert unified.names == sample.vocabulary.names
    assert unified.conversation.order == tuple(range(6))
    assert unified.conversation.response == response
    check_labels(unified, sample)
    assert run(sample, "instance", training=False).names == sample.vocabulary.names[:4]


def test_small_vocabularies_are_whole_half_the_time_and_thinned_uniformly_otherwise():
    sample = record(names=100, stuff=0, annotations=(things(0), things(1)))
    sizes = [len(run(sample, "detection", seed=seed).names) for seed in range(600)]
    whole = sum(size == 100 for size in sizes)
    thinned = [size for size in sizes if size < 100]
    assert 250 < whole < 350
    assert min(thinned) < 12 and max(thinned) > 90 and 44 < sum(thinned) / len(thinned) < 58


def test_large_vocabularies_are_sampled_to_a_size_and_redrawn():
    sample = record(names=400, stuff=0, annotations=(things(5), things(399)))
    drawn = [run(sample, "detection", seed=seed) for seed in range(200)]
    sizes = {len(unified.names) for unified in drawn}
    assert min(sizes) == 80 and max(sizes) == 120
    assert all({"name 5", "name 399"} <= set(unified.names) for unified in drawn)
    assert len({frozenset(unified.names) for unified in drawn}) == 200
    seen = {name for unified in drawn for name in unified.names}
    assert len(seen) == 400


def test_limits_are_settings_not_constants():
    small = UnifySettings(names=NameSampling(full_limit=3, sizes=(3, 4)))
    sizes = {len(run(record(), "panoptic", settings=small, seed=seed).names) for seed in range(40)}
    assert sizes == {3, 4}
    crowded = UnifySettings(names=NameSampling(full_limit=3, sizes=(1, 1)))
    assert {name for name in run(record(), "panoptic", settings=crowded).names} == {"name 1", "name 3", "name 5"}


def test_absent_names_of_non_exhaustive_records_are_no_negatives():
    sample = record(exhaustive=False)
    assert {run(sample, "panoptic", seed=seed).names for seed in range(20)} == {("name 1", "name 3", "name 5")}
    with pytest.raises(ValueError, match="image 7: no name to ask for in task 'panoptic'"):
        run(replace(sample, annotations=()), "panoptic")


def test_an_empty_image_still_asks_for_something():
    lists = [run(record(annotations=()), "panoptic", seed=seed) for seed in range(60)]
    assert all(unified.names and not unified.annotations for unified in lists)
    assert min(len(unified.names) for unified in lists) == 1


def test_existing_objects_name_what_is_there():
    settings = UnifySettings(response_kind="existing_objects")
    responses = {run(record(), "panoptic", settings=settings, seed=seed).conversation.response for seed in range(40)}
    assert {frozenset(text[len("There exists ") : -1].split(", ")) for text in responses} == {
        frozenset({"name 1", "name 3", "name 5"})
    }
    assert len(responses) > 1
    assert run(record(annotations=()), "panoptic", settings=settings).conversation.response == "There exists nothing."


def count_words(text):
    return len(text.split())


def test_budget_drops_negatives_first():
    settings = UnifySettings(names=NameSampling(full_probability=1.0, max_tokens=12))
    lists = [run(record(), "panoptic", seed=s, settings=settings, count_tokens=count_words) for s in range(30)]
    assert {len(unified.names) for unified in lists} == {4}
    assert all({"name 1", "name 3", "name 5"} <= set(unified.names) for unified in lists)
    assert {name for unified in lists for name in unified.names} == {"name 0", "name 1", "name 3", "name 4", "name 5"}


def visits(sample, budget, *, count=300, **extra):
    settings = UnifySettings(names=NameSampling(full_probability=1.0, max_tokens=budget), **extra)
    return [run(sample, "panoptic", seed=s, settings=settings, count_tokens=count_words) for s in range(count)]


def test_names_of_objects_over_the_budget_are_asked_for_in_parts():
    """Seven names of 3 tokens and lists of 9: every visit holds three of them or one, with exactly their objects."""
    sample = record(names=9, annotations=tuple(things(label) for label in (0, 1, 2, 3, 4, 5, 6, 0)))
    lists = visits(sample, 9)
    asked = Counter()
    for unified in lists:
        check_labels(unified, sample)
        present = [name for label, name in enumerate(unified.names) if label in dict(unified.annotations).values()]
        assert len(unified.names) == 3 and len(present) in (3, 1) and unified.waiting == 7 - len(present)
        of_them = [a for a in sample.annotations if sample.vocabulary.names[a.label] in present]
        assert sorted(a.id for a, _ in unified.annotations) == sorted(a.id for a in of_them)
        asked.update(present)
    assert set(asked) == {f"name {i}" for i in range(7)}
    assert all(abs(count - 100) < 35 for count in asked.values()), "of 300 visits every name has a third"
    assert any({"name 7", "name 8"} <= set(unified.names) for unified in lists), "negatives fill a short part"


@pytest.mark.parametrize("budget", range(3, 12))
def test_no_list_is_empty_or_over_the_budget_and_none_waits_without_need(budget):
    for unified in visits(record(), budget, count=40):
        assert 1 <= len(unified.names) <= budget // 3 and unified.annotations
        assert (unified.waiting > 0) == (budget < 9)


def test_the_response_of_a_part_names_its_objects_only():
    for unified in visits(record(), 6, count=30, response_kind="existing_objects"):
        present = {unified.names[label] for _, label in unified.annotations}
        assert set(unified.conversation.response[len("There exists ") : -1].split(", ")) == present


def test_names_that_fit_nowhere_are_an_error():
    with pytest.raises(ValueError, match="image 7: the name 'name .' takes 3 tokens, more than the 2 .*max_tokens"):
        visits(record(), 2, count=1)
    with pytest.raises(ValueError, match="image 7: no name fits into 2 tokens"):
        visits(record(annotations=()), 2, count=1)


def test_room_is_shared_with_the_response():
    sample = replace(record(), captions=("five words in this caption",))
    settings = UnifySettings(names=NameSampling(full_probability=1.0), room=17)
    assert len(run(sample, "panoptic", settings=settings, count_tokens=count_words).names) == 4
    evaluated = run(sample, "panoptic", settings=settings, count_tokens=count_words, training=False)
    assert len(evaluated.names) == 6


def phrase_record():
    phrases = ["the red star", "a blue  circle", "the red star", None, "green thing"]
    annotations = tuple(Annotation(BOX, None, phrase=p, id=i, iscrowd=i == 4) for i, p in enumerate(phrases))
    return Record(9, "none.jpg", (8, 8), annotations=annotations, exhaustive=False)


def test_objects_with_one_phrase_share_a_name():
    unified = run(phrase_record(), "grounding", training=False)
    assert unified.names == ("the red star", "a blue circle")
    assert [(annotation.id, label) for annotation, label in unified.annotations] == [(0, 0), (2, 0), (1, 1)]
    assert unified.isthing == (True, True) and not unified.use_stuff


def test_negative_phrases_do_not_touch_positives():
    pool = [
        "Red star",
        "star",
        "the red star in the sky",
        "the red star",
        "green thing",
        "a yellow cross",
        "A Yellow cross",
        "wall",
        " ",
    ]
    settings = UnifySettings(names=NameSampling(phrase_negatives=(2, 2)))
    for seed in range(20):
        unified = run(phrase_record(), "grounding", seed=seed, settings=settings, phrase_pool=pool)
        negatives = unified.names[2:]
        assert {name.lower() for name in negatives} == {"a yellow cross", "wall"}
        assert len(unified.annotations) == 3


def test_number_of_negative_phrases_is_drawn_and_a_poor_pool_ends():
    pool = [f"phrase number {i}" for i in range(500)]
    settings = UnifySettings(names=NameSampling(phrase_negatives=(1, 3)))
    sizes = {
        len(run(phrase_record(), "grounding", seed=s, settings=settings, phrase_pool=pool).names) for s in range(60)
    }
    assert sizes == {3, 4, 5}
    assert run(phrase_record(), "grounding", settings=settings, phrase_pool=["star"]).names == (
        "the red star",
        "a blue circle",
    )
    empty = Record(9, "none.jpg", (8, 8))
    assert run(empty, "grounding", phrase_pool=pool).annotations == ()
    with pytest.raises(ValueError, match="image 9: no phrase to ask for"):
        run(empty, "grounding")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("dog", "the dog", True),
        ("a big dog", "The big  dog", True),
        ("dog", "cat", False),
        ("dog", "hot dog stand", True),
    ],
)
def test_containment(first, second, expected):
    assert conflicts(first, second) is expected and conflicts(second, first) is expected


def referring():
    expressions = (
        Expression("the star", (0,), kind="attribute"),
        Expression("both", (0, 1), kind="multiple"),
        Expression("a whale", (), kind="none"),
        Expression("right one", (1,), kind="relation"),
        Expression("crowd", (2,)),
    )
    annotations = (things(0), things(1), things(2, iscrowd=True))
    return Record(4, "none.jpg", (8, 8), annotations=annotations, expressions=expressions, captions=("hello",))


@pytest.mark.parametrize(("task", "indices"), [("gres", [0, 1, 2, 3, 4]), ("res", [0, 1, 3, 4]), ("rec", [0, 3, 4])])
def test_training_draws_every_fitting_expression(task, indices):
    sample = referring()
    assert expression_indices(sample, task) == indices
    drawn = [run(sample, task, seed=seed) for seed in range(300)]
    counts = {i: sum(u.expression is sample.expressions[i] for u in drawn) for i in indices}
    assert sum(counts.values()) == 300 and min(counts.values()) > 0.5 * 300 / len(indices)
    for unified in drawn:
        wanted = [t for t in unified.expression.targets if t != 2]
        assert [annotation.id for annotation, _ in unified.annotations] == wanted
        assert all(label == 0 for _, label in unified.annotations)
        assert unified.names == (unified.expression.text,) and not unified.use_stuff
        assert unified.conversation.response == "hello."


def test_evaluation_takes_the_expression_it_is_told():
    sample = referring()
    for index in range(5):
        unified = run(sample, "gres", training=False, expression_index=index)
        assert unified.expression is sample.expressions[index] and unified.conversation.response is None
    with pytest.raises(ValueError, match="image 4: 5 expressions, evaluation needs expression_index"):
        run(sample, "gres", training=False)
    with pytest.raises(ValueError, match="expression 5 of 5 does not exist"):
        run(sample, "gres", training=False, expression_index=5)
    with pytest.raises(ValueError, match="none of its 0 expressions fits task 'rec'"):
        run(replace(sample, expressions=()), "rec")
    with pytest.raises(ValueError, match="unknown sentence task 'panoptic'"):
        expression_indices(sample, "panoptic")


def test_sentence_response_lists_one_expression_per_object():
    settings = UnifySettings(response_kind="existing_objects")
    text = run(referring(), "gres", settings=settings).conversation.response
    assert set(text[len("There exists ") : -1].split(", ")) == {"the star", "right one", "crowd"}
    none = replace(referring(), expressions=(Expression("a whale", ()),))
    assert run(none, "gres", settings=settings).conversation.response == "There exists nothing."
    both = replace(referring(), expressions=(Expression("both", (0, 1)),))
    assert run(both, "gres", settings=settings).conversation.response == "There exists both."


def test_captions():
    drawn = {run(record(), "caption", seed=seed).conversation.response for seed in range(20)}
    assert drawn == {"one.", "two."}
    evaluated = run(record(), "caption", training=False)
    assert evaluated.conversation.response is None and evaluated.names == () and evaluated.family == "caption"
    with pytest.raises(ValueError, match="image 7: no caption to learn from"):
        run(replace(record(), captions=("...",)), "caption")


def test_wrong_requests_name_the_image_or_the_choices():
    with pytest.raises(ValueError, match="unknown task 'panoptc'; did you mean 'panoptic'"):
        run(record(), "panoptc")
    with pytest.raises(ValueError, match="image 7: task 'panoptic' needs a vocabulary"):
        run(replace(record(annotations=()), vocabulary=None), "panoptic")
    with pytest.raises(ValueError, match="image 7: task 'panoptic' needs a label for every annotation"):
        run(record(annotations=(Annotation(BOX),)), "panoptic")
    with pytest.raises(ValueError, match="unknown response kind 'cap'; did you mean 'caption'"):
        UnifySettings(response_kind="cap")
    with pytest.raises(ValueError, match=r"sizes must be \(low, high\)"):
        NameSampling(sizes=(5, 2))


def test_duplicate_names_follow_the_setting():
    vocabulary = Vocabulary(("cup", "dog", " cup "))
    sample = Record(1, "none.jpg", (8, 8), vocabulary=vocabulary, annotations=(things(2), things(0)))
    with pytest.raises(ValueError, match="repeated: 'cup'"):
        run(sample, "instance", training=False)
    unified = run(sample, "instance", training=False, settings=UnifySettings(dedupe=True))
    assert unified.names == ("cup", "dog", "cup")
