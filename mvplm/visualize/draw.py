"""Drawing a perception on its picture: filled masks with outlines, labels that do not collide, a legend for stuff."""

from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from mvplm.structures.boxes import masks_to_boxes
from mvplm.structures.results import Instances, PanopticMap, Perception, SemanticMap
from mvplm.visualize.labels import Rectangle, place_label
from mvplm.visualize.palette import Colour, colour_of, readable_on

_LONG_SIDE = 640


@dataclass
class _Region:
    mask: np.ndarray | None
    box: list[float]
    text: str
    colour: Colour
    isthing: bool


def draw_perception(
    perception: Perception, image: Any = None, *, threshold: float | None = None, title: bool = True
) -> Image.Image:
    """Draw a result.

    Args:
        perception: what was found.
        image: RGB uint8 array (H, W, 3) or PIL image of ``perception.size``; a grey canvas when None.
        threshold: instances below this score are not drawn, those without one (NaN) are; ``perception.display_score``
            when None. The instances of a sentence are always drawn unless the answer is "nothing fits", those of given
            boxes always.
        title: write the question, and the caption if there is one, under the picture.

    Returns:
        RGB picture; small images are enlarged so that labels can be read.

    Raises:
        ValueError: the image has another size than the perception.
    """
    height, width = perception.size
    base = Image.new("RGB", (width, height), (127, 127, 127)) if image is None else _to_pil(image)
    if base.size != (width, height):
        raise ValueError(f"image is {base.size[::-1]} (H, W), but the perception is of {perception.size}")
    factor = max(1, round(_LONG_SIDE / max(width, height)))
    canvas = base.resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    regions = _regions(perception, perception.display_score if threshold is None else threshold)
    canvas = _paint(canvas, regions, factor=factor)
    _write_labels(canvas, [r for r in regions if r.isthing], factor=factor)
    legend = list({r.text: r.colour for r in regions if not r.isthing}.items())
    lines = _title_lines(perception) if title else []
    return _with_footer(canvas, legend, lines=lines)


def _to_pil(image: Any) -> Image.Image:
    return image.convert("RGB") if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image), "RGB")


def _regions(perception: Perception, threshold: float) -> list[_Region]:
    if perception.panoptic is not None:
        return _panoptic_regions(perception.panoptic)
    if perception.instances is not None:
        if perception.no_target:
            return []
        everything = perception.task in ("referring", "res", "gres", "rec", "boxes")
        return _instance_regions(perception.instances, 0.0 if everything else threshold)
    if perception.semantic is not None:
        return _semantic_regions(perception.semantic)
    return []


def _panoptic_regions(panoptic: PanopticMap) -> list[_Region]:
    values = panoptic.segment_map.cpu().numpy()
    regions = []
    for segment in sorted(panoptic.segments, key=lambda s: s.isthing):
        mask = values == segment.id
        if mask.any():
            text = _shown(segment.label, segment.score) if segment.isthing else segment.label
            regions.append(_Region(mask, _extent(mask), text, _region_colour(segment, regions), segment.isthing))
    return regions


def _shown(label: str, score: float) -> str:
    """What stands beside a thing; the truth has no scores (NaN)."""
    return label if isnan(score) else f"{label} {score:.2f}"


def _region_colour(segment: Any, regions: list[_Region]) -> Colour:
    """Things of one class differ in colour, stuff keeps the colour of its class."""
    return colour_of(len(regions) + 7) if segment.isthing else colour_of(segment.class_index)


def _instance_regions(instances: Instances, threshold: float) -> list[_Region]:
    regions = []
    for i in range(len(instances)):
        if not float(instances.scores[i]) < threshold:
            mask = None if instances.masks is None else instances.masks[i].cpu().numpy()
            text = _shown(instances.labels[i], float(instances.scores[i]))
            regions.append(_Region(mask, instances.boxes[i].tolist(), text, colour_of(len(regions)), True))
    return regions


def _semantic_regions(semantic: SemanticMap) -> list[_Region]:
    values = semantic.class_map.cpu().numpy()
    return [
        _Region(mask := values == k, _extent(mask), semantic.labels[k], colour_of(int(k)), False)
        for k in np.unique(values)
        if k >= 0
    ]


def _extent(mask: np.ndarray) -> list[float]:
    """XYXY_ABS box around a mask (H, W)."""
    return masks_to_boxes(torch.from_numpy(mask)[None])[0].tolist()


