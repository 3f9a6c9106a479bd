"""Perceptions as ``supervision.Detections``."""

from typing import Any

import numpy as np

from mvplm.structures.results import Perception


def to_supervision(perception: Perception) -> Any:
    """``supervision.Detections`` of the instances: xyxy in pixels, masks, confidence, class ids and names.

    Raises:
        ImportError: the ``supervision`` package is not installed.
        ValueError: the perception holds no instances.
    """
    try:
        import supervision
    except ImportError as error:
        raise ImportError("to_supervision() needs the 'supervision' package: pip install supervision") from error
    found = perception.instances
    if found is None:
        raise ValueError(f"a perception of task {perception.task!r} holds no instances")
    return supervision.Detections(
        xyxy=found.boxes.cpu().numpy().astype(np.float32).reshape(-1, 4),
        mask=None if found.masks is None else found.masks.cpu().numpy().astype(bool),
        confidence=found.scores.cpu().numpy().astype(np.float32),
        class_id=found.class_index.cpu().numpy().astype(int),
        data={"class_name": np.array(found.labels, dtype=str)},
    )
