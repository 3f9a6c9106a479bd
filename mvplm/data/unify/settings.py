"""What unification draws and what it returns."""

from dataclasses import dataclass, field

from mvplm.prompts import Conversation, PromptLayout, PromptStyle
from mvplm.prompts.layout import check_style
from mvplm.prompts.responses import RESPONSE_KINDS
from mvplm.structures import Annotation, Expression
from mvplm.structures.choices import check_choice

TRAILING = "trailing"
"""The kind of response that stands behind the placeholder, where nothing reads it: objects for a list, a caption for a
sentence."""


def _check_range(name: str, bounds: tuple[int, int]) -> None:
    if not 0 <= bounds[0] <= bounds[1]:
        raise ValueError(f"{name} must be (low, high) with 0 <= low <= high, got {bounds}")


@dataclass(frozen=True)
class NameSampling:
    """How the list of names of a training sample is drawn. Source: MVP-LM, section 3.2 (random negatives).

    Attributes:
        full_limit: vocabularies up to this many names are shown whole or thinned; larger ones are sampled to a size.
        full_probability: probability that a small vocabulary is shown whole; else every absent name is kept with a
            probability that is itself drawn uniformly from [0, 1].
        sizes: (low, high) total number of names drawn from a large vocabulary, present names included.
        phrase_negatives: (low, high) number of phrases of other images added to a grounding list.
        shuffle: fresh order of the names in the prompt at each visit (else the caller's order).
        max_tokens: most tokens the names and their separators may take; needs ``count_tokens``. None: no limit. Absent
            names give way first; present names that are too long together are asked for in parts, one part a visit.
    """

    full_limit: int = 150
    full_probability: float = 0.5
    sizes: tuple[int, int] = (80, 120)
    phrase_negatives: tuple[int, int] = (0, 24)
    shuffle: bool = True
    max_tokens: int | None = 1024

    def __post_init__(self) -> None:
        if not 0.0 <= self.full_probability <= 1.0:
            raise ValueError(f"full_probability must be in [0, 1], got {self.full_probability}")
        _check_range("sizes", self.sizes)
        _check_range("phrase_negatives", self.phrase_negatives)
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens must be positive or None, got {self.max_tokens}")


@dataclass(frozen=True)
class UnifySettings:
    """How a record becomes a conversation.

    Attributes:
        names: drawing of the list of names.
        response_kind: "caption", "none" or "existing_objects"; "trailing" with the released wording.
        caption_dropout: probability of no response in training.
        open_prompt: evaluation only: leave the prompt open so that the model writes its answer (True), or close it with
            the bare result sentence (False).
        dedupe: let equal names of a vocabulary share one place in the prompt instead of refusing them.
        room: tokens for names and response together (context minus everything fixed); None: only ``names.max_tokens``.
        style: wording of the prompts.
        anonymous: probability that a list ends with the word "object", which stands for anything; in evaluation every
            value above 0 means always.
        layout: what comes first in a prompt, and where long lists are cut in evaluation.
    """

    names: NameSampling = field(default_factory=NameSampling)
    response_kind: str = "caption"
    caption_dropout: float = 0.0
    open_prompt: bool = True
    dedupe: bool = False
    room: int | None = None
    style: PromptStyle = field(default_factory=PromptStyle)
    anonymous: float = 0.0
    layout: PromptLayout = field(default_factory=PromptLayout)

    def __post_init__(self) -> None:
        check_choice("response kind", self.response_kind, choices=(*RESPONSE_KINDS, TRAILING))
        if not 0.0 <= self.caption_dropout <= 1.0:
            raise ValueError(f"caption_dropout must be in [0, 1], got {self.caption_dropout}")
        if not 0.0 <= self.anonymous <= 1.0:
            raise ValueError(f"anonymous must be in [0, 1], got {self.anonymous}")
        check_style(self.style, self.layout)

    @property
    def closing(self) -> str | None:
        """Response of an evaluation prompt: None leaves it open, "" closes it without text."""
        return None if self.open_prompt else ""

    def kind_for(self, family: str) -> str:
        """The kind of response of a family ("word" or "sentence"), with "trailing" resolved."""
        if self.response_kind != TRAILING:
            return self.response_kind
        return "existing_objects" if family == "word" else "caption"


@dataclass(frozen=True)
class Unified:
    """A record as (question, answer, targets).

    Attributes:
        conversation: names, prompt order and response.
        names, isthing: K names in the caller's order and their flags; (expression,) and (True,) for a sentence.
        use_stuff: whether the stuff queries take part.
        annotations: pairs (annotation, index into ``names``) of the objects to find; crowd regions are left out.
        family, task: of the sample.
        expression: the expression asked for (sentence family), else None.
        waiting: names with objects that found no room in this visit's list and are asked for at other visits.
    """

    conversation: Conversation
    names: tuple[str, ...]
    isthing: tuple[bool, ...]
    use_stuff: bool
    annotations: tuple[tuple[Annotation, int], ...]
    family: str
    task: str
    expression: Expression | None = None
    waiting: int = 0


@dataclass(frozen=True)
class Candidate:
    """A name that may enter the list, with the objects it names (none: a negative)."""

    name: str
    isthing: bool = True
    annotations: tuple[Annotation, ...] = ()
