"""One referring expression: referring segmentation (also several or no targets) and comprehension."""

import random

from mvplm.data.unify.settings import Unified, UnifySettings
from mvplm.prompts import Conversation, compose_response
from mvplm.structures import Expression, Record
from mvplm.structures.choices import check_choice

_LEAST = {"res": 1, "gres": 0, "rec": 1}


def expression_indices(record: Record, task: str) -> list[int]:
    """Positions of the record's expressions that fit a task, one evaluation sample each.

    "gres" takes every expression, "res" those with at least one target, "rec" those with exactly one.

    Raises:
        ValueError: not a sentence task.
    """
    check_choice("sentence task", task, choices=_LEAST)
    most = 1 if task == "rec" else len(record.annotations)
    return [i for i, e in enumerate(record.expressions) if _LEAST[task] <= len(e.targets) <= most]


def unify_sentence(
    record: Record,
    *,
    task: str,
    rng: random.Random,
    settings: UnifySettings,
    training: bool,
    expression_index: int | None = None,
) -> Unified:
    """The conversation about one expression; its targets all have label 0.

    Args:
        record: image with expressions.
        task: "res", "gres" or "rec".
        rng: source of every draw.
        settings: response.
        training: draw a response.
        expression_index: the expression; None draws one that fits the task uniformly (training), or takes the only one.

    Raises:
        ValueError: no expression fits, the index is out of range, or evaluation has several to choose from.
    """
    expression = _pick(record, task=task, rng=rng, training=training, index=expression_index)
    response = settings.closing
    if training:
        response = compose_response(
            settings.kind_for("sentence"),
            captions=record.captions,
            expressions=_one_per_object(record, expression, rng=rng),
            rng=rng,
            caption_dropout=settings.caption_dropout,
        )
    conversation = Conversation("sentence", (expression.text,), response=response)
    targets = [record.annotations[i] for i in expression.targets]
    return Unified(
        conversation=conversation,
        names=conversation.names,
        isthing=(True,),
        use_stuff=False,
        annotations=tuple((annotation, 0) for annotation in targets if not annotation.iscrowd),
        family="sentence",
        task=task,
        expression=expression,
    )


def _pick(record: Record, *, task: str, rng: random.Random, training: bool, index: int | None) -> Expression:
    if index is not None:
        if not 0 <= index < len(record.expressions):
            raise ValueError(f"image {record.image_id}: expression {index} of {len(record.expressions)} does not exist")
        return record.expressions[index]
    fitting = expression_indices(record, task)
    if not fitting:
        raise ValueError(
            f"image {record.image_id}: none of its {len(record.expressions)} expressions fits task {task!r}"
        )
    if not training and len(fitting) > 1:
        raise ValueError(f"image {record.image_id}: {len(fitting)} expressions, evaluation needs expression_index")
    return record.expressions[rng.choice(fitting)]


def _one_per_object(record: Record, asked: Expression, *, rng: random.Random) -> list[str]:
    """One expression for each object that has expressions of its own; else the one asked for, if it has a target."""
    own: dict[int, list[str]] = {}
    for expression in record.expressions:
        if len(expression.targets) == 1:
            own.setdefault(expression.targets[0], []).append(expression.text)
    described = [rng.choice(texts) for _, texts in sorted(own.items())]
    return described or ([asked.text] if asked.targets else [])
