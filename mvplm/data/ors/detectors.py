"""Detectors and SAM of transformers in the roles of the pipeline, from local folders; nothing is downloaded."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.data.ors.instances import Box
from mvplm.structures.choices import check_choice

_END = 1 << 20


class LocalModel:
    """A model in a folder, loaded when it is first asked, and its version: a hash over its files and options.

    Args:
        model: folder with weights and processor.
        device: torch device.
        options: what else changes its answers.

    Raises:
        FileNotFoundError: no such folder.
    """

    def __init__(self, model: str, *, device: str = "cpu", **options: Any) -> None:
        self.folder = Path(model)
        if not (self.folder / "config.json").is_file():
            raise FileNotFoundError(
                f"no model at {model}: it has no config.json; models are read from local folders only"
            )
        self.device = device
        self.name = self.folder.resolve().name
        self.version = folder_hash(self.folder, options)
        self._loaded: tuple[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Weights do not travel to other processes; they are loaded there."""
        return {**self.__dict__, "_loaded": None}

    def unload(self) -> None:
        """Let go of the weights."""
        self._loaded = None

    def load(self, kind: str) -> tuple[Any, Any]:
        """Model and processor.

        Args:
            kind: class of transformers.

        Raises:
            ValueError: they cannot be loaded.
        """
        if self._loaded is None:
            import transformers

            try:
                processor = transformers.AutoProcessor.from_pretrained(self.folder, local_files_only=True)
                model = getattr(transformers, kind).from_pretrained(self.folder, local_files_only=True)
            except (OSError, ValueError, KeyError) as error:
                raise ValueError(f"{self.folder} cannot be loaded as {kind}: {error}") from error
            self._loaded = (model.to(self.device).eval(), processor)
        return self._loaded


def folder_hash(folder: Path, options: Any) -> str:
    """12 hexadecimal digits over options and, of every file, name, size, first and last MiB."""
    digest = hashlib.sha256(repr(sorted(dict(options).items())).encode())
    for path in sorted(item for item in folder.iterdir() if item.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_END))
            file.seek(max(0, size - _END))
            digest.update(file.read())
    return digest.hexdigest()[:12]


class Detector(LocalModel):
    """A zero-shot detector (Grounding DINO, OWL-ViT ...): boxes and scores for a text.

    Args:
        model: folder. device: torch device.
        threshold: least score of a box.
    """

    def __init__(self, model: str, *, device: str = "cpu", threshold: float = 0.1) -> None:
        super().__init__(model, device=device, threshold=threshold)
        self.threshold = float(threshold)

    def find(self, image: np.ndarray, text: str) -> list[tuple[Box, float]]:
        """Boxes and scores for a text, best first."""
        import torch

        model, processor = self.load("AutoModelForZeroShotObjectDetection")
        inputs = processor(images=image, text=[[text]], return_tensors="pt", truncation=True).to(self.device)
        with torch.inference_mode():
            outputs = model(**inputs)
        found = processor.post_process_grounded_object_detection(
            outputs, threshold=self.threshold, target_sizes=[image.shape[:2]]
        )[0]
        boxes = [(x1, y1, x2, y2) for x1, y1, x2, y2 in found["boxes"].tolist()]
        pairs = zip(boxes, found["scores"].tolist(), strict=True)
        return sorted(pairs, key=lambda one: (-one[1], one[0]))


class DetectorGrounder(Detector):
    """All boxes with their scores."""

    def __call__(self, image: np.ndarray, label: str) -> list[tuple[Box, float]]:
        """See the role."""
        return self.find(image, label)


class DetectorBoxer(Detector):
    """All boxes."""

    def __call__(self, image: np.ndarray, label: str) -> list[Box]:
        """See the role."""
        return [box for box, _ in self.find(image, label)]


class DetectorRegrounder(Detector):
    """The best box."""

    def __call__(self, image: np.ndarray, text: str) -> Box | None:
        """See the role."""
        return next((box for box, _ in self.find(image, text)), None)


_DETECTORS: dict[str, type[Detector]] = {
    "grounder": DetectorGrounder,
    "boxer": DetectorBoxer,
    "regrounder": DetectorRegrounder,
}


def make_detector(role: str, **options: Any) -> Detector:
    """A detector in a role. Raises ValueError for one it cannot play."""
    return _DETECTORS[check_choice("role of a detector", role, choices=_DETECTORS)](**options)


class SamSegmenter(LocalModel):
    """SAM: the mask of a box. Of several masks the one with the best predicted IoU is taken."""

    def __call__(self, image: np.ndarray, box: Sequence[float]) -> np.ndarray:
        """See the role."""
        import torch

        model, processor = self.load("SamModel")
        inputs = processor(images=image, input_boxes=[[[float(value) for value in box]]], return_tensors="pt")
        inputs = inputs.to(self.device)
        with torch.inference_mode():
            outputs = model(**inputs)
        masks = processor.image_processor.post_process_masks(
            outputs.pred_masks.cpu(), inputs["original_sizes"].cpu(), inputs["reshaped_input_sizes"].cpu()
        )[0][0]
        return masks[int(outputs.iou_scores[0, 0].argmax())].numpy().astype(bool)
