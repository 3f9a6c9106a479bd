"""Protocols as data: presets by name, carried into results, and results of different ones kept apart."""

import json
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from oracles.drawn_masks import drawn
from oracles.truth_teller import truth

from mvplm.config import load_config
from mvplm.config.data import RES_PROTOCOLS
from mvplm.evaluation import ReferringIoU, by_protocol, check_comparable, make_evaluator, protocols
from mvplm.structures import Annotation, Expression, Record
from mvplm.structures.masks import encode_mask

NAMES = ("per_sentence", "merged", "release", "gres", "lisa", "rmsin", "segearth", "muse", "muse_per_question")
NAMES += ("qwen_ors", "qwen_ors_union")


def test_every_preset_has_its_name_and_the_configuration_knows_all():
    assert protocols.names() == NAMES == RES_PROTOCOLS
    assert [protocols.get(name).name for name in NAMES] == list(NAMES)


def test_presets_differ_by_more_than_their_names():
    texts = {json.dumps({**protocols.get(name).as_dict(), "name": ""}) for name in NAMES}
    assert len(texts) == len(NAMES)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown referring protocol 'segeart'; did you mean 'segearth'"):
        protocols.get("segeart")
    with pytest.raises(ValueError, match="'rmsin'"):
        ReferringIoU("rmsim")
    with pytest.raises(ValueError, match="did you mean 'muse'"):
        load_config(None, ["eval.res_protocol=muze"])


def test_a_preset_cannot_be_changed_in_place_and_a_changed_one_is_checked():
    with pytest.raises(FrozenInstanceError):
        protocols.get("gres").min_area = 3
    with pytest.raises(ValueError, match="unknown threshold_operator '=>'.*choices: >, >="):
        replace(protocols.get("gres"), threshold_operator="=>")


@pytest.mark.parametrize("name", NAMES)
def test_fields_survive_json(name: str):
    fields = protocols.get(name).as_dict()
    assert json.loads(json.dumps(fields)) == fields
    assert protocols.Protocol(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}) == (
        protocols.get(name)
    )


def test_release_needs_answers_that_are_never_empty():
    with pytest.raises(ValueError, match="'release' never answers .*post.gres_fallback_top1 must be true"):
        load_config(None, ["eval.res_protocol=release"])
    load_config(None, ["eval.res_protocol=release", "post.gres_fallback_top1=true"])


@pytest.mark.parametrize(("least", "accuracy"), [(0, 0), (3, 0), (4, 100)])
def test_small_answers_can_mean_no_target(least: int, accuracy: float):
    metric = ReferringIoU(replace(protocols.get("gres"), min_area=least))
    metric.update(drawn("###......."), None)
    assert metric.compute()["N-acc"] == accuracy


def test_false_masks_can_stay_out_of_the_union():
    metric = ReferringIoU(replace(protocols.get("gres"), count_union_for_false_mask=False))
    metric.update(drawn("#####....."), drawn("##########"))
    metric.update(drawn("###......."), None)
    assert metric.compute()["cIoU"] == 50 and metric.compute()["gIoU"] == 25


