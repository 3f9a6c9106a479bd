"""The adapter and the meta-architecture, under the stand-in's registry, catalog and configuration."""

import copy
import sys
import types

import pytest
import torch
from oracles.detectron2_double import Instances as Detected
from oracles.tiny import VOCABULARY, build_tiny, noise_picture

from mvplm.interop.detectron2 import DatasetNames, MVPLMAdapter, metadata_of
from mvplm.meta_arch import MVPLM, register_meta_architecture, training_parts, with_mvplm_config
from mvplm.perceiver import Perceiver
from mvplm.postprocess import PostprocessSettings

NAMES = DatasetNames.of(VOCABULARY)


@pytest.fixture(scope="module")
def loose() -> Perceiver:
    """A tiny perceiver whose thresholds a random network passes, and which skips captions."""
    perceiver = build_tiny(0, "infer.mode=skip")
    perceiver.settings = PostprocessSettings(panoptic_score=0.0, overlap=0.0)
    return perceiver


def entry(seed: int = 1, size: tuple[int, int] = (47, 71)) -> dict:
    return {"image": torch.from_numpy(noise_picture(*size, seed=seed)).permute(2, 0, 1), "image_id": seed}


def test_one_pass_gives_three_readings(detectron2, loose: Perceiver):
    model = MVPLMAdapter(loose).eval()
    outs = model([entry(1), {**entry(2, (90, 33)), "height": 45, "width": 20}])
    assert model.task == "panoptic" and len(outs) == 2
    for out, size in zip(outs, [(47, 71), (45, 20)], strict=True):
        assert set(out) == {"panoptic_seg", "sem_seg", "instances"}
        segment_map, segments = out["panoptic_seg"]
        assert tuple(segment_map.shape) == size and out["sem_seg"].shape == (len(VOCABULARY), *size)
        assert segments and {s["id"] for s in segments} | {0} >= set(segment_map.unique().tolist())
        assert all(VOCABULARY.isthing[s["category_id"]] is s["isthing"] for s in segments)
        found = out["instances"]
        assert isinstance(found, detectron2.Instances) and found.image_size == size
        assert found.pred_masks.shape == (len(found), *size) and found.pred_masks.dtype == torch.bool
        assert {VOCABULARY.isthing[c] for c in found.pred_classes.tolist()} == {True}


def test_the_adapter_says_what_the_perceiver_says(detectron2, loose: Perceiver):
    picture = noise_picture(47, 71, seed=1)
    answer = loose.predict(picture, classes=VOCABULARY.names, task="panoptic")
    out = MVPLMAdapter(loose, image_format="BGR").eval()([{"image": entry(1)["image"].flip(0).float()}])[0]
    assert torch.equal(out["panoptic_seg"][0], answer.panoptic.segment_map)
    things = loose.predict(picture, classes=["star", "ring", "green circle"])
    model = MVPLMAdapter(loose, task="instance").eval()
    found = model([entry(1)])[0]["instances"]
    assert torch.equal(found.pred_boxes.tensor, things.instances.boxes)
    assert torch.equal(found.scores, things.instances.scores)
    assert torch.equal(found.pred_masks, things.instances.masks)
    # The dataset's numbering, not that of the shorter list that was asked.
    assert [VOCABULARY.names[c] for c in found.pred_classes.tolist()] == things.instances.labels


@pytest.mark.parametrize(("task", "keys"), [("semantic", {"sem_seg"}), ("detection", {"instances"})])
def test_other_tasks(detectron2, loose: Perceiver, task: str, keys: set):
    out = MVPLMAdapter(loose, task=task).eval()([entry()])[0]
    assert set(out) == keys and (task == "semantic" or not out["instances"].has("pred_masks"))


def test_a_caption_can_be_written_first(detectron2, loose: Perceiver):
    spoken = MVPLMAdapter(loose, DatasetNames.of(["star"]), mode="caption").eval()
    assert spoken.task == "instance" and len(spoken([entry()])[0]["instances"])
    assert spoken([]) == []


def truth(seed: int = 1) -> dict:
    given = entry(seed)
    masks = torch.zeros(2, *given["image"].shape[1:], dtype=torch.bool)
    masks[0, 5:20, 3:30], masks[1, 30:] = True, True
    given["instances"] = Detected(tuple(masks.shape[1:]), gt_masks=masks[:1], gt_classes=torch.tensor([1]))
    given["sem_seg"] = torch.where(masks[1], 4, 255)
    return given


def trainable() -> MVPLMAdapter:
    perceiver = build_tiny(0)
    return MVPLMAdapter(perceiver, training_parts=training_parts(perceiver, "panoptic")).train()


