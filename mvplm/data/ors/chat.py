"""Image-text models of transformers (Qwen-VL, InternVL ...) as tagger, verifier, captioner and describer."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mvplm.data.ors.callables import VERDICTS
from mvplm.data.ors.detectors import LocalModel
from mvplm.data.ors.instances import Box
from mvplm.structures.choices import check_choice

PROMPTS = {
    "tagger": "List every kind of thing that is visible in this image, one or two words each, separated by commas.",
    "verifier": (
        "In the second image one region of the first is coloured blue. It should be one whole {label}. Answer with "
        'JSON only: {{"category": is the region a {label}?, "coverage": is the {label} covered as a whole?, "purity": '
        'is nothing else coloured?, "unfragmented": is it in one piece unless something hides it?, "complete": is '
        'every visible part coloured?, "reason": "..."}}, with true or false.'
    ),
    "captioner": "Write one sentence about every {label} in this image ({count} of them).",
    "describer": (
        "In the second image one {label} of the first is coloured blue. Describe it in one sentence so that it can be "
        "told from everything else in the first image: category, attributes, state, position relative to other things, "
        "context. Do not mention the colouring."
    ),
}
"""Questions of each role; ours, as the published ones are not known."""
_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


class Chat(LocalModel):
    """An image-text model that answers greedily.

    Args:
        model: folder. device: torch device.
        prompt: the question, with the slots of the one in ``PROMPTS``; "" takes that.
        max_new_tokens: longest answer.

    Raises:
        FileNotFoundError: no such folder. ValueError: a slot that there is not.
    """

    role = ""

    def __init__(self, model: str, *, device: str = "cpu", prompt: str = "", max_new_tokens: int = 160) -> None:
        prompt = prompt or PROMPTS[self.role]
        super().__init__(model, device=device, prompt=prompt, max_new_tokens=max_new_tokens)
        try:
            prompt.format(label="dog", count=1)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"prompt of the {self.role} may have the slots label and count only: {error}") from error
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens

    def answer(self, images: Sequence[np.ndarray], **slots: Any) -> str:
        """What the model says about images to the question with its slots filled."""
        import torch

        model, processor = self.load("AutoModelForImageTextToText")
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": self.prompt.format(**slots)}]
        turns = [{"role": "user", "content": content}]
        text = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        inputs = processor(images=list(images), text=[text], return_tensors="pt").to(self.device)
        with torch.inference_mode():
            ids = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=self.max_new_tokens)
        return str(processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]).strip()


class ChatTagger(Chat):
    """Tags from a list in words."""

    role = "tagger"

    def __call__(self, image: np.ndarray) -> list[tuple[str, float]]:
        """See the role."""
        tags = re.split(r"[,;\n]", self.answer([image]))
        return [(tag.strip(" .-*"), 1.0) for tag in tags if tag.strip(" .-*")]


class ChatVerifier(Chat):
    """Verdicts from JSON; what cannot be read is a "no"."""

    role = "verifier"

    def __call__(self, image: np.ndarray, overlay: np.ndarray, *, label: str) -> dict[str, Any]:
        """See the role."""
        return read_verdict(self.answer([image, overlay], label=label))


class ChatCaptioner(Chat):
    """A sentence about all objects of a label."""

    role = "captioner"

    def __call__(self, image: np.ndarray, label: str, *, instances: Sequence[Box]) -> str:
        """See the role."""
        return self.answer([image], label=label, count=len(instances))


class ChatDescriber(Chat):
    """A description of the object in blue."""

    role = "describer"

    def __call__(self, image: np.ndarray, overlay: np.ndarray, *, box: Box, label: str) -> str:
        """See the role."""
        return self.answer([image, overlay], label=label)


def read_verdict(text: str) -> dict[str, Any]:
    """The five verdicts in an answer; those that are not there or no ``true`` are False."""
    found = _OBJECT.search(text)
    try:
        told = json.loads(found[0]) if found else {}
    except ValueError:
        told = {}
    told = told if isinstance(told, Mapping) else {}
    return {**{name: told.get(name) is True for name in VERDICTS}, "reason": str(told.get("reason", text[:200]))}


_CHATS: dict[str, type[Chat]] = {kind.role: kind for kind in (ChatTagger, ChatVerifier, ChatCaptioner, ChatDescriber)}


def make_chat(role: str, **options: Any) -> Chat:
    """An image-text model in a role. Raises ValueError for one it cannot play."""
    return _CHATS[check_choice("role of an image-text model", role, choices=_CHATS)](**options)
