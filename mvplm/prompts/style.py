"""How a prompt is worded: which templates, what follows a name, which name stands for no object."""

from dataclasses import dataclass

from mvplm.structures.choices import check_choice

TEMPLATES = ("paper", "released")
NO_OBJECT_NAME = "background"


@dataclass(frozen=True)
class PromptStyle:
    """Wording of prompts; the default is the paper's.

    Attributes:
        templates: "paper" or "released", the wording of the public MVP-LM checkpoints.
        suffix: put the ``[SEG]`` token behind every name and expression; it belongs to their spans.
        no_object: list the name "background" last; it stands for no object and is nobody's target.
        task: "released" only: use the sentences of this task; None takes those of the sample's own.

    Raises:
        ValueError: unknown templates.
    """

    templates: str = "paper"
    suffix: bool = False
    no_object: bool = False
    task: str | None = None

    def __post_init__(self) -> None:
        check_choice("prompt templates", self.templates, choices=TEMPLATES)

    @property
    def name_cost(self) -> int:
        """Tokens of a list entry besides the name: separator and suffix."""
        return (2 if self.templates == "released" else 1) + self.suffix
