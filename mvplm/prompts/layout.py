"""How prompts are laid out: what comes first, and how much of a list one prompt holds."""

from dataclasses import dataclass

from mvplm.prompts.style import PromptStyle
from mvplm.structures.choices import check_choice

IMAGE_FIRST, INSTRUCTION_FIRST = "image_first", "instruction_first"
ORDERS = (IMAGE_FIRST, INSTRUCTION_FIRST)


@dataclass(frozen=True)
class PromptLayout:
    """Layout of prompts.

    Attributes:
        order: "image_first", or "instruction_first": description and names before the image.
        max_names: most names of one prompt at inference; a longer list is cut into equal parts.
        response_room: tokens kept free beside a list for a response that is still to be written.

    Raises:
        ValueError: unknown order, or counts that make no sense.
    """

    order: str = IMAGE_FIRST
    max_names: int = 320
    response_room: int = 192

    def __post_init__(self) -> None:
        check_choice("prompt order", self.order, choices=ORDERS)
        if self.max_names < 1 or self.response_room < 0:
            raise ValueError(
                f"max_names must be positive and response_room not negative, got {self.max_names}, {self.response_room}"
            )


def check_style(style: PromptStyle, layout: PromptLayout) -> None:
    """Raise ValueError for a wording that has no prompts of the layout's order."""
    if style.templates == "released" and layout.order != IMAGE_FIRST:
        raise ValueError(f"prompts in the released wording have the image first, got the order {layout.order!r}")