def test_training_gives_weighted_losses_that_reach_every_parameter():
    model = trainable()
    given = [truth(1), truth(2)]
    before = copy.deepcopy([{k: v for k, v in e.items() if k != "instances"} for e in given])
    torch.manual_seed(3)
    losses = model(given)
    assert {"word", "mask_dice", "box_giou", "word.dn", "lm"} <= set(losses)
    assert all(value.ndim == 0 and bool(value.isfinite()) for value in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(torch.equal(old["sem_seg"], new["sem_seg"]) for old, new in zip(before, given, strict=True))


def test_losses_are_weighted_and_repeatable():
    model = trainable()
    torch.manual_seed(3)
    first = model([truth()])
    torch.manual_seed(3)
    again = model([truth()])
    assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in again.items()}
    parts = model.training_parts
    doubled = type(parts)(
        parts.mapper, parts.criterion, lambda name: 0.0 if name == "lm" else 2 * parts.weight_of(name)
    )
    model.training_parts = doubled
    torch.manual_seed(3)
    heavier = model([truth()])
    assert set(heavier) == set(first) - {"lm"}
    assert heavier["box_l1"].item() == pytest.approx(2 * first["box_l1"].item())


def test_a_step_lowers_the_loss():
    model = trainable()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    values = []
    for _ in range(3):
        torch.manual_seed(5)
        total = sum(model([truth()]).values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        values.append(total.item())
    assert values[-1] < values[0]


def test_what_an_adapter_refuses(loose: Perceiver):
    with pytest.raises(ValueError, match="unknown task 'panopic'.*'panoptic'"):
        MVPLMAdapter(loose, task="panopic")
    with pytest.raises(ValueError, match="unknown image format 'rgb'"):
        MVPLMAdapter(loose, image_format="rgb")
    with pytest.raises(ValueError, match="'instance' looks for things, but all names are stuff"):
        MVPLMAdapter(loose, DatasetNames.of(["sky"], [False]), task="instance")
    bare = Perceiver(loose.model, loose.tokenizer, config=loose.config, settings=loose.settings)
    with pytest.raises(ValueError, match="no vocabulary of its own: say what to look for with names="):
        MVPLMAdapter(bare)
    with pytest.raises(ValueError, match="made without training_parts"):
        MVPLMAdapter(loose).losses([truth()])


@pytest.fixture
def cfg(detectron2: types.SimpleNamespace, loose: Perceiver, tmp_path):
    """A configuration of the tiny model for a dataset that the catalog knows."""
    detectron2.MetadataCatalog.get("mine_val").set(**metadata_of(VOCABULARY.subset([2, 0, 1])))
    cfg = with_mvplm_config(detectron2.get_cfg())
    cfg.MODEL.MVPLM.MODEL = str(loose.save(tmp_path))
    cfg.DATASETS.TEST = ("mine_val",)
    return cfg


def test_build_model_makes_the_meta_architecture(detectron2, cfg):
    model = detectron2.build_model(cfg)
    assert isinstance(model, MVPLM) and cfg.MODEL.META_ARCHITECTURE == "MVPLM"
    assert model.names.vocabulary.names == ("sky", "star", "ring") and model.image_format == "BGR"
    assert model.device == torch.device("cpu") and model.task == "panoptic"
    assert set(model.eval()([entry()])[0]) == {"panoptic_seg", "sem_seg", "instances"}
    assert "word" in model.train()([{**truth(), "sem_seg": torch.zeros(47, 71, dtype=torch.int64)}])


def test_weights_go_through_a_state_dict(detectron2, cfg, loose: Perceiver):
    model = detectron2.build_model(cfg)
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    assert all(not bool(p.any()) for p in model.perceiver.model.parameters())


def test_the_configuration_can_say_more(detectron2, cfg):
    cfg.MODEL.MVPLM.merge_from_list(["TASK", "detection", "MODE", "skip"])
    cfg.INPUT.FORMAT, cfg.DATASETS.TEST = "RGB", ()
    model = detectron2.build_model(cfg)
    assert (model.task, model.mode, model.image_format) == ("detection", "skip", "RGB")
    assert model.names.vocabulary.names == ("star", "ring", "green circle")


def test_the_given_configuration_is_left_alone(detectron2):
    given = detectron2.get_cfg()
    given.freeze()
    extended = with_mvplm_config(given)
    assert "MVPLM" not in given.MODEL and given.MODEL.META_ARCHITECTURE == "GeneralizedRCNN"
    assert extended.is_frozen() and given.is_frozen() and extended.MODEL.MVPLM.MODEL == "mvplm-tiny-scenes"


def test_registering_twice_changes_nothing(detectron2):
    assert "MVPLM" not in detectron2.META_ARCH_REGISTRY
    assert register_meta_architecture() is register_meta_architecture() is MVPLM
    assert detectron2.META_ARCH_REGISTRY.get("MVPLM") is MVPLM


def test_without_detectron2_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    monkeypatch.delitem(sys.modules, "detectron2.modeling", raising=False)
    with pytest.raises(ImportError, match="the meta-architecture MVPLM needs the 'detectron2' package"):
        register_meta_architecture()
