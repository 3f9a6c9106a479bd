"""What the model says before the result sentence. Source: MVP-LM, section 3.2 and table 7."""

import random
from collections.abc import Sequence

from mvplm.prompts.templates import NOTHING_EXISTS
from mvplm.structures.choices import check_choice

RESPONSE_KINDS = ("caption", "none", "existing_objects")
_TERMINALS = ".!?…"


def normalise_caption(caption: str) -> str:
    """Whitespace collapsed, ended by exactly one of ``. ! ?`` (the first of a run, "." where there is none).

    A caption without any text besides punctuation gives "".
    """
    text = " ".join(caption.split())
    body = text.rstrip(_TERMINALS + " ")
    if not any(character.isprintable() for character in body):
        return ""
    run = text[len(body) :].strip()
    return body + (run[0] if run and run[0] != "…" else ".")


def compose_response(
    kind: str,
    *,
    captions: Sequence[str] = (),
    present_names: Sequence[str] = (),
    expressions: Sequence[str] = (),
    rng: random.Random,
    caption_dropout: float = 0.0,
) -> str:
    """Response text of one training visit; "" stands for no response.

    Args:
        kind: "caption" (one of ``captions``, uniformly; none without captions), "none", or "existing_objects"
            ("There exists a, b." over unique names or expressions, shuffled; "There exists nothing." without any).
        captions: surviving captions of the image.
        present_names: names with at least one object in the image (word family).
        expressions: one expression per object of the image (sentence family).
        rng: source of every draw.
        caption_dropout: probability of no response, so that the model also works without writing one.

    Raises:
        ValueError: unknown kind, or a probability outside [0, 1].
    """
    check_choice("response kind", kind, choices=RESPONSE_KINDS)
    if not 0.0 <= caption_dropout <= 1.0:
        raise ValueError(f"caption_dropout must be in [0, 1], got {caption_dropout}")
    if kind == "none" or rng.random() < caption_dropout:
        return ""
    if kind == "caption":
        usable = [text for text in map(normalise_caption, captions) if text]
        return rng.choice(usable) if usable else ""
    unique = list(dict.fromkeys([*present_names, *expressions]))
    rng.shuffle(unique)
    return f"There exists {', '.join(unique)}." if unique else NOTHING_EXISTS
