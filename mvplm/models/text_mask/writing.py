"""Letting a model write greedily, within a grammar where there is one, and remembering how sure it was of every token.

Tokens that a grammar leaves no choice about are not asked for: they are read together with the next one that is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mvplm.models.text_mask.pictures import ReadPictures, cache_argument
from mvplm.textmask.processor import ConstrainedLogits


@dataclass(frozen=True)
class Written:
    """One answer as ids.

    Attributes:
        ids: written tokens, without the end token and what follows it.
        log_probs: of each id, after whatever restricts the choice. free: whether there was a choice at all.
        finished: the model ended the answer; False: it was cut at the limit.
        constraint: what restricted the choice; None: nothing did.
    """

    ids: list[int]
    log_probs: list[float]
    free: list[bool]
    finished: bool
    constraint: ConstrainedLogits | None = field(default=None, compare=False)


@dataclass(frozen=True)
class WritingLimits:
    """Where an answer ends.

    Attributes:
        ends: ids that end an answer. max_new_tokens: most tokens of an answer, its end included.
        jump: write tokens without a choice unasked; the answers are the same.
    """

    ends: tuple[int, ...]
    max_new_tokens: int
    jump: bool = True


class _Row:
    """An answer in the making; ``unread`` are tokens that the model has not seen yet."""

    def __init__(self, question: Sequence[int], constraint: ConstrainedLogits | None, *, limits: WritingLimits) -> None:
        self.unread = list(question)
        self.constraint, self.limits = constraint, limits
        self.state: Any = None if constraint is None else constraint.grammar.start()
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.free: list[bool] = []
        self.ended = False
        self.jump()

    @property
    def done(self) -> bool:
        return self.ended or len(self.ids) >= self.limits.max_new_tokens

    def add(self, token: int, *, log_prob: float, free: bool) -> None:
        """Take a token over and move on in the grammar."""
        if self.constraint is not None:
            self.state = self.constraint.grammar.advance(self.state, token)
            assert self.state is not None, "an allowed token leads on"
        self.ended = token in self.limits.ends
        if not self.ended:
            self.ids.append(token)
            self.log_probs.append(log_prob)
            self.free.append(free)
            self.unread.append(token)

    def jump(self) -> None:
        """Take over the tokens that follow without a choice."""
        if self.constraint is None or not self.limits.jump:
            return
        left = self.limits.max_new_tokens - len(self.ids)
        for token in self.constraint.grammar.forced(self.state, left)[:left]:
            self.add(token, log_prob=0.0, free=False)

    def offered(self, scores: Tensor) -> Tensor:
        """Scores (vocabulary,) of what may be chosen, minus infinity elsewhere."""
        if self.constraint is None:
            return scores
        return self.constraint.mask_row(scores, self.state, written=len(self.ids))

    def written(self) -> Written:
        """The answer."""
        return Written(self.ids, self.log_probs, self.free, self.ended, self.constraint)


@torch.inference_mode()
def write(
    model: Any,
    pictures: ReadPictures,
    *,
    rows: Sequence[int],
    questions: Sequence[Sequence[int]],
    constraints: Sequence[ConstrainedLogits | None],
    limits: WritingLimits,
) -> list[Written]:
    """Greedy answers to B questions; the settings stored with a base model are not used.

    Args:
        model: of ``AutoModelForImageTextToText``, or one with adapters.
        pictures: what it has read. rows: B positions among them.
        questions: B lists of ids that follow the picture. constraints: B, None where anything may be written.
        limits: where answers end.
    """
    answers = [
        _Row(question, constraint, limits=limits) for question, constraint in zip(questions, constraints, strict=True)
    ]
    open_rows = [place for place, answer in enumerate(answers) if not answer.done]
    state = pictures.select([rows[place] for place in open_rows])
    while open_rows:
        state, scores = _ask(model, state, rows=[answers[place] for place in open_rows])
        _choose([answers[place] for place in open_rows], scores)
        kept = [place for place, row in enumerate(open_rows) if not answers[row].done]
        if len(kept) < len(open_rows):
            places = torch.tensor(kept, device=state.attended.device, dtype=torch.int64)
            if kept:
                state.cache.batch_select_indices(places)
            state = ReadPictures(state.cache, state.attended[places], state.following[places])
            open_rows = [open_rows[place] for place in kept]
    return [answer.written() for answer in answers]


def _ask(model: Any, state: ReadPictures, *, rows: Sequence[_Row]) -> tuple[ReadPictures, Tensor]:
    """Read the unread tokens of some answers; the state behind them and scores (B, vocabulary) of what comes next."""
    device = state.attended.device
    counts = [len(row.unread) for row in rows]
    longest = max(counts)
    lengths = torch.tensor(counts, device=device)
    # Padding stands behind the tokens of a row and is never attended, so what follows is not disturbed by it.
    ids = torch.tensor([row.unread + row.unread[-1:] * (longest - len(row.unread)) for row in rows], device=device)
    steps = torch.arange(longest, device=device)
    attended = torch.cat([state.attended, (steps < lengths[:, None]).to(state.attended)], dim=1)
    positions = state.following[:, None] + torch.minimum(steps, lengths[:, None] - 1)
    lasts = sorted(set(counts))
    output = model(
        input_ids=ids,
        attention_mask=attended,
        position_ids=positions,
        **cache_argument(model, state.cache),
        use_cache=True,
        logits_to_keep=torch.tensor(lasts, device=device) - 1,
    )
    chosen = torch.tensor([lasts.index(count) for count in counts], device=device)
    scores = output.logits[torch.arange(len(rows), device=device), chosen].float()
    for row in rows:
        row.unread = []
    return ReadPictures(state.cache, attended, state.following + lengths), scores


def _choose(rows: Sequence[_Row], scores: Tensor) -> None:
    """The best token on offer for every answer, and what follows from it without a choice."""
    offered = torch.stack([row.offered(own) for row, own in zip(rows, scores, strict=True)])
    chosen = offered.argmax(-1)
    log_probs = offered.log_softmax(-1).gather(1, chosen[:, None])[:, 0].tolist()
    free = (offered.isfinite().sum(-1) > 1).tolist()
    for place, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
        row.add(token, log_prob=log_probs[place], free=free[place])
        if not row.done:
            row.jump()
