"""The tape a prompt is written on: ids and labels in lock-step, and the finished prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from mvplm.prompts.conversation import Conversation
from mvplm.prompts.templates import OBJECT_NAME
from mvplm.structures.sample import RenderedPrompt

IGNORED = -100

Span = tuple[int, int]


@dataclass
class Tape:
    """Ids and labels that only ever grow together."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def append(self, ids: list[int], *, supervised: bool = False) -> Span:
        """Add a piece and return its (start, end)."""
        start = len(self.ids)
        self.ids.extend(ids)
        self.labels.extend(ids if supervised else [IGNORED] * len(ids))
        return start, len(self.ids)


@dataclass
class Asked:
    """Where a question stands on a tape.

    Attributes:
        names: spans of all names in the caller's order, the one for no object last; (0, 0) in a list that is left out.
        image_span: of the visual tokens.
        list_span, object_span: see ``RenderedPrompt``.
    """

    names: Sequence[Span] = ()
    image_span: Span = (0, 0)
    list_span: Span | None = None
    object_span: Span | None = None


def place_list(conversation: Conversation, span_of: Mapping[str, Span], *, list_span: Span) -> Asked:
    """Where a list stands whose entries have the spans ``span_of``; equal names share one."""
    return Asked(
        [span_of[name] for name in conversation.names],
        list_span=list_span,
        object_span=span_of[OBJECT_NAME] if conversation.with_object else None,
    )


def finish(
    tape: Tape,
    conversation: Conversation,
    *,
    asked: Asked,
    max_length: int,
    aside: bool = False,
    summary_index: int | None = None,
    zero_span: Span | None = None,
) -> RenderedPrompt:
    """The prompt on a tape; the span of the name that stands for no object is set apart.

    Args:
        tape: ids and labels. conversation: what they say. asked: where.
        max_length: context of the language model.
        aside, summary_index, zero_span: see ``RenderedPrompt``.

    Raises:
        ValueError: the prompt is longer than ``max_length``.
    """
    if len(tape.ids) > max_length:
        raise ValueError(
            f"the prompt has {len(tape.ids)} tokens ({asked.image_span[1] - asked.image_span[0]} of the image, "
            f"{len(conversation.names)} names), the context holds {max_length}"
        )
    names = asked.names[:-1] if conversation.no_object else asked.names
    return RenderedPrompt(
        input_ids=torch.tensor(tape.ids, dtype=torch.long),
        labels=torch.tensor(tape.labels, dtype=torch.long),
        image_span=asked.image_span,
        name_spans=torch.tensor(names, dtype=torch.long).reshape(-1, 2),
        summary_index=summary_index,
        no_object_span=asked.names[-1] if conversation.no_object and asked.list_span is not None else None,
        zero_span=zero_span,
        list_span=asked.list_span,
        aside=aside,
        object_span=asked.object_span,
    )
