"""A drawn shard in SA-1B's form, for trials and tests: shapes of plain colours, and class-agnostic pieces of them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from mvplm.data.ors.standins import BACKGROUND, COLOURS
from mvplm.structures.masks import encode_mask, mask_area, tight_box


def write_drawn_shard(folder: str | Path, *, num: int, seed: int = 0, first_id: int = 1) -> Path:
    """Write ``num`` pictures with their JSON files.

    Every shape is given as a whole, as two halves, or as halves of which one is missing; specks and a piece of
    background come with them.

    Args:
        folder: of the shard, made when missing; its name is that of the shard.
        num: pictures. seed: another one, other pictures. first_id: id of the first picture.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num):
        rng = np.random.default_rng([seed, number])
        size = (int(rng.integers(90, 130)), int(rng.integers(110, 160)))
        image, masks = _draw(rng, size)
        name = f"sa_{first_id + number}"
        Image.fromarray(image).save(folder / f"{name}.jpg", quality=95)
        told = {"image_id": first_id + number, "width": size[1], "height": size[0], "file_name": f"{name}.jpg"}
        annotations = [_annotation(mask, place) for place, mask in enumerate(_pieces(rng, masks, size=size))]
        content = {"image": told, "annotations": annotations}
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def _draw(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture (H, W, 3) and the masks of its shapes, one per cell of a grid, so that none touch."""
    height, width = size
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    rows, columns = np.mgrid[:height, :width]
    masks = []
    for cell in rng.permutation(6)[: int(rng.integers(1, 6))]:
        top, left = (cell // 3) * height // 2 + 3, (cell % 3) * width // 3 + 3
        tall, wide = (int(rng.integers(18, side - 6)) for side in (height // 2, width // 3))
        y, x = (rows - top - tall / 2) / (tall / 2), (columns - left - wide / 2) / (wide / 2)
        mask = (np.abs(y) < 1) & (np.abs(x) < 1) if rng.random() < 0.5 else y**2 + x**2 < 1
        image[mask] = list(COLOURS.values())[int(rng.integers(len(COLOURS)))]
        masks.append(mask)
    return image, masks


def _pieces(rng: np.random.Generator, masks: list[np.ndarray], *, size: tuple[int, int]) -> list[np.ndarray]:
    pieces = []
    columns = np.arange(size[1])[None]
    for mask in masks:
        middle = np.flatnonzero(mask.any(0)).mean()
        halves = [mask & (columns < middle), mask & (columns >= middle)]
        pieces += [[mask], halves, halves[:1]][int(rng.integers(3))]
    speck, background = np.zeros(size, bool), ~np.logical_or.reduce(masks)
    speck[10:13, 10:13] = True
    return [*pieces, speck, background & (columns > size[1] // 2)]


def _annotation(mask: np.ndarray, place: int) -> dict[str, object]:
    code = encode_mask(mask)
    frame = tight_box(mask)
    x1, y1, x2, y2 = (0, 0, 0, 0) if frame is None else frame.tolist()
    return {
        "id": place,
        "segmentation": code,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": mask_area(code),
        "predicted_iou": 1.0,
        "stability_score": 1.0,
        "point_coords": [[x1, y1]],
        "crop_box": [0, 0, mask.shape[1], mask.shape[0]],
    }
