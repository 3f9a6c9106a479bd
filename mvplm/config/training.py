"""Settings of how the network is trained, how its outputs are read, and how it is run.

Source: MVP-LM, section 3.3 (losses) and section 4.1 (implementation details).
"""

from dataclasses import dataclass, field

from mvplm.config.base import Section, setting


@dataclass
class MatchConfig(Section):
    """Assignment of queries to targets.

    Attributes:
        split: "partition": things and stuff are assigned separately.
        sentence_cost: let the sentence score take part in the cost.
        num_points: points per mask in the cost.
        class_cost, bce_cost, dice_cost, box_cost, giou_cost: weights of the cost's terms.
    """

    split: str = setting("partition", choices=("partition", "cost_1e4"))
    sentence_cost: bool = True
    num_points: int = setting(12544, low=1)
    class_cost: float = setting(2.0, low=0)
    bce_cost: float = setting(5.0, low=0)
    dice_cost: float = setting(5.0, low=0)
    box_cost: float = setting(5.0, low=0)
    giou_cost: float = setting(2.0, low=0)


@dataclass
class LossConfig(Section):
    """The criterion and the weights of its terms.

    Attributes:
        language, word, sentence, mask_bce, mask_dice, box_l1, box_giou: weights in the total.
        num_points: points per mask; oversample: candidates per point; importance: share of uncertain points.
        no_object_weight: class weight of the no-object column.
        sentence_scale: factor on the sentence loss before its weight.
    """

    language: float = setting(1.0, low=0)
    word: float = setting(2.0, low=0)
    sentence: float = setting(2.0, low=0)
    mask_bce: float = setting(5.0, low=0)
    mask_dice: float = setting(5.0, low=0)
    box_l1: float = setting(5.0, low=0)
    box_giou: float = setting(2.0, low=0)
    num_points: int = setting(12544, low=1)
    oversample: float = setting(3.0, low=1)
    importance: float = setting(0.75, low=0, high=1)
    no_object_weight: float = setting(0.1, low=0)
    sentence_scale: float = setting(1.0, low=0)


@dataclass
class OptimConfig(Section):
    """The optimiser and its schedule.

    Attributes:
        kind: "adamw", or "muon": orthogonalised momentum for matrices of hidden layers, AdamW for all else; for
            training from scratch. Rate and decay mean the same for both.
        convolutions: with "muon", kernels of convolutions are among those matrices.
        lr: peak learning rate; encoder_lr_scale: factor for the vision encoder when it is trained.
        lr_scales: more factors by prefix of the parameter name; the longest matching prefix wins.
        weight_decay: on matrices and convolutions only. betas, eps: of AdamW.
        schedule: after the warm-up: "cosine" to 0, "linear" to 0, or "constant".
        warmup_ratio: share of the steps in which the rate rises from 0.
        clip_norm: largest gradient norm; 0 switches clipping off.
        ema_decay: decay of the averaged weights used for evaluation; 0 switches averaging off.
    """

    kind: str = setting("adamw", choices=("adamw", "muon"))
    convolutions: bool = False
    lr: float = setting(4e-5, low=0)
    encoder_lr_scale: float = setting(1.0, low=0)
    lr_scales: dict[str, float] = field(default_factory=dict)
    weight_decay: float = setting(0.05, low=0)
    betas: list[float] = setting([0.9, 0.999], length=2, low=0, high=1)
    eps: float = setting(1e-8, low=0)
    schedule: str = setting("cosine", choices=("cosine", "linear", "constant"))
    warmup_ratio: float = setting(0.03, low=0, high=1)
    clip_norm: float = setting(1.0, low=0)
    ema_decay: float = setting(0.0, low=0, high=0.999999)


@dataclass
class TrainConfig(Section):
    """A training run.

    Attributes:
        steps: optimiser steps. seed: of everything random.
        precision: "fp32", or "bf16" or "fp16" autocast with fp32 master weights.
        grad_accumulation: micro-batches per step.
        gradient_checkpointing: recompute the activations of language model, pixel decoder and decoder layers in the
            backward pass: less memory, about a third more time.
        auto_resume: go on from the newest checkpoint of ``output`` when there is one; otherwise ask with --resume.
        output: directory of checkpoints, logs and curves.
        checkpoint_every, eval_every, log_every: in steps; 0 means only at the end.
        keep_checkpoints: how many are kept.
        time_limit: seconds after which the run saves and stops; None: no limit.
        device: "auto" takes a GPU when there is one. compile: compile the training step.
        deterministic: prefer deterministic kernels; None: on the CPU only.
        nonfinite_limit: so many steps with a non-finite loss in a row end the run; 0: the first one does.
        freeze: prefixes of parameter names that are not trained.
        init_from: name of a shipped model, or directory with weights, to start from.
        init_allow: prefixes of parameter names that may be missing there.
        init_skip: prefixes of parameter names that are not taken from there but start afresh.
    """

    steps: int = setting(80000, low=1)
    seed: int = setting(0, low=0)
    precision: str = setting("fp32", choices=("fp32", "bf16", "fp16"))
    grad_accumulation: int = setting(1, low=1)
    gradient_checkpointing: bool = False
    auto_resume: bool = False
    output: str = "outputs/run"
    checkpoint_every: int = setting(1000, low=0)
    eval_every: int = setting(0, low=0)
    log_every: int = setting(20, low=0)
    keep_checkpoints: int = setting(2, low=1)
    time_limit: float | None = setting(None, low=0)
    device: str = setting("auto", choices=("auto", "cpu"))
    compile: bool = False
    deterministic: bool | None = None
    nonfinite_limit: int = setting(10, low=0)
    freeze: list[str] = setting([])
    init_from: str | None = None
    init_allow: list[str] = setting([])
    init_skip: list[str] = setting([])


@dataclass
class PostConfig(Section):
    """From outputs to results.

    Attributes:
        box_score: score of a detected box: "class" alone or "class_times_mask".
        top_k: entries kept per image. mask_threshold: probability above which a pixel belongs to a mask.
        panoptic_score, panoptic_overlap: least score, and least share of its own pixels that a segment must keep.
        restrict_kind: let stuff queries name only stuff and the others only things.
        gres_score: least score of a target of an expression. gres_fallback_top1: never answer "no target".
        things_before_top_k: instance tasks drop names of stuff before the best entries are taken, or after.
        display_score: least score of what is drawn; never affects metrics.
        mask_chunk: masks brought to full size at once.
    """

    box_score: str = setting("class", choices=("class", "class_times_mask"))
    top_k: int = setting(100, low=1)
    mask_threshold: float = setting(0.5, low=0, high=1)
    panoptic_score: float = setting(0.1, low=0, high=1)
    panoptic_overlap: float = setting(0.8, low=0, high=1)
    restrict_kind: bool = False
    gres_score: float = setting(0.6, low=0, high=1)
    gres_fallback_top1: bool = False
    things_before_top_k: bool = True
    display_score: float = setting(0.5, low=0, high=1)
    mask_chunk: int = setting(32, low=1)


@dataclass
class InferConfig(Section):
    """Running the network.

    Attributes:
        mode: "caption" writes the response before perceiving; "skip" perceives at once; "auto" is "skip" for models
            trained with the response "none" and "caption" for all others.
        max_new_tokens: longest response.
        batch_size: images per forward pass in ``predict``.
    """

    mode: str = setting("auto", choices=("auto", "caption", "skip"))
    max_new_tokens: int = setting(192, low=1)
    batch_size: int = setting(8, low=1)
