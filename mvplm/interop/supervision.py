"""Perceptions as ``supervision.Detections``."""

from typing import Any

import numpy as np
import torch

from mvplm.structures.boxes import masks_to_boxes
from mvplm.structures.results import PanopticMap, Perception, SemanticMap


def to_supervision(perception: Perception) -> Any:
    """``supervision.Detections`` of what was found: xyxy in pixels, masks, confidence, class ids and names.

    Instances become one detection each; without instances, the segments of a panoptic map or the names present in a
    semantic map do (those have no confidence). ``class_id`` is the place in the query, ``data["class_name"]`` its name.

    Raises:
        ImportError: the ``supervision`` package is not installed.
        ValueError: the perception holds neither instances nor a map.
    """
    try:
        import supervision
    except ImportError as error:
        raise ImportError("to_supervision() needs the 'supervision' package: pip install supervision") from error
    found = perception.instances
    if found is not None:
        fields = {
            "xyxy": found.boxes.cpu().numpy().astype(np.float32).reshape(-1, 4),
            "mask": None if found.masks is None else found.masks.cpu().numpy().astype(bool),
            "confidence": found.scores.cpu().numpy().astype(np.float32),
            "class_id": found.class_index.cpu().numpy().astype(int),
            "data": {"class_name": np.array(found.labels, dtype=str)},
        }
    elif perception.panoptic is not None:
        fields = _of_segments(perception.panoptic)
    elif perception.semantic is not None:
        fields = _of_names(perception.semantic)
    else:
        raise ValueError(f"a perception of task {perception.task!r} holds neither instances nor a map")
    return supervision.Detections(**fields)


def _of_segments(found: PanopticMap) -> dict[str, Any]:
    values, segments = found.segment_map.cpu(), found.segments
    return {
        **_regions(values, [segment.id for segment in segments]),
        "confidence": np.array([segment.score for segment in segments], np.float32),
        "class_id": np.array([segment.class_index for segment in segments], int),
        "data": {
            "class_name": np.array([segment.label for segment in segments], dtype=str),
            "isthing": np.array([segment.isthing for segment in segments], bool),
        },
    }


def _of_names(found: SemanticMap) -> dict[str, Any]:
    values = found.class_map.cpu()
    present = [place for place in values.unique().tolist() if place >= 0]
    return {
        **_regions(values, present),
        "class_id": np.array(present, int),
        "data": {"class_name": np.array([found.labels[place] for place in present], dtype=str)},
    }


def _regions(values: torch.Tensor, wanted: list[int]) -> dict[str, Any]:
    """Masks (N, H, W) of the wanted values of a map (H, W), and the boxes around them."""
    masks = values[None] == torch.tensor(wanted, dtype=values.dtype)[:, None, None]
    return {"mask": masks.numpy(), "xyxy": masks_to_boxes(masks).numpy()}
