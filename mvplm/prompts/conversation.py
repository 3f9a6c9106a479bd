"""A conversation about one image: what is asked for, in which order, and what is answered."""

from dataclasses import dataclass

from mvplm.prompts.templates import OBJECT_NAME
from mvplm.structures.choices import check_choice

FAMILIES = ("word", "sentence", "caption")


def clean_text(text: str, *, what: str = "name") -> str:
    """Outer whitespace stripped, inner runs (newlines too) collapsed to one blank; nothing else is changed.

    Raises:
        ValueError: ``text`` is not a string, or nothing visible is left of it.
    """
    if not isinstance(text, str):
        raise ValueError(f"a {what} must be a string, got {type(text).__name__}")
    cleaned = " ".join(text.split())
    if not cleaned or not (cleaned.isprintable() or any(character.isprintable() for character in cleaned)):
        raise ValueError(f"a {what} must not be empty, got {text!r}")
    return cleaned


@dataclass(frozen=True)
class Conversation:
    """One question about an image and, in training, its answer.

    Attributes:
        family: "word" (a list of names), "sentence" (one expression) or "caption" (nothing asked).
        names: K cleaned names in the caller's order; (expression,) for a sentence; () for a caption.
        order: permutation of range(K): ``order[i]`` is the name that stands at place i of the prompt. Empty means the
            caller's order.
        response: text before the result sentence, "" for none; None leaves the prompt open after the question, for
            generation. For the family "caption": the caption, or None to generate it.
        dedupe: let equal names share one place in the prompt instead of refusing them.
        no_object: the last of the names (family "word") stands for no object.
        with_object: end the list (family "word") with the word "object", which stands for anything. It has an embedding
            but is no choice, unless it is one of the names.

    Raises:
        ValueError: unknown family, wrong number of names, empty or (without ``dedupe``) repeated names, ``order`` that
            is no permutation, empty caption.
    """

    family: str
    names: tuple[str, ...] = ()
    order: tuple[int, ...] = ()
    response: str | None = None
    dedupe: bool = False
    no_object: bool = False
    with_object: bool = False

    def __post_init__(self) -> None:
        check_choice("family", self.family, choices=FAMILIES)
        if isinstance(self.names, str):
            raise ValueError(f"names must be a sequence of strings, got the string {self.names!r}")
        what = "name" if self.family == "word" else "expression"
        names = tuple(clean_text(name, what=what) for name in self.names)
        expected = {"word": "at least one name", "sentence": "exactly one expression", "caption": "no names"}[
            self.family
        ]
        if not {"word": len(names) > 0, "sentence": len(names) == 1, "caption": not names}[self.family]:
            raise ValueError(f"a {self.family} conversation needs {expected}, got {len(names)}")
        if self.no_object and (self.family != "word" or len(names) < 2):
            raise ValueError("a name for no object needs a list with at least one other name")
        if self.no_object and names[-1] in names[:-1]:
            raise ValueError(f"the name {names[-1]!r} stands for no object and cannot be asked for")
        repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if repeated and not self.dedupe:
            raise ValueError(f"names must differ after cleaning whitespace, repeated: {', '.join(map(repr, repeated))}")
        order = tuple(self.order) or tuple(range(len(names)))
        if sorted(order) != list(range(len(names))):
            raise ValueError(f"order must be a permutation of 0..{len(names) - 1}, got {order}")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "order", order)
        if self.response is not None:
            needed = self.family == "caption"
            response = clean_text(self.response, what="caption") if needed else " ".join(self.response.split())
            object.__setattr__(self, "response", response)

    @property
    def listed(self) -> tuple[str, ...]:
        """The list as it is written: names in prompt order, equal ones once, with ``with_object`` "object" last."""
        names = [self.names[index] for index in self.order]
        return tuple(dict.fromkeys([*names, OBJECT_NAME] if self.with_object else names))
