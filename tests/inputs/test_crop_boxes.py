"""Where crops lie: every pixel is in one, none is empty, and mistakes are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.errors import InputError
from clipkit.inputs.crop_boxes import (
    CROPS,
    WHOLE,
    check_boxes,
    check_crops,
    crop_boxes,
    pixel_box,
)

SIDES = st.integers(1, 50) | st.sampled_from([51, 99, 100, 101, 4032, 65_535])
FRACTIONS = st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda ends: ends[0] < ends[1])


def test_the_whole_alone_has_no_crops_and_five_rows_have_four_corners() -> None:
    assert crop_boxes(1) == ()
    boxes = crop_boxes(5)
    assert len(boxes) == 4
    corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    for box, (x, y) in zip(boxes, corners, strict=True):
        assert box[2 * int(x)] == x
        assert box[1 + 2 * int(y)] == y
    sides = {(round(box[2] - box[0], 9), round(box[3] - box[1], 9)) for box in boxes}
    assert len(sides) == 1


@given(width=SIDES, height=SIDES, crops=st.sampled_from(CROPS))
def test_crops_cover_every_pixel_and_lie_inside(width: int, height: int, crops: int) -> None:
    covered = {"x": set[int](), "y": set[int]()}
    for box in (WHOLE, *crop_boxes(crops)):
        left, top, right, bottom = pixel_box(box, (width, height))
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        if box == WHOLE:
            assert (left, top, right, bottom) == (0, 0, width, height)
            continue
        covered["x"].update((left, right - 1))
        covered["y"].update((top, bottom - 1))
        # Within a pixel of its share of the side at each end.
        assert abs((right - left) - (box[2] - box[0]) * width) < 2
        assert abs((bottom - top) - (box[3] - box[1]) * height) < 2
    if crops > 1:
        assert {0, width - 1} <= covered["x"]
        assert {0, height - 1} <= covered["y"]
        middle = [pixel_box(box, (width, height)) for box in crop_boxes(crops)]
        assert max(box[0] for box in middle) <= min(box[2] for box in middle)  # no gap between


@given(across=FRACTIONS, down=FRACTIONS, width=SIDES, height=SIDES)
def test_a_part_has_every_pixel_that_it_touches(
    across: tuple[float, float], down: tuple[float, float], width: int, height: int
) -> None:
    box = (across[0], down[0], across[1], down[1])
    left, top, right, bottom = pixel_box(box, (width, height))
    assert left <= across[0] * width < left + 1
    assert right - 1 < across[1] * width <= right
    assert (top, bottom) == pixel_box((down[0], across[0], down[1], across[1]), (height, width))[
        ::2
    ]
    assert check_boxes([box]) == (box,)


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 1), (0.5, 0, 0.4, 1), (-0.1, 0, 1, 1), (0, 0, 1, 1.1), (0, 0, 1, 0)]
)
def test_a_part_that_does_not_lie_in_the_image_is_refused(
    box: tuple[float, float, float, float],
) -> None:
    with pytest.raises(InputError, match=r"is \(left, top, right, bottom\), fractions"):
        check_boxes([box])
    with pytest.raises(InputError, match="got none"):
        check_boxes([])


@pytest.mark.parametrize("crops", [0, 2, 4, 6, 1.0, True, "5", None])
def test_other_numbers_of_rows_are_refused(crops: object) -> None:
    with pytest.raises(InputError, match="crops must be"):
        check_crops(crops)
    assert [check_crops(each) for each in CROPS] == list(CROPS)
