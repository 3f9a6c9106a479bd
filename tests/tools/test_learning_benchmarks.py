"""The benchmarks that train: steps in turns, and the comparison with Mask2Former."""

import json
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mvplm.data.scenes import SHAPE_VOCABULARY, SceneDataset
from mvplm.structures.masks import decode_mask

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SMALL = [
    "image.size=96",
    "model.llm.layers=1",
    "model.pixel_decoder.layers=1",
    "model.decoder.layers=1",
    "data.sources.panoptic.batch_size=1",
]


@pytest.fixture(scope="module")
def load(tool):
    return lambda *parts: tool.load(TOOLS.joinpath(*parts))


@pytest.fixture(scope="module")
def learn(load):
    return load("benchmarks", "learn.py")


@pytest.fixture(scope="module")
def steps_tool(load):
    return load("training_steps.py")


@pytest.fixture(scope="module")
def peer_tool(load):
    return load("mask2former_training.py")


def learner(learn, name="a", *, score=lambda limit: {"PQ": float(limit)}, step=lambda factor: factor):
    return learn.Learner(name, step, score, {"parameters": 2_000_000})


def test_a_step_is_measured_with_both_kernels(load):
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    rows = load("benchmarks", "train_step.py").compare("panoptic", repeats=1, overrides=SMALL)
    found = {row.name: row for row in rows}
    ratio = found["panoptic: plain PyTorch"].value / found["panoptic: mvplm"].value
    assert found["panoptic: times faster than plain PyTorch"].value == pytest.approx(ratio)
    assert found["panoptic: difference of the first loss"].ok is True
    assert before == (
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


def test_only_the_named_sources_are_left(steps_tool):
    config = steps_tool.scenes_config("referring", overrides=["optim.lr=0.5"])
    assert [name for name, source in config.data.sources.items() if source.ratio] == ["referring"]
    assert config.optim.lr == 0.5
    with pytest.raises(ValueError, match=r"no source 'captions'.*panoptic, referring, detection, grounding"):
        steps_tool.scenes_config("captions")


def test_another_folder_is_no_checkout(steps_tool, tmp_path):
    with pytest.raises(ValueError, match=r"is no checkout of the project: it has no configs/quick/scenes\.yaml"):
        steps_tool.OtherCheckout(tmp_path, "panoptic", count=1)


def test_learners_take_turns_until_their_time_is_spent(learn):
    turns, factors = [], []
    ticks = count()
    learners = [learner(learn, name, step=lambda factor: factors.append(factor) or 1.0) for name in "ab"]
    learn.take_turns(
        learners,
        budget=5,
        turn=2,
        factor=lambda share: share,
        after_turn=lambda one: turns.append((one.name, len(one.losses))),
        clock=lambda: float(next(ticks)),
    )
    assert turns == [("a", 2), ("b", 2), ("a", 4), ("b", 4), ("a", 5), ("b", 5)]
    assert [seconds for seconds, _ in learners[0].losses] == [1, 2, 3, 4, 5]
    assert factors[:4] == pytest.approx([0, 0.2, 0, 0.2])


def test_scores_fall_due_along_the_time_and_the_last_takes_every_scene(learn):
    score, one = learn.scorer(budget=10, scores=2, limit=8), learner(learn)
    for seconds in (4.0, 6.0, 9.0, 11.0):
        one.seconds = seconds
        score(one)
    assert one.scores == [(6.0, {"PQ": 2.0}), (11.0, {"PQ": 8.0})]


def test_rows_and_curves_tell_who_learned_more(learn, steps_tool, tmp_path):
    pair = [learner(learn, learn.OURS), learner(learn, learn.THEIRS)]
    for one, quality in zip(pair, (30.0, 20.0), strict=True):
        one.seconds, one.losses = 60.0, [(30.0, 2.0), (60.0, 1.0)]
        one.scores = [(60.0, {"PQ": quality})]
    rows = learn.rows_of(pair, config=steps_tool.scenes_config("panoptic"), limit=8, judged=True)
    found = {row.name: row.value for row in rows}
    assert rows[0].name == "PQ mvplm - Mask2Former" and rows[0].value == 10.0 and rows[0].ok
    assert found["mvplm: steps"] == 2 and found["Mask2Former: parameters"] == 2.0
    learn.write_curves(pair, tmp_path / "new" / "curves.png")
    assert (tmp_path / "new" / "curves.png").stat().st_size > 1000
    assert json.loads((tmp_path / "new" / "curves.json").read_text())["mvplm"]["scores"] == [[60.0, {"PQ": 30.0}]]


def test_settings_that_are_not_positive_are_refused(learn):
    arguments = SimpleNamespace(minutes=1.0, turn=0.0, limit=1, scores=1)
    with pytest.raises(ValueError, match=r"--turn must be positive, got 0\.0"):
        learn.measure(arguments)


@pytest.fixture(scope="module")
def peer(peer_tool, steps_tool):
    config = steps_tool.scenes_config("panoptic", overrides=["image.size=96"])
    return peer_tool.Mask2FormerSteps(config, SHAPE_VOCABULARY, lr=5e-4, precision="bf16")


def test_both_models_are_of_one_size(peer, steps_tool):
    from mvplm import create_model

    ours = sum(p.numel() for p in create_model("mvplm-tiny").parameters())
    theirs = sum(p.numel() for p in peer.model.parameters())
    assert abs(theirs - ours) < 0.15 * ours


def test_mask2former_learns(peer):
    records = SceneDataset("train", num=1, role="panoptic")[:]
    losses = [peer.step(records) for _ in range(4)]
    assert peer.losses == losses and losses[-1] < losses[0]


class Oracle(torch.nn.Module):
    """Says about one scene what is true, stuff in two pieces."""

    def __init__(self, record):
        super().__init__()
        masks, labels = [], []
        for annotation in record.annotations:
            mask = torch.from_numpy(decode_mask(annotation.segmentation, record.size))
            left = mask.clone()
            left[:, record.size[1] // 2 :] = False
            parts = [mask] if annotation.isthing else [left, mask & ~left]
            masks += parts
            labels += [annotation.label] * len(parts)
        classes = torch.nn.functional.one_hot(torch.tensor(labels), len(SHAPE_VOCABULARY) + 1)
        self.output = SimpleNamespace(
            class_queries_logits=classes[None] * 20.0, masks_queries_logits=torch.stack(masks)[None] * 40.0 - 20.0
        )

    def forward(self, pixel_values):
        return self.output


def test_the_truth_scores_full_marks_with_both_post_processings(peer, monkeypatch):
    records = SceneDataset("val", num=1, role="panoptic")[:]
    monkeypatch.setattr(peer, "model", Oracle(records[0]))
    found = peer.score(records, batch_size=1, least_score=0.1)
    assert set(found) == {"transformers", "ours"}
    assert found["transformers"]["PQ"] > 95 and found["ours"]["PQ"] > 95


def test_stuff_of_one_name_becomes_one_segment(peer_tool):
    names = SHAPE_VOCABULARY
    thing, stuff = names.isthing.index(True), names.isthing.index(False)
    segments = [{"id": id_, "category_id": name} for id_, name in enumerate((stuff, thing, stuff, thing), 1)]
    given = torch.tensor([[1, 2], [3, 4]])
    answer = peer_tool.fuse_stuff(given, segments, vocabulary=names)
    assert np.array_equal(answer.segment_map, [[1, 2], [1, 4]]) and given[1, 0] == 3
    assert [segment["id"] for segment in answer.segments] == [1, 2, 4]
