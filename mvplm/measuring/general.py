"""General competence: a model that writes boxes against its base on ordinary questions, with and without pictures.

The questions are package data: 200 of text alone, 200 about drawn pictures of the embedded dataset.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mvplm.data.catalog import get_dataset
from mvplm.data.images import load_image
from mvplm.data.preparation import sha256
from mvplm.evaluation import write_metrics
from mvplm.models.qwen3vl_seg.drift import Drift, ModelPair, is_unwanted, measure_drift, summarise
from mvplm.prompts.box_masks import MASK_TOKENS
from mvplm.qwen3vl_seg.files import ADAPTER_DIR, load_box_perceiver, trained_beside_adapters
from mvplm.qwen3vl_seg.perceiver import BoxPerceiver
from mvplm.structures.written import Turn, WrittenSample
from mvplm.text4seg.build import read_base

NAME = "general"
PROMPTS = Path(__file__).parents[1] / "assets" / "general" / "prompts.jsonl"
_KEYS = {"id", "text", "scene", "image"}
_SCENE_SIZE = 256
_MARK = "the-question-stands-here"


@dataclass(frozen=True)
class GeneralPrompt:
    """An ordinary question; ``scene``: about this drawn picture; ``image``: about this file; neither: text alone."""

    id: str
    text: str
    scene: int | None = None
    image: str | None = None

    @property
    def kind(self) -> str:
        """ "text" or "image"."""
        return "text" if self.scene is None and self.image is None else "image"


def read_prompts(path: str | Path = PROMPTS) -> list[GeneralPrompt]:
    """Questions of a JSONL file with ``id``, ``text`` and, for pictures, ``scene`` (a number) or ``image`` (a file).

    Raises:
        ValueError: a line is none of that; the message names it.
    """
    found = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or set(entry) - _KEYS:
                raise ValueError(f"keys must be among {', '.join(sorted(_KEYS))}")
            found.append(GeneralPrompt(**entry))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return found


def run_general(
    weights: str | Path,
    *,
    out: str | Path,
    base: str | None = None,
    prompts: str | Path = PROMPTS,
    limit: int = 0,
    max_new_tokens: int = 64,
    device: str = "auto",
) -> dict[str, float]:
    """Compare a model with its base; writes ``metrics.json`` and ``answers.jsonl`` into ``out``.

    Args:
        weights: directory of a saved model. base: its base model; None takes what its configuration says.
        prompts: JSONL file of questions. limit: only so many of each kind; 0: all.
        max_new_tokens: longest answer. device: see :func:`mvplm.load`.

    Returns:
        Numbers of :func:`mvplm.models.qwen3vl_seg.drift.summarise` by kind, such as ``text/kl``.

    Raises:
        ValueError: no saved model that writes boxes, no base to compare with, or wrong questions.
    """
    started = time.perf_counter()
    perceiver = load_box_perceiver(weights, device=device)
    pair = model_pair(perceiver, base=base, weights=weights)
    asked = _first(read_prompts(prompts), limit)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    drifts: dict[str, list[Drift]] = {}
    unwanted: dict[str, list[bool]] = {}
    decode = perceiver.system.tokenizer.decode
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as file:
        for prompt, inputs in _inputs(perceiver, asked):
            with perceiver.autocast():
                drift = measure_drift(pair, inputs, max_new_tokens=max_new_tokens)
            text = decode(drift.adapted_ids)
            bad = is_unwanted(text, drift.adapted_ids, new_tokens=pair.new_tokens)
            drifts.setdefault(prompt.kind, []).append(drift)
            unwanted.setdefault(prompt.kind, []).append(bad)
            entry = {"id": prompt.id, "base": decode(drift.base_ids), "adapted": text, "json": bad}
            numbers = {"tokens": drift.tokens, "agreeing": drift.agreeing, "kl": round(drift.kl, 6)}
            file.write(json.dumps({**entry, **numbers}, ensure_ascii=False) + "\n")
    results = {
        f"{kind}/{name}": value
        for kind, own in drifts.items()
        for name, value in summarise(own, unwanted[kind]).items()
    }
    write_metrics(
        folder / "metrics.json",
        results,
        protocol={
            "weights": str(weights),
            "base": base or perceiver.config.box_mask.base,
            "max_new_tokens": max_new_tokens,
            "seconds": round(time.perf_counter() - started, 1),
        },
        data={"prompts": sha256(Path(prompts))[:16], "counts": {kind: len(own) for kind, own in drifts.items()}},
    )
    return results


def model_pair(perceiver: BoxPerceiver, *, base: str | None, weights: str | Path) -> ModelPair:
    """A model with its base: the model itself with its adapters switched off, or the base read anew.

    Raises:
        ValueError: there is no base to compare with.
    """
    adapted, settings = perceiver.model.base, perceiver.config.box_mask
    place = base or settings.base
    new = sorted(perceiver.system.tokenizer.get_added_vocab()[token] for token in MASK_TOKENS)
    pad, ends = perceiver.system.tokenizer.pad_id, perceiver.system.ends
    only_adapters = (Path(weights) / ADAPTER_DIR).is_dir() and not trained_beside_adapters(adapted)
    if only_adapters and base is None:
        return ModelPair(adapted, adapted, new, ends, pad)
    if place is None:
        raise ValueError(
            f"{weights} does not name a base model to compare with: say which one it was trained from, with "
            "box_mask.base=DIRECTORY"
        )
    other = read_base(place, dtype=settings.dtype).to(perceiver.device).eval()
    return ModelPair(other, adapted, new, ends, pad)


def _first(prompts: Sequence[GeneralPrompt], limit: int) -> list[GeneralPrompt]:
    """At most ``limit`` questions of each kind, in order."""
    kinds = ("text", "image")
    groups = [[prompt for prompt in prompts if prompt.kind == kind] for kind in kinds]
    return [prompt for group in groups for prompt in (group[:limit] if limit else group)]


def _inputs(
    perceiver: BoxPerceiver, prompts: Sequence[GeneralPrompt]
) -> Iterator[tuple[GeneralPrompt, dict[str, Any]]]:
    """Questions with the arguments of the models for each."""
    tokenizer = perceiver.system.tokenizer
    turns = [{"role": "user", "content": [{"type": "text", "text": _MARK}]}]
    whole = str(perceiver.system.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    before, after = (tokenizer.frame(part) for part in whole.split(_MARK))
    scenes = max((prompt.scene + 1 for prompt in prompts if prompt.scene is not None), default=0)
    drawn = get_dataset("scenes/val", num=scenes, size=_SCENE_SIZE) if scenes else []
    for prompt in prompts:
        if prompt.kind == "text":
            ids = torch.tensor([[*before, *tokenizer.encode(prompt.text), *after]], device=perceiver.device)
            yield prompt, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            continue
        picture = load_image(prompt.image if prompt.scene is None else drawn[prompt.scene].image)
        image = torch.from_numpy(picture).permute(2, 0, 1).contiguous()
        sample = WrittenSample(image, prompt.id, "vqa", (Turn(prompt.text),))
        yield prompt, perceiver.collate([sample]).to(perceiver.device).inputs
