"""How referring expressions are counted, as data: one preset for each way in which the field publishes numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mvplm.structures.choices import check_choice

_TENTHS = (0.5, 0.6, 0.7, 0.8, 0.9)
_N_ACC = "expressions without a target answered by nothing / expressions without a target"
_T_ACC = "expressions with a target answered by something / expressions with a target"


@dataclass(frozen=True)
class Protocol:
    """What two ways of counting referring expressions can differ in. I and U: pixels shared, and pixels of either mask.

    cIoU is always the sum of I over the sum of U, gIoU the sum of IoUs over the number of pairs they belong to.

    Attributes:
        name: of the preset.
        expressions: "per_sentence", or "merged": all sentences for the same objects are one expression.
        first_text_of: data sets, by how their catalog names begin, of which only the first text of an image is asked.
        targets: "union": all predicted masks are one, all true masks are one. "matched": the masks of an expression are
            assigned one to one at the least sum of 1 - IoU, and each pair is a sample.
        unmatched: "empty": a mask that "matched" leaves over is paired with a mask without pixels. None for "union".
        count_per: the number of pairs is the larger one of predicted and true masks of each "expression" or of each
            "image". Under "union" both are the number of expressions.
        union_offset: added to U when an IoU is taken; never to the sums of cIoU.
        empty_iou: IoU where U is 0.
        count_union_for_false_mask: pixels predicted where there is no target enter the sum of U.
        count_union_for_denied_mask: the same for pixels of an answer that says "no target" although there is one, which
            shares nothing with it in any case. Otherwise such an answer has no pixels.
        forced_answer: the best query answers where none reaches the threshold, so nothing is ever answered by nothing.
        unparsed_as: "failure": an answer that cannot be read has IoU 0 and counts as wrong in N-acc and T-acc.
        min_area: an answer with fewer pixels means "no target".
        threshold_operator: ">" or ">=", how an IoU is compared in Pr@t.
        thresholds: the t of Pr@t.
        precision_over: Pr@t is a share of "all" expressions or of the "targeted" ones.
        n_acc: what N-acc counts; None where it is not given.
        t_acc: what T-acc counts; None where it is not given.
        ignore_label: value of true maps at pixels that take no part; None: all take part.
        ignore_regions_in: data sets, by how their catalog names begin, whose crowd regions are such pixels.
        frame: masks are scaled to a square of this side, the longer side filling it, before they are counted; None
            counts in the picture's own size.
    """

    name: str
    expressions: str = "per_sentence"
    first_text_of: tuple[str, ...] = ()
    targets: str = "union"
    unmatched: str | None = None
    count_per: str = "expression"
    union_offset: float = 0.0
    empty_iou: float = 1.0
    count_union_for_false_mask: bool = True
    count_union_for_denied_mask: bool = False
    forced_answer: bool = False
    unparsed_as: str = "failure"
    min_area: int = 0
    threshold_operator: str = ">"
    thresholds: tuple[float, ...] = _TENTHS
    precision_over: str = "all"
    n_acc: str | None = _N_ACC
    t_acc: str | None = _T_ACC
    ignore_label: int | None = None
    ignore_regions_in: tuple[str, ...] = ()
    frame: int | None = None

    def __post_init__(self) -> None:
        check_choice("expressions", self.expressions, choices=("per_sentence", "merged"))
        check_choice("targets", self.targets, choices=("union", "matched"))
        check_choice("count_per", self.count_per, choices=("expression", "image"))
        check_choice("threshold_operator", self.threshold_operator, choices=(">", ">="))
        check_choice("precision_over", self.precision_over, choices=("all", "targeted"))
        check_choice("unparsed_as", self.unparsed_as, choices=("failure",))

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON reads them back: lists for tuples."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Protocol":
        """The protocol of :meth:`as_dict`; fields that are not named have their defaults."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


_PER_SENTENCE = Protocol("per_sentence")
_MUSE = Protocol(
    "muse", targets="matched", unmatched="empty", count_per="image", union_offset=1e-5, thresholds=(0.5, 0.7, 0.9)
)
PRESETS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        _PER_SENTENCE,
        replace(_PER_SENTENCE, name="merged", expressions="merged"),
        replace(_PER_SENTENCE, name="release", expressions="merged", forced_answer=True, n_acc=None, t_acc=None),
        Protocol(
            "gres",
            count_union_for_denied_mask=True,
            threshold_operator=">=",
            thresholds=(0.5, 0.7, 0.8, 0.9),
            precision_over="targeted",
        ),
        Protocol(
            "lisa",
            first_text_of=("reasonseg",),
            union_offset=1e-5,
            thresholds=(0.5, 0.7, 0.9),
            ignore_label=255,
            ignore_regions_in=("reasonseg",),
        ),
        Protocol("rmsin", empty_iou=0.0, threshold_operator=">="),
        Protocol("segearth", first_text_of=("earthreason",), union_offset=1e-5),
        _MUSE,
        replace(_MUSE, name="muse_per_question", count_per="expression"),
        replace(_MUSE, name="qwen_ors", count_per="expression", union_offset=0.0),
        Protocol("qwen_ors_union", thresholds=(0.5, 0.7, 0.9)),
    )
}
"""Protocols by name."""


def names() -> tuple[str, ...]:
    """Names of the presets."""
    return tuple(PRESETS)


def get(name: str) -> Protocol:
    """The preset of that name.

    Raises:
        ValueError: no such preset; the message names the nearest.
    """
    return PRESETS[check_choice("referring protocol", name, choices=PRESETS)]
