"""Pictures of results: every task, pictures of every shape, and answers that found nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvplm.structures import Instances, PanopticMap, Perception, SegmentInfo, SemanticMap
from mvplm.visualize import colour_of, draw_perception
from mvplm.visualize.palette import readable_on

SIZE = (30, 50)
FACTOR = 13  # round(640 / 50)
PICTURE = np.full((*SIZE, 3), 200, np.uint8)


def masks(count: int) -> torch.Tensor:
    found = torch.zeros(count, *SIZE, dtype=torch.bool)
    for number in range(count):
        found[number, 5:25, 5 + 20 * number : 20 + 20 * number] = True
    return found


def instances(count: int = 2, *, with_masks: bool = True, scores: tuple[float, ...] = (0.9, 0.7)) -> Instances:
    boxes = torch.tensor([[5.0 + 20 * i, 5, 20 + 20 * i, 25] for i in range(count)]).reshape(-1, 4)
    index = torch.arange(count)
    names = [f"name {i}" for i in range(count)]
    return Instances(boxes, torch.tensor(scores[:count]), names, index, masks(count) if with_masks else None)


def panoptic() -> PanopticMap:
    segment_map = torch.zeros(SIZE, dtype=torch.int32)
    segment_map[:, 25:] = 1
    segment_map[masks(1)[0]] = 2
    things = SegmentInfo(2, "star", 0, True, 0.8, 300)
    return PanopticMap(segment_map, [SegmentInfo(1, "sky", 1, False, 0.9, 750), things])


ANSWERS = {
    "instance": {"instances": instances()},
    "detection": {"instances": instances(with_masks=False)},
    "grounding": {"instances": instances(with_masks=False)},
    "referring": {"instances": instances(), "presence": 0.9},
    "panoptic": {"panoptic": panoptic()},
    "semantic": {
        "semantic": SemanticMap(
            torch.from_numpy(np.repeat([[0, 1, -1]], 10, 0).repeat([20, 20, 10], 1).repeat(3, 0)), ["sky", "sand"]
        )
    },
}


def perception(task: str, **changes) -> Perception:
    return Perception(SIZE, task, ["star", "sky"], **{**ANSWERS[task], **changes})


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize("task", ANSWERS)
def test_every_task_leaves_its_mark(task: str):
    before = PICTURE.copy()
    drawn = draw_perception(perception(task), PICTURE)
    assert drawn.mode == "RGB" and drawn.width == SIZE[1] * FACTOR and drawn.height > SIZE[0] * FACTOR
    canvas = pixels(drawn)[: SIZE[0] * FACTOR]
    assert (canvas != 200).any() and (canvas[15 * FACTOR, 12 * FACTOR] != 200).any() == (
        task not in ("detection", "grounding")
    )
    assert np.array_equal(PICTURE, before)


@pytest.mark.parametrize("task", ANSWERS)
def test_drawing_is_repeatable_and_works_without_a_picture(task: str):
    first, second = (draw_perception(perception(task), None) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_arrays_and_pil_images_are_the_same_picture():
    as_array = draw_perception(perception("instance"), PICTURE)
    as_image = draw_perception(perception("instance"), Image.fromarray(PICTURE).convert("RGBA"))
    assert as_array.tobytes() == as_image.tobytes()


@pytest.mark.parametrize("shape", [(50, 30, 3), (30, 51, 3)])
def test_a_picture_of_another_size_is_refused(shape: tuple[int, ...]):
    with pytest.raises(
        ValueError, match=rf"image is \({shape[0]}, {shape[1]}\) \(H, W\), but the perception .*\(30, 50\)"
    ):
        draw_perception(perception("instance"), np.zeros(shape, np.uint8))


@pytest.mark.parametrize("task", ["instance", "detection", "referring"])
def test_nothing_found_leaves_the_picture_alone(task: str):
    empty = instances(0, with_masks=task != "detection")
    drawn = draw_perception(perception(task, instances=empty), PICTURE, title=False)
    assert drawn.size == (SIZE[1] * FACTOR, SIZE[0] * FACTOR) and (pixels(drawn) == 200).all()
    nothing = PanopticMap(torch.zeros(SIZE, dtype=torch.int32), [])
    drawn = draw_perception(Perception(SIZE, "panoptic", ["star"], panoptic=nothing), PICTURE, title=False)
    assert (pixels(drawn) == 200).all()


def test_no_target_draws_nothing_and_says_so():
    given = {"instances": instances(1), "no_target": True, "presence": 0.12}
    drawn = draw_perception(perception("referring", **given), PICTURE)
    assert (pixels(drawn)[: SIZE[0] * FACTOR] == 200).all()
    other = draw_perception(perception("referring", **{**given, "presence": 0.34}), PICTURE)
    assert drawn.tobytes() != other.tobytes()  # the presence is written
    assert drawn.height > draw_perception(perception("referring"), PICTURE).height  # by one line


def test_doubtful_instances_are_not_drawn_but_the_best_of_a_sentence_is():
    doubtful = instances(2, scores=(0.4, 0.2))
    drawn = draw_perception(perception("instance", instances=doubtful), PICTURE, title=False)
    assert (pixels(drawn) == 200).all()
    assert (pixels(draw_perception(perception("instance", instances=doubtful), PICTURE, threshold=0.3)) != 200).any()
    drawn = draw_perception(perception("referring", instances=doubtful), PICTURE, title=False)
    assert (pixels(drawn) != 200).any()


def test_boxes_are_drawn_where_they_are():
    drawn = pixels(
        draw_perception(perception("detection", instances=instances(1, with_masks=False)), PICTURE, title=False)
    )
    left, bottom = 5 * FACTOR, 25 * FACTOR
    assert tuple(drawn[bottom, left + 40]) == colour_of(0) and tuple(drawn[15 * FACTOR, left]) == colour_of(0)
    assert (drawn[bottom + 6 :, :] == 200).all() and (drawn[:, : left - 3] == 200).all()


def test_masks_have_an_outline_and_stuff_a_legend():
    drawn = draw_perception(perception("panoptic"), PICTURE, title=False)
    body, legend = pixels(drawn)[: SIZE[0] * FACTOR], pixels(drawn)[SIZE[0] * FACTOR :]
    inside, rim = body[15 * FACTOR, 12 * FACTOR], body[15 * FACTOR, 20 * FACTOR - 3]
    assert (inside != 200).any() and (rim != inside).any()
    assert len(legend) and (legend == np.array(colour_of(1))).all(-1).sum() > 50
    things_only = PanopticMap(panoptic().segment_map * (panoptic().segment_map == 2), panoptic().segments[1:])
    without = draw_perception(Perception(SIZE, "panoptic", ["star"], panoptic=things_only), PICTURE, title=False)
    assert without.height == SIZE[0] * FACTOR


def test_the_title_holds_question_and_caption_and_long_ones_wrap():
    short = draw_perception(perception("instance"), PICTURE)
    spoken = draw_perception(perception("instance", caption="A star."), PICTURE)
    wordy = draw_perception(perception("instance", caption="A star and more. " * 20), PICTURE)
    assert short.height < spoken.height < wordy.height
    assert draw_perception(perception("instance"), PICTURE, title=False).height == SIZE[0] * FACTOR
    odd = Perception(SIZE, "instance", ["🐈 Ωμέγα", "<PER>", "x" * 500], instances=instances())
    assert draw_perception(odd, PICTURE).width == SIZE[1] * FACTOR


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (700, 3), (40, 4000)])
def test_extreme_shapes(size: tuple[int, int]):
    mask = torch.ones(1, *size, dtype=torch.bool)
    box = torch.tensor([[0.0, 0.0, size[1], size[0]]])
    found = Instances(box, torch.tensor([0.9]), ["star"], torch.tensor([0]), mask)
    drawn = draw_perception(Perception(size, "instance", ["star"], instances=found), np.zeros((*size, 3), np.uint8))
    assert drawn.width % size[1] == 0 and drawn.height >= size[0]


def test_plot_saves_and_remembers_the_picture(tmp_path: Path):
    answer = perception("instance")
    answer._image = PICTURE
    picture = answer.plot(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as saved:
        assert saved.convert("RGB").tobytes() == picture.tobytes()
    assert answer.plot(image=PICTURE // 2).tobytes() != picture.tobytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]


def test_colours_differ_between_neighbours_and_text_on_them_can_be_read():
    colours = [colour_of(index) for index in range(60)]
    assert all(len(c) == 3 and all(0 <= v <= 255 for v in c) for c in colours) and len(set(colours)) == 60
    assert all(
        sum(abs(a - b) for a, b in zip(*pair, strict=True)) > 100 for pair in zip(colours, colours[1:], strict=False)
    )
    assert readable_on((255, 255, 255)) == (0, 0, 0) and readable_on((0, 0, 0)) == (255, 255, 255)
