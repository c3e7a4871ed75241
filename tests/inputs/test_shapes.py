"""Outlines stay in their square and differ from each other."""

import pytest

from clipkit.inputs.scene import Scene, Shape, draw_scene
from clipkit.inputs.shapes import SHAPES


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_lies_in_its_square_but_for_what_is_cut_out(name: str) -> None:
    for part in SHAPES[name]:
        if not part.is_hole:
            assert all(-1e-9 <= number <= 1 + 1e-9 for point in part.points for number in point)
    assert not SHAPES[name][0].is_hole


def test_shapes_cover_a_good_part_of_their_square_and_no_two_look_the_same() -> None:
    masks = {name: (draw_scene(Scene((Shape(name, "black"),)))[..., 0] < 128) for name in SHAPES}
    assert all(0.1 < mask.mean() < 0.95 for mask in masks.values())
    names = list(masks)
    for place, name in enumerate(names):
        for other in names[:place]:
            assert (masks[name] ^ masks[other]).mean() > 0.05, (name, other)
