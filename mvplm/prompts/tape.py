"""The tape a prompt is written on: ids and labels in lock-step, and the finished prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from mvplm.prompts.conversation import Conversation
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


def finish(
    tape: Tape,
    conversation: Conversation,
    *,
    spans: Sequence[Span],
    image_span: Span,
    max_length: int,
    summary_index: int | None = None,
    zero_span: Span | None = None,
) -> RenderedPrompt:
    """The prompt on a tape; the span of the name that stands for no object is set apart.

    Args:
        tape: ids and labels. conversation: what they say.
        spans: of all names in the caller's order, the one for no object last. image_span: of the visual tokens.
        max_length: context of the language model.
        summary_index, zero_span: see ``RenderedPrompt``.

    Raises:
        ValueError: the prompt is longer than ``max_length``.
    """
    if len(tape.ids) > max_length:
        raise ValueError(
            f"the prompt has {len(tape.ids)} tokens ({image_span[1] - image_span[0]} of the image, "
            f"{len(conversation.names)} names), the context holds {max_length}"
        )
    names = spans[:-1] if conversation.no_object else spans
    return RenderedPrompt(
        input_ids=torch.tensor(tape.ids, dtype=torch.long),
        labels=torch.tensor(tape.labels, dtype=torch.long),
        image_span=image_span,
        name_spans=torch.tensor(names, dtype=torch.long).reshape(-1, 2),
        summary_index=summary_index,
        no_object_span=spans[-1] if conversation.no_object else None,
        zero_span=zero_span,
    )