def share(places: range, protocol: str = "muse") -> ReferringIoU:
    metric = ReferringIoU(protocol)
    rng = np.random.default_rng(0)
    masks = rng.random((12, 2, 3, 4, 5)) > 0.5
    for place in places:
        status = "unparsed" if place == 5 else "answered"
        metric.update(masks[place, 0], masks[place, 1, :2], status=status, image=place // 2, key=place)
    return metric


def test_shares_of_several_processes_make_the_whole_and_what_two_have_counts_once():
    first, second = share(range(0, 7)), pickle.loads(pickle.dumps(share(range(5, 12))))
    first.merge(second)
    assert first.compute() == share(range(12)).compute() and len(first) == 12
    assert first.statuses() == {"answered": 11, "no_target": 0, "unparsed": 1}
    assert list(first.image_sums().images) == list(range(6))
    with pytest.raises(ValueError, match="name='gres'.*cannot join those counted by .*name='muse'"):
        first.merge(share(range(1), "gres"))


def test_expressions_without_a_key_stay_apart():
    metrics = [ReferringIoU(), ReferringIoU()]
    for metric in metrics:
        metric.update(drawn("##"), drawn("##"))
        metric.update(None, drawn("##"))
    metrics[0].merge(pickle.loads(pickle.dumps(metrics[1])))
    assert len(metrics[0]) == 4 == len(metrics[0].image_sums().images)
    assert metrics[0].compute()["gIoU"] == 50


def test_wrong_masks_are_told():
    with pytest.raises(ValueError, match="predicted mask .* and true mask .* differ in size"):
        ReferringIoU().update(np.ones((2, 3), bool), np.ones((3, 2), bool))
    with pytest.raises(ValueError, match=r"\(H, W\) or \(n, H, W\), got \(4,\)"):
        ReferringIoU().update(np.ones(4, bool), None)
    with pytest.raises(ValueError, match="unknown status 'no target'; did you mean 'no_target'"):
        ReferringIoU().update(None, None, status="no target")


def asked() -> Record:
    """A picture of 1 x 10: the target on pixels 0 to 3, a region to be ignored on 4 and 5, two texts."""
    masks = [drawn(picture).astype(bool) for picture in ("####......", "....##....")]
    boxes = ((0.0, 0.0, 4.0, 1.0), (4.0, 0.0, 6.0, 1.0))
    annotations = tuple(
        Annotation(box, segmentation=encode_mask(mask), iscrowd=bool(place))
        for place, (box, mask) in enumerate(zip(boxes, masks, strict=True))
    )
    texts = (Expression("what is left", (0,)), Expression("something else", (0, 1)), Expression("none", ()))
    return Record("a", np.zeros((1, 10, 3), np.uint8), (1, 10), annotations=annotations, expressions=texts)


@pytest.mark.parametrize(
    ("protocol", "dataset", "count", "overlap", "union"),
    [
        ("lisa", "reasonseg_val", 1, 4, 4),
        ("lisa", "refcoco_val", 3, 4 + 6 + 0, 6 + 6 + 6),
        ("rmsin", "reasonseg_val", 3, 4 + 6 + 0, 6 + 6 + 6),
    ],
)
def test_single_data_sets_have_their_first_text_and_ignored_regions(protocol, dataset, count, overlap, union):
    """Every text is answered by pixels 0 to 5."""
    evaluator = make_evaluator("referring", protocol=protocol, dataset=dataset)
    record = asked()
    for expression in record.expressions:
        answers = {task: truth(record, task=task, expression=record.expressions[1]) for task in evaluator.tasks}
        evaluator.update(record, answers, expression=expression)
    assert len(evaluator.general) == count
    sums = evaluator.image_sums()
    assert sums["grec"].sums["cIoU"].tolist() == [[overlap, union]] and list(sums["grec"].images) == ["a"]
    assert sums["referring/all"].sums["gIoU"][:, 1] == sums["rec"].sums["Acc@0.5"][:, 1] == 1


def test_an_evaluator_of_matched_masks_sees_every_mask():
    record = asked()
    both = record.expressions[1]
    evaluator = make_evaluator("referring", protocol="muse")
    answers = {task: truth(record, task=task, expression=record.expressions[0]) for task in evaluator.tasks}
    evaluator.update(record, answers, expression=both)
    found = evaluator.compute()
    assert found["grec/gIoU"] == pytest.approx(100 * 4 / (4 + 1e-5) / 2) and found["grec/Pr@0.5"] == 50


def result(referring: str | None, **more) -> dict:
    known = {} if referring is None else {"referring": protocols.get(referring).as_dict()}
    return {"metrics": {}, "protocol": {"weights": "w", "seconds": 1.0, **known, **more}}


def test_results_of_one_protocol_share_a_table():
    check_comparable(
        {"a": result("gres"), "b": result("gres", weights="v", seconds=2.0), "panoptic only": result(None)}
    )
    check_comparable({"earlier": {"protocol": {"res_protocol": "per_sentence"}}, "now": result("per_sentence")})
    check_comparable({})


def test_results_of_different_protocols_do_not():
    with pytest.raises(ValueError) as error:
        check_comparable({"a": result("gres"), "b": result("gres"), "c": result("rmsin")})
    text = str(error.value)
    assert text.startswith("a and c were counted by different protocols")
    assert "referring.name: 'gres' / 'rmsin'" in text and "referring.empty_iou: 1.0 / 0.0" in text
    assert "referring.targets" not in text and "eval.res_protocol" in text
    with pytest.raises(ValueError, match="synonyms: 'first' / 'joined'"):
        check_comparable({"a": result(None, synonyms="first"), "b": result(None, synonyms="joined")})
    with pytest.raises(ValueError, match="referring.expressions: 'merged' / 'per_sentence'"):
        check_comparable({"earlier": {"protocol": {"res_protocol": "merged"}}, "now": result("per_sentence")})


def test_a_changed_preset_is_another_protocol():
    changed = replace(protocols.get("segearth"), frame=1024).as_dict()
    with pytest.raises(ValueError, match="referring.frame: None / 1024"):
        check_comparable({"a": result("segearth"), "b": {"protocol": {"referring": changed}}})


def test_groups_of_results_that_share_a_table():
    results = {"a": result("gres"), "b": result("lisa"), "c": result(None), "d": result("gres"), "e": result("lisa")}
    assert by_protocol(results) == [["a", "c", "d"], ["b", "e"]]
    for group in by_protocol(results):
        check_comparable({name: results[name] for name in group})
