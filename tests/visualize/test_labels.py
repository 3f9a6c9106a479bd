"""Labels stay inside the picture and, while there is room, never cover one another."""

import math

from hypothesis import given
from hypothesis import strategies as st

from mvplm.visualize.labels import Rectangle, place_label

CANVAS = (400, 300)
numbers = st.floats(-50, 450, allow_nan=False)
boxes = st.tuples(numbers, numbers, numbers, numbers).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
sizes = st.tuples(st.floats(5, 120), st.floats(5, 40))


def inside(spot: Rectangle, canvas: tuple[int, int] = CANVAS) -> bool:
    right, bottom = spot.left + spot.width, spot.top + spot.height
    return spot.left >= 0 and spot.top >= 0 and right <= canvas[0] + 1e-6 and bottom <= canvas[1] + 1e-6


def certain_room(size: tuple[float, float], taken: list[Rectangle]) -> bool:
    """Whether cells of the label's size remain however badly the placed labels lie: each blocks a few at most."""
    cells = int(CANVAS[0] / size[0]) * int(CANVAS[1] / size[1])
    blocked = sum((math.ceil(r.width / size[0]) + 1) * (math.ceil(r.height / size[1]) + 1) for r in taken)
    return cells > blocked


@given(st.lists(st.tuples(sizes, boxes), min_size=1, max_size=25))
def test_no_overlap_while_there_is_room(labels):
    taken: list[Rectangle] = []
    for size, box in labels:
        spot = place_label(size, box, canvas=CANVAS, taken=taken)
        assert (spot.width, spot.height) == size and inside(spot)
        if certain_room(size, taken):
            assert not any(spot.overlaps(other) for other in taken)
        taken.append(spot)


def test_many_labels_of_one_place_spread_over_the_canvas():
    taken: list[Rectangle] = []
    for _ in range(45):  # of 5 x 15 cells
        spot = place_label((80, 20), (10, 10, 30, 30), canvas=CANVAS, taken=taken)
        assert inside(spot) and not any(spot.overlaps(other) for other in taken)
        taken.append(spot)


def test_the_first_choice_is_above_the_box():
    assert place_label((40, 10), (100, 100, 200, 200), canvas=CANVAS, taken=[]) == Rectangle(100, 90, 40, 10)
    assert place_label((40, 10), (380, 5, 400, 50), canvas=CANVAS, taken=[]) == Rectangle(360, 0, 40, 10)


def test_labels_near_their_boxes_are_preferred():
    first = place_label((40, 10), (100, 100, 200, 200), canvas=CANVAS, taken=[])
    second = place_label((40, 10), (100, 100, 200, 200), canvas=CANVAS, taken=[first])
    assert second == Rectangle(100, 100, 40, 10)


def test_a_full_or_too_small_canvas_still_gives_a_place():
    wall = Rectangle(0, 0, *CANVAS)
    assert inside(place_label((40, 10), (100, 100, 200, 200), canvas=CANVAS, taken=[wall]))
    spot = place_label((500, 400), (0, 0, 1, 1), canvas=CANVAS, taken=[])
    assert (spot.left, spot.top) == (0, 0)


def test_touching_is_not_overlapping():
    one = Rectangle(0, 0, 10, 10)
    assert not one.overlaps(Rectangle(10, 0, 5, 5)) and not one.overlaps(Rectangle(0, 10, 5, 5))
    assert one.overlaps(Rectangle(9, 9, 5, 5)) and Rectangle(9, 9, 5, 5).overlaps(one)
