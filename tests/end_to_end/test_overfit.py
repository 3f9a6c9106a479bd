"""Golden G56: a tiny network learns eight scenes by heart. It takes minutes, so it runs only on request."""

import os
from pathlib import Path

import pytest
import torch

from mvplm.config import Config, load_config
from mvplm.data.catalog import get_dataset
from mvplm.evaluation.truth import true_mask
from mvplm.perceiver import Perceiver
from mvplm.runs import evaluate_perceiver, load_for_evaluation, run_training
from mvplm.structures.boxes import box_iou

STEPS = 2000
REQUEST = "MVPLM_SLOW_TESTS"
WORDS = "dataset: scenes/train, options: {role: panoptic, num: 8, size: 128, seed: 5}, task: panoptic"
SENTENCES = "dataset: scenes/train, options: {role: referring, num: 8, size: 128, seed: 5}, task: res"
SETTINGS = (
    "model.preset=mvplm-tiny",
    "model.llm={hidden_size: 64, heads: 4, ffn: 192, layers: 2}",
    "model.pixel_decoder={width: 32, mask_width: 32, heads: 4, layers: 2, ffn: 128}",
    "model.decoder={heads: 4, layers: 3, ffn: 128}",
    "model.query.num=20",
    "model.stuff.num=6",
    "image.size=128",
    "names={full_probability: 1.0, shuffle: false}",
    "response.kind=none",
    f"data.sources={{words: {{{WORDS}, batch_size: 8}}, sentences: {{{SENTENCES}, batch_size: 8}}}}",
    f"eval.sets={{words: {{{WORDS}}}, sentences: {{{SENTENCES}}}}}",
    "data.exclude_eval_images=false",
    "match.num_points=512",
    "loss.num_points=512",
    "optim={lr: 1.0e-3, weight_decay: 0.0, ema_decay: 0.99}",
    f"train={{steps: {STEPS}, log_every: 200, checkpoint_every: 0, eval_every: 0}}",
)
VARIANTS = {
    "paper": (),
    "base_only": ("model.query.fusion=base_only", "model.select.enabled=false"),
    "sigmoid_focal": ("model.classifier.word=sigmoid_focal",),
}


def box_overlap(perceiver: Perceiver, config: Config) -> float:
    """Mean IoU of the box head's answers with the boxes of the objects that one-object expressions mean."""
    source = config.data.sources["sentences"]
    overlaps = []
    for record in get_dataset(source.dataset, **source.options):
        asked = [e for e in record.expressions if len(e.targets) == 1 and true_mask(record, e).any()]
        answers = perceiver.predict(record.image, text=[expression.text for expression in asked])
        for expression, answer in zip(asked, answers, strict=True):
            truth = torch.tensor([record.annotations[expression.targets[0]].box])
            found = answer.instances.boxes[:1]
            overlaps.append(float(box_iou(found, truth)) if len(found) else 0.0)
    return sum(overlaps) / len(overlaps)


@pytest.mark.skipif(not os.environ.get(REQUEST), reason=f"trains for minutes; set {REQUEST}=1 to run it")
@pytest.mark.parametrize("variant", VARIANTS)
def test_g56_eight_scenes_are_learned_by_heart(variant: str, tmp_path: Path) -> None:
    config = load_config(None, [*SETTINGS, *VARIANTS[variant], f"train.output={tmp_path / 'run'}"])
    run_training(config)
    perceiver = load_for_evaluation(config, None)
    metrics = evaluate_perceiver(perceiver, config)
    overlap = box_overlap(perceiver, config)
    print(variant, {name: round(value, 1) for name, value in metrics.items()}, round(overlap, 3))
    assert metrics["panoptic/PQ"] > 80
    assert metrics["referring/all/cIoU"] > 80
    assert metrics["rec/Acc@0.5"] == 100
    assert overlap > 0.8
