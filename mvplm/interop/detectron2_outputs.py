"""Perceptions as detectron2's model outputs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mvplm.interop.detectron2_names import DatasetNames
from mvplm.structures.results import Instances, PanopticMap, Perception, SemanticMap

HOW_TO_GET = (
    "needs the 'detectron2' package, which is on no package index: "
    "python -m pip install 'git+https://github.com/facebookresearch/detectron2.git'"
)


def to_detectron2(perception: Perception, names: DatasetNames | None = None) -> dict[str, Any]:
    """What detectron2's evaluators and visualiser read, of whichever parts the perception has.

    Args:
        perception: the answer to a list of names, or to a sentence.
        names: how the dataset numbers the names of the query; by their place in the query when None.

    Returns:
        ``instances``: Instances with ``pred_boxes``, ``scores``, ``pred_classes`` and, where there are any,
        ``pred_masks`` (N, H, W) bool. ``panoptic_seg``: (map (H, W) int32 with 0 for void, a list of ``{id,
        category_id, isthing, score, area}``). ``sem_seg``: (channels, H, W) float32, 1 in the channel of the pixel's
        name and 0 elsewhere.

    Raises:
        ImportError: instances are there and detectron2 is not installed.
        ValueError: the names are others than those of the query, or the perception holds nothing.
    """
    names = DatasetNames.of(perception.query) if names is None else names
    if len(names.vocabulary) != len(perception.query):
        raise ValueError(f"a query of {len(perception.query)} names got ids of {len(names.vocabulary)}")
    out: dict[str, Any] = {}
    if perception.panoptic is not None:
        out["panoptic_seg"] = _panoptic(perception.panoptic, names)
    if perception.semantic is not None and names.channels:
        out["sem_seg"] = _semantic(perception.semantic, names)
    if perception.instances is not None:
        out["instances"] = _instances(perception.instances, names, size=perception.size)
    if not out:
        raise ValueError(f"a perception of task {perception.task!r} holds nothing that detectron2 has a format for")
    return out


def _instances(found: Instances, names: DatasetNames, *, size: tuple[int, int]) -> Any:
    try:
        from detectron2.structures import Boxes
        from detectron2.structures import Instances as Detected
    except ImportError as error:
        raise ImportError(f"to_detectron2() {HOW_TO_GET}") from error
    classes = _numbers(names.thing_ids, found.class_index)
    result = Detected(size, pred_boxes=Boxes(found.boxes), scores=found.scores, pred_classes=classes)
    if found.masks is not None:
        result.pred_masks = found.masks
    return result


def _panoptic(found: PanopticMap, names: DatasetNames) -> tuple[Tensor, list[dict[str, Any]]]:
    segments = []
    for segment in found.segments:
        ids = names.thing_ids if segment.isthing else names.stuff_ids
        segments.append(
            {
                "id": segment.id,
                "category_id": ids[segment.class_index],
                "isthing": segment.isthing,
                "score": segment.score,
                "area": segment.area,
            }
        )
    return found.segment_map, segments


def _semantic(found: SemanticMap, names: DatasetNames) -> Tensor:
    """(channels, H, W); several names may share a channel, and pixels without a name have none."""
    # Place -1, no name, reads the extra last entry: the channel that is cut off in the end.
    channels = _numbers([number % (names.channels + 1) for number in (*names.stuff_ids, -1)], found.class_map)
    scores = torch.zeros(names.channels + 1, *found.class_map.shape, device=found.class_map.device)
    return scores.scatter_(0, channels[None], 1.0)[: names.channels]


def _numbers(ids: Sequence[int], places: Tensor) -> Tensor:
    return torch.tensor(ids, dtype=torch.int64, device=places.device)[places]
