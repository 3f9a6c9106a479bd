"""From candidates to a conversation: budget, order, response, targets (word family)."""

import random
from collections.abc import Callable, Sequence

from mvplm.data.unify.settings import Candidate, Unified, UnifySettings
from mvplm.prompts import NO_OBJECT_NAME, OBJECT_NAME, Conversation, compose_response
from mvplm.structures import Record

STUFF_TASKS = ("panoptic", "semantic")


def unify_list(
    record: Record,
    candidates: Sequence[Candidate],
    *,
    task: str,
    rng: random.Random,
    settings: UnifySettings,
    training: bool,
    count_tokens: Callable[[str], int] | None = None,
) -> Unified:
    """The conversation over ``candidates`` and the targets they stand for.

    In training the list is fitted to the token budget (see :func:`fit_budget`), freshly ordered and answered; in
    evaluation it stays as given.
    """
    kept, response = list(candidates), settings.closing
    # Nothing is drawn where nothing can come of it, so that runs without the word "object" keep their draws.
    with_object = settings.anonymous > 0 and (not training or rng.random() < settings.anonymous)
    if training:
        response = _respond(kept, record=record, rng=rng, settings=settings)
        if count_tokens is not None:
            kept = fit_budget(
                kept,
                _budget(settings, response, with_object=with_object, count_tokens=count_tokens),
                rng=rng,
                count_tokens=count_tokens,
                name_cost=settings.style.name_cost,
                image_id=record.image_id,
            )
            if settings.kind_for("word") == "existing_objects" and response:
                response = _respond(kept, record=record, rng=rng, settings=settings, dropout=False)
    listed = [candidate.name for candidate in kept]
    if settings.style.no_object:
        listed.append(NO_OBJECT_NAME)
    order = list(range(len(listed)))
    if training and settings.names.shuffle:
        rng.shuffle(order)
    conversation = Conversation(
        "word",
        tuple(listed),
        order=tuple(order),
        response=response,
        dedupe=settings.dedupe,
        no_object=settings.style.no_object,
        with_object=with_object,
    )
    pairs = [(annotation, label) for label, candidate in enumerate(kept) for annotation in candidate.annotations]
    return Unified(
        conversation=conversation,
        names=conversation.names[: len(kept)],
        isthing=tuple(c.isthing for c in kept),
        use_stuff=task in STUFF_TASKS,
        annotations=tuple(pairs),
        family="word",
        task=task,
        waiting=_positives(candidates) - _positives(kept),
    )


def _positives(candidates: Sequence[Candidate]) -> int:
    return sum(bool(candidate.annotations) for candidate in candidates)


def _respond(
    kept: Sequence[Candidate], *, record: Record, rng: random.Random, settings: UnifySettings, dropout: bool = True
) -> str:
    return compose_response(
        settings.kind_for("word"),
        captions=record.captions,
        present_names=[candidate.name for candidate in kept if candidate.annotations],
        rng=rng,
        caption_dropout=settings.caption_dropout if dropout else 0.0,
    )


def _budget(
    settings: UnifySettings, response: str, *, with_object: bool, count_tokens: Callable[[str], int]
) -> int | None:
    """Tokens the list may take: the limit of the list, and what the context leaves beside the response."""
    # What closes the list is no name, and never cut.
    closing = [NO_OBJECT_NAME] if settings.style.no_object else []
    closing += [OBJECT_NAME] if with_object else []
    closed = sum(count_tokens(f" {name}") + settings.style.name_cost for name in closing)
    limits = [settings.names.max_tokens]
    if settings.room is not None:
        limits.append(settings.room - (count_tokens(f" {response}") if response else 0))
    known = [limit for limit in limits if limit is not None]
    return min(known) - closed if known else None


def fit_budget(
    candidates: Sequence[Candidate],
    budget: int | None,
    *,
    rng: random.Random,
    count_tokens: Callable[[str], int],
    name_cost: int = 1,
    image_id: int | str = "",
) -> list[Candidate]:
    """Candidates, in their order, whose names take at most ``budget`` tokens, ``name_cost`` more for each name.

    Random negatives go first. Where the names of the objects alone are too long, they are cut at random into parts that
    fit, and this visit asks for one part, each as likely as the others: over its visits every object is asked for
    equally often. Negatives fill what the part leaves free.

    Raises:
        ValueError: a name with objects does not fit even alone, or no name fits; the message names the image.
    """
    kept = list(candidates)
    if budget is None:
        return kept
    costs = [count_tokens(f" {candidate.name}") + name_cost for candidate in kept]
    negatives = [i for i, candidate in enumerate(kept) if not candidate.annotations]
    positives = [i for i, candidate in enumerate(kept) if candidate.annotations]
    rng.shuffle(negatives)
    rng.shuffle(positives)
    for index in positives:
        if costs[index] > budget:
            raise ValueError(
                f"image {image_id}: the name {kept[index].name!r} takes {costs[index]} tokens, more than the {budget} "
                "of the whole list; raise names.max_tokens (and prompt.max_length)"
            )
    parts = _parts(positives, costs, budget=budget)
    chosen = set(rng.choice(parts) if len(parts) > 1 else positives)
    total = sum(costs[index] for index in chosen) + sum(costs[index] for index in negatives)
    for place, index in enumerate(negatives):
        if total <= budget:
            chosen.update(negatives[place:])
            break
        total -= costs[index]
    if not chosen:
        raise ValueError(f"image {image_id}: no name fits into {budget} tokens")
    return [candidate for i, candidate in enumerate(kept) if i in chosen]


def _parts(indices: Sequence[int], costs: Sequence[int], *, budget: int) -> list[list[int]]:
    """``indices`` in order, cut wherever the next one would take a part over the budget; each fits alone."""
    parts: list[list[int]] = []
    left = 0
    for index in indices:
        if not parts or costs[index] > left:
            parts.append([])
            left = budget
        parts[-1].append(index)
        left -= costs[index]
    return parts
