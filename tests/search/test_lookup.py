"""Embeddings from the index, and those of the other files from the encoder, in one order."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clipkit.errors import InputError
from clipkit.inputs.folders import find_images
from clipkit.search import lookup
from clipkit.search.library import PhotoLibrary
from tests.fakes import FakeEncoder, age_files, image_embedding, save_image

NUMBER = 9
STATES = ("indexed", "new", "broken", "touched")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lookup, "_CHUNK", 2)
    return tmp_path


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(STATES), min_size=NUMBER, max_size=NUMBER))
def test_any_mixture_comes_in_the_order_of_the_files(folder: Path, states: list[str]) -> None:
    photos = folder / f"photos-{len(list(folder.iterdir()))}"
    encoder = FakeEncoder(batch_size=3)
    paths = [photos / f"{number}.png" for number in range(NUMBER)]
    colors = [(20 * number, 255 - 20 * number, 9) for number in range(NUMBER)]
    photos.mkdir()
    for path, color, state in zip(paths, colors, states, strict=True):
        if state in ("indexed", "touched"):
            save_image(path, color)
    age_files(photos)
    library = PhotoLibrary.open(photos, encoder)
    library.sync()
    for path, color, state in zip(paths, colors, states, strict=True):
        if state == "new":
            save_image(path, color, size=5)
        elif state == "broken":
            path.write_bytes(b"no image")
        elif state == "touched":
            path.touch()
    encoder.encoded_images.clear()
    known = library.look_up(find_images(photos).entries)
    batches = list(known.stream(encoder))
    positions = [position for batch in batches for position in batch.positions]
    skipped = [position for batch in batches for position, _ in batch.skipped]
    assert positions == [number for number in range(NUMBER) if states[number] != "broken"]
    assert skipped == [number for number in range(NUMBER) if states[number] == "broken"]
    assert known.num_known == sum(state in ("indexed", "touched") for state in states)
    assert len(encoder.encoded_images) == NUMBER - known.num_known
    rows = [row for batch in batches for row in batch.embeddings]
    for position, row in zip(positions, rows, strict=True):
        with Image.open(paths[position]) as image:
            assert row == pytest.approx(image_embedding(image)[0], abs=1e-3)


def test_a_name_is_no_file(folder: Path) -> None:
    save_image(folder / "cat.png", (1, 2, 3))
    library = PhotoLibrary.open(folder, FakeEncoder())
    library.sync()
    with pytest.raises(
        InputError, match=r"each file must have path .*FileState, got str 'cat.png'"
    ):
        library.look_up(["cat.png"])  # type: ignore[list-item]
