"""A prompt in colour: what is ignored, what is trained on, and where the names are."""

from typing import TYPE_CHECKING

from mvplm.prompts.tokens import PAD_TOKEN, SUFFIX_TOKEN, SUMMARY_TOKEN, PromptTokenizer
from mvplm.structures.sample import RenderedPrompt

if TYPE_CHECKING:
    from rich.text import Text

_BACKGROUNDS = (" on grey11", " on grey23")
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


def show_prompt(prompt: RenderedPrompt, tokenizer: PromptTokenizer) -> "Text":
    """Rich text of a rendered prompt.

    Grey: ignored by the language loss. Green: supervised. Underlined: a name or expression (pooled into its embedding).
    Magenta: control tokens. Cyan: the block of visual tokens. Backgrounds alternate from token to token;
    characters made of several tokens are joined.
    """
    from rich.text import Text

    ids, labels = prompt.input_ids.tolist(), prompt.labels.tolist()
    named = {place for start, end in prompt.name_spans.tolist() for place in range(start, end)}
    start, end = prompt.image_span
    text, pending, shade = Text(), [], 0
    controls = {tokenizer.pad_id: PAD_TOKEN, tokenizer.end_id: "[end]"}
    controls |= {tokenizer.summary_id: SUMMARY_TOKEN, tokenizer.suffix_id: SUFFIX_TOKEN}
    zeros = range(*(prompt.zero_span or (0, 0)))
    for place, token in enumerate(ids):
        if start <= place < end:
            if place == start:
                text.append(f"[image x {end - start}]", style="cyan")
            continue
        supervised = labels[place] >= 0
        if place in zeros:
            text.append("[zeros]" if place == zeros[0] else "", style="cyan")
            continue
        if token in controls:
            style = "bold magenta" if supervised else "magenta"
            text.append(controls[token], style=style + (" underline" if place in named else ""))
            continue
        pending.append(token)
        piece = tokenizer.decode(pending)
        if piece.endswith(_UNFINISHED) and place + 1 < len(ids):
            continue
        style = ("green" if supervised else "grey62") + (" underline" if place in named else "")
        text.append(piece.replace("\n", "⏎\n"), style=style + _BACKGROUNDS[shade % 2])
        pending, shade = [], shade + 1
    return text


def show_legend(prompt: RenderedPrompt) -> "Text":
    """One line that explains the colours and counts the tokens of a prompt."""
    from rich.text import Text

    supervised = int((prompt.labels >= 0).sum())
    image = prompt.image_span[1] - prompt.image_span[0]
    parts = [(f"{len(prompt)} tokens: ", ""), (f"image {image}", "cyan"), (" · ", "")]
    parts += [(f"ignored {len(prompt) - supervised - image}", "grey62"), (" · ", "")]
    parts += [(f"supervised {supervised}", "green"), (" · ", ""), (f"names {len(prompt.name_spans)}", "underline")]
    return Text.assemble(*parts)
