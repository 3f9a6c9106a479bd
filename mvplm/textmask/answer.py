"""Box-wise answers as text: blocks of label, box and mask, one per instance."""

from collections.abc import Sequence

NO_TARGET = "No object in the image matches the request."
TAGS = ("<ref>", "</ref>", "<box>", "</box>", "<seg>", "</seg>")
REF, REF_END, BOX, BOX_END, SEG, SEG_END = TAGS


def box_text(box: Sequence[int]) -> str:
    """``[[x1 y1 x2 y2]]``."""
    return f"[[{' '.join(str(int(value)) for value in box)}]]"


def block_text(label: str, box: Sequence[int], *, mask: str | None) -> str:
    """One instance; without ``mask`` only label and box."""
    head = f"{REF}{label}{REF_END}{BOX}{box_text(box)}{BOX_END}"
    return head if mask is None else f"{head}{SEG}{mask}{SEG_END}"


def answer_text(blocks: Sequence[str], preamble: str = "") -> str:
    """All blocks under each other, or the sentence for none, after an optional preamble."""
    body = "\n".join(blocks) if blocks else NO_TARGET
    return f"{preamble}\n{body}" if preamble else body
