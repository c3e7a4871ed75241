"""Heat maps as arrays over the image, and as JSON."""

import json
from typing import Any

import numpy as np
import pytest

from clipkit.errors import InputError
from clipkit.explanation.heat_map import THERE_FROM, HeatMap


def made(**changes: Any) -> HeatMap:
    fields: dict[str, Any] = {
        "text": "a cat",
        "values": np.array([[0.1, 0.2], [0.3, 0.4]], dtype=np.float32),
        "against": ("a photo",),
        "contrast": np.full((2, 2), 0.5, dtype=np.float32),
        "score": 0.3,
        "evidence": THERE_FROM,
        "levels": (0.0, 0.2),
        "method": "naclip",
        "model": "starter",
        "space_id": "0",
        "image_size": (8, 4),
        "box": (2.0, 0.0, 6.0, 4.0),
    }
    return HeatMap(**{**fields, **changes})


def test_on_the_image_each_pixel_has_its_places_value_and_none_where_nothing_was_seen() -> None:
    nan = np.nan
    upper = [nan, nan, 0.1, 0.1, 0.2, 0.2, nan, nan]
    lower = [nan, nan, 0.3, 0.3, 0.4, 0.4, nan, nan]
    expected = np.array([upper, upper, lower, lower], dtype=np.float32)
    np.testing.assert_array_equal(made().on_image(), expected)
    np.testing.assert_array_equal(made().on_image((4, 2)), expected[::2, ::2])
    # Of a padded image the map reaches beyond it.
    padded = made(image_size=(4, 2), box=(0.0, -1.0, 4.0, 3.0)).on_image()
    np.testing.assert_array_equal(padded, expected[1:3, 2:6])


def test_there_begins_at_the_threshold() -> None:
    assert made().is_there and made().verdict.startswith("there:")
    below = made(evidence=np.nextafter(THERE_FROM, 0))
    assert not below.is_there and below.verdict.startswith("not there:")


def test_json_has_everything() -> None:
    found = json.loads(json.dumps(made().to_dict()))
    np.testing.assert_allclose(found["values"], [[0.1, 0.2], [0.3, 0.4]], rtol=1e-6)
    assert found["is_there"] is True and found["box"] == [2.0, 0.0, 6.0, 4.0]
    assert set(found) == {*HeatMap.__dataclass_fields__, "is_there", "verdict"}


@pytest.mark.parametrize("size", [3, (3,), (0, 2), [3, 3]])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(InputError, match="size"):
        made().on_image(size)
