"""Image-text-to-text models of transformers (InternVL, Qwen-VL, LLaVA, BLIP ...) as captioners, offline by default."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvplm.label.captioners import LIKELIEST, CaptionerSpec, Draw
from mvplm.label.store import CaptionerInfo
from mvplm.structures.choices import check_choice

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_DTYPES = ("auto", "float32", "bfloat16", "float16")
_END = 1 << 20


def describe_model(spec: CaptionerSpec) -> CaptionerInfo:
    """What is recorded about a model; weights are not loaded.

    Raises:
        ValueError: it is not on this machine and may not be downloaded, or it is no model directory.
    """
    settings = spec.settings
    check_choice("dtype", settings.dtype, choices=_DTYPES)
    revision = _revision(spec)
    asked = _question(_load_processor(spec), settings.prompt) is not None
    return CaptionerInfo(
        name=spec.name,
        model=spec.source,
        revision=revision,
        prompt=settings.prompt if asked else "",
        decoding={"greedy": True, "max_new_tokens": settings.max_new_tokens, "dtype": settings.dtype}
        | ({"drawn": {"temperature": settings.temperature, "top_p": settings.top_p}} if settings.samples > 1 else {}),
    )


class HuggingFaceCaptioner:
    """A model with its processor. Pictures of a batch are answered together, padded on the left.

    Args:
        spec: directory or Hub id, and how to run it.
        device: torch device.

    Raises:
        ValueError: the model cannot be loaded; the message names it.
    """

    def __init__(self, spec: CaptionerSpec, *, device: str = "cpu") -> None:
        import torch
        from transformers import AutoModelForImageTextToText

        self.info = describe_model(spec)
        self.settings = spec.settings
        self.device = torch.device(device)
        dtype: Any = self.settings.dtype
        if dtype == "auto" and self.device.type == "cpu":
            dtype = "float32"
        self.processor = _load_processor(spec)
        self._text = _question(self.processor, self.settings.prompt)
        offline = not self.settings.download
        try:
            model = AutoModelForImageTextToText.from_pretrained(spec.source, local_files_only=offline, dtype=dtype)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"captioner {spec.source!r} cannot be loaded: {error}") from error
        self.model = model.to(self.device).eval()
        self.tokenizer = getattr(self.processor, "tokenizer", self.processor)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if self.model.generation_config.pad_token_id is None:
            self.model.generation_config.pad_token_id = self.tokenizer.pad_token_id

    def caption(self, images: "Sequence[Image]", draw: Draw = LIKELIEST) -> list[str]:
        """The models' answers, without the question and without special tokens."""
        import torch

        inputs = self._inputs(images)
        with torch.inference_mode():
            ids = self.model.generate(
                **inputs,
                do_sample=False,
                num_beams=1,
                max_new_tokens=self.settings.max_new_tokens,
                logits_processor=self._drawing(draw) if draw.sample else None,
            )
        asked = inputs.get("input_ids")
        if asked is not None and torch.equal(ids[:, : asked.shape[1]], asked):
            ids = ids[:, asked.shape[1] :]
        return [text.strip() for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]

    def _drawing(self, draw: Draw) -> Any:
        """What makes the largest score a draw at the temperature, from the seed of each picture."""
        from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

        steps: list[Any] = [TemperatureLogitsWarper(float(self.settings.temperature))]
        if self.settings.top_p < 1:
            steps.append(TopPLogitsWarper(float(self.settings.top_p)))
        return LogitsProcessorList([*steps, _SeededNoise(draw.seeds(self.info.name))])

    def _inputs(self, images: "Sequence[Image]") -> dict[str, Any]:
        text = self._text
        questions = {} if text is None else {"text": [text] * len(images), "padding": True}
        # With a question, each prompt has its own list of pictures: processors of several pictures need to know whose.
        pictures: list[Any] = list(images) if text is None else [[image] for image in images]
        inputs = self.processor(images=pictures, return_tensors="pt", **questions).to(self.device)
        kind = self.model.dtype
        return {key: value.to(kind) if value.is_floating_point() else value for key, value in inputs.items()}


class _SeededNoise:
    """Adds Gumbel noise to the scores (B, K): their maximum is then a draw from their softmax.

    Every row has a generator of its own, so that a picture's text does not depend on the others of its batch, as it
    would with the one generator of ``do_sample``.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        import torch

        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: "Tensor", scores: "Tensor") -> "Tensor":
        """The noisy scores, float32."""
        import torch

        waits = [torch.empty(scores.shape[1]).exponential_(generator=generator) for generator in self._generators]
        return scores.float() - torch.stack(waits).to(scores.device).log()


def _load_processor(spec: CaptionerSpec) -> Any:
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(spec.source, local_files_only=not spec.settings.download)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"captioner {spec.source!r}: its processor cannot be loaded: {error}") from error


def _question(processor: Any, prompt: str) -> str | None:
    """The prompt in the model's own form; None for a model that only takes pictures."""
    if getattr(processor, "chat_template", None):
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
        return processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    token = getattr(processor, "image_token", None)
    return None if token is None else f"{token}\n{prompt}"


def _revision(spec: CaptionerSpec) -> str:
    """The commit of a model of the Hub, or a hash over the files of a directory."""
    folder = Path(spec.source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(f"captioner {spec.source!r} is no model directory: it has no config.json")
        digest = hashlib.sha256()
        for part in _identity(folder):
            digest.update(part)
        return f"local-{digest.hexdigest()[:12]}"
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(spec.source, local_files_only=not spec.settings.download)
    except (OSError, ValueError) as error:
        hint = "" if spec.settings.download else "; downloads are off (--download allows them)"
        raise ValueError(f"captioner {spec.source!r} is neither a directory nor on this machine{hint}") from error
    return str(getattr(config, "_commit_hash", None) or "")


def _identity(folder: Path) -> Iterator[bytes]:
    """Name, size, first and last MiB of every file directly in a folder: weights of many GB are told apart quickly."""
    for path in sorted(item for item in folder.iterdir() if item.is_file()):
        size = path.stat().st_size
        yield f"{path.name} {size}\n".encode()
        with path.open("rb") as file:
            yield file.read(_END)
            if size > _END:
                file.seek(max(_END, size - _END))
                yield file.read()
