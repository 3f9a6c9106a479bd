"""The model card: what a saved model is, what it was trained on, how to load it, how good it is. Nothing is guessed."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvplm.perceiver import Perceiver

CARD_FILE = "README.md"
_TAGS = ["mvp-lm", "image-segmentation", "object-detection", "referring-expressions"]
_SHOWN_NAMES = 40

_CARD = """\
---
{front}
---

# {title}

Boxes and masks for a list of words or a sentence, by MVP-LM ([arXiv:2507.16213](https://arxiv.org/abs/2507.16213)).

```python
import mvplm

perceiver = mvplm.Perceiver.from_pretrained({where})
out = perceiver.predict("photo.png", classes={classes})
out = perceiver.predict("photo.png", text={text})
```

## What it is

{facts}

## Trained on

{training}

## How good

{metrics}

## Licence of the weights

{license}
"""


def model_card(
    perceiver: "Perceiver",
    title: str,
    *,
    on_hub: bool = False,
    provenance: Mapping[str, Any] | None = None,
    license: str | None = None,
    metrics: Mapping[str, float] | None = None,
) -> str:
    """Text of the card, Markdown with the front matter that the Hub reads.

    Args:
        perceiver: the model.
        title: name of the directory, or id on the Hub.
        on_hub: whether the title is an id on the Hub.
        provenance: what the model was trained on; what it was loaded with when None.
        license: identifier of the weights' licence; the provenance's when None.
        metrics: measured numbers by name, in percent; the provenance's when None.
    """
    from huggingface_hub import ModelCardData

    origin = (perceiver.provenance if provenance is None else provenance) or {}
    license = license or origin.get("license")
    front = ModelCardData(license=license, library_name="mvplm", pipeline_tag="image-segmentation", tags=_TAGS)
    names = ("dog", "sofa") if perceiver.vocabulary is None else perceiver.vocabulary.names[:2]
    return _CARD.format(
        front=front.to_yaml().strip(),
        title=title,
        where=f"{json.dumps(title)}, local_files_only=False" if on_hub else json.dumps(title),
        classes=json.dumps(names, ensure_ascii=False),
        text=json.dumps(f"the {names[0]} on the left", ensure_ascii=False),
        facts=_lines(_facts(perceiver)),
        training=_lines(_training(origin)),
        metrics=_table(metrics or origin.get("metrics") or {}),
        license=license or "Not stated.",
    )


def _facts(perceiver: "Perceiver") -> dict[str, Any]:
    model, image = perceiver.config.model, perceiver.config.image
    vocabulary = perceiver.vocabulary
    names = "none stored; any can be asked for"
    if vocabulary is not None:
        shown = ", ".join(vocabulary.names[:_SHOWN_NAMES])
        names = f"{len(vocabulary)}: {shown}{', ...' if len(vocabulary) > _SHOWN_NAMES else ''}"
    return {
        "architecture": model.preset or "of its own, see `config.yaml`",
        "parameters": f"{sum(p.numel() for p in perceiver.model.parameters()):,}",
        "vision encoder": model.encoder.name or model.encoder.kind,
        "longer side of the image": f"{image.size} pixels",
        "names it knows": names,
    }


def _training(origin: Mapping[str, Any]) -> dict[str, Any]:
    """What the provenance says in lines; sources and versions as one line each."""
    if not origin:
        return {"data": "not stated"}
    lines = {}
    for key, value in origin.items():
        if key not in ("license", "metrics", "versions"):
            text = ", ".join(f"{name}: {item}" for name, item in value.items()) if isinstance(value, Mapping) else value
            lines[key.replace("_", " ")] = text
    return lines


def _lines(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"* {name}: {value}" for name, value in facts.items())


def _table(metrics: Mapping[str, float]) -> str:
    if not metrics:
        return "Not measured."
    rows = [f"| `{name}` | {value:.1f} |" for name, value in metrics.items()]
    return "\n".join(["Percent.", "", "| metric | value |", "|---|---:|", *rows])