def _paint(canvas: Image.Image, regions: list[_Region], *, factor: int) -> Image.Image:
    from scipy.ndimage import binary_erosion

    pixels = np.asarray(canvas).astype(np.float32)
    for region in regions:
        if region.mask is None:
            continue
        big = Image.fromarray(region.mask).convert("L").resize(canvas.size, Image.Resampling.BILINEAR)
        inside = np.asarray(big) > 127
        strength = 0.5 if region.isthing else 0.3
        colour = np.array(region.colour, np.float32)
        pixels[inside] = (1 - strength) * pixels[inside] + strength * colour
        edge = inside & ~binary_erosion(inside, iterations=max(2, factor))
        pixels[edge] = colour if region.isthing else 0.4 * pixels[edge] + 0.6 * colour
    picture = Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8), "RGB")
    pen = ImageDraw.Draw(picture)
    for region in regions:
        if region.isthing:
            pen.rectangle(
                [value * factor for value in region.box],
                outline=region.colour,
                width=3 if region.mask is None else 1,
            )
    return picture


def _font(size: int) -> Any:
    return ImageFont.load_default(size=size)


def _write_labels(canvas: Image.Image, regions: list[_Region], *, factor: int) -> None:
    pen = ImageDraw.Draw(canvas)
    font = _font(max(13, canvas.width // 48))
    taken: list[Rectangle] = []
    for region in regions:
        left, top, right, bottom = pen.textbbox((0, 0), region.text, font=font)
        x1, y1, x2, y2 = (value * factor for value in region.box)
        spot = place_label((right + 6, bottom + 4), (x1, y1, x2, y2), canvas=(canvas.width, canvas.height), taken=taken)
        taken.append(spot)
        corners = [spot.left, spot.top, spot.left + spot.width - 1, spot.top + spot.height - 1]
        pen.rectangle(corners, fill=region.colour)
        pen.text((spot.left + 3, spot.top + 1), region.text, fill=readable_on(region.colour), font=font)


def _title_lines(perception: Perception) -> list[str]:
    question = ", ".join(perception.query)
    lines = [f"{perception.task}: {question}"]
    if perception.caption:
        lines.append(f"says: {perception.caption}")
    if perception.no_target:
        presence = "" if perception.presence is None else f" (presence {perception.presence:.2f})"
        lines.append(f"nothing in the picture fits{presence}")
    return lines


def _with_footer(canvas: Image.Image, legend: list[tuple[str, Colour]], *, lines: list[str]) -> Image.Image:
    if not legend and not lines:
        return canvas
    size = max(13, canvas.width // 48)
    font, row = _font(size), size + 8
    wrapped = [part for line in lines for part in _wrap(line, font, width=canvas.width - 16)]
    rows = _legend_rows(legend, font, width=canvas.width - 16)
    out = Image.new("RGB", (canvas.width, canvas.height + 8 + row * (len(wrapped) + len(rows))), (250, 250, 250))
    out.paste(canvas, (0, 0))
    pen = ImageDraw.Draw(out)
    y = canvas.height + 4
    for entries in rows:
        x = 8.0
        for text, colour in entries:
            pen.rectangle([x, y + 2, x + size, y + 2 + size], fill=colour, outline=(60, 60, 60))
            pen.text((x + size + 5, y), text, fill=(20, 20, 20), font=font)
            x += size + 20 + font.getlength(text)
        y += row
    for text in wrapped:
        pen.text((8, y), text, fill=(20, 20, 20), font=font)
        y += row
    return out


def _wrap(text: str, font: Any, *, width: float) -> list[str]:
    lines, current = [], ""
    for word in text.split():
        longer = f"{current} {word}".strip()
        if current and font.getlength(longer) > width:
            lines.append(current)
            longer = word
        current = longer
    return [*lines, current] if current else lines


def _legend_rows(legend: list[tuple[str, Colour]], font: Any, *, width: float) -> list[list[tuple[str, Colour]]]:
    rows: list[list[tuple[str, Colour]]] = []
    used = width + 1
    for text, colour in legend:
        length = font.size + 20 + font.getlength(text)
        if used + length > width:
            rows.append([])
            used = 0.0
        rows[-1].append((text, colour))
        used += length
    return rows
