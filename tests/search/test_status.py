"""How far an index lags behind its folder."""

import json
from pathlib import Path

from clipkit.search.library import PhotoLibrary
from tests.fakes import change_time, save_image


def test_a_status_counts_as_the_next_sync_would(library: PhotoLibrary, photos: Path) -> None:
    library.sync(exclude=["*.gif"])
    (photos / "red.png").unlink()
    change_time(photos / "orange.png")
    save_image(photos / "new.png", (1, 2, 3))
    (photos / "left.gif").touch()
    status = library.status()
    assert (status.num_images, status.num_new, status.num_changed) == (4, 1, 1)
    assert (status.num_removed, status.num_missing, status.num_unchanged) == (1, 0, 2)
    assert status.num_left_out == 1
    assert library.status() == status  # nothing was done about it


def test_a_status_as_json_has_plain_values(library: PhotoLibrary, photos: Path) -> None:
    library.sync(exclude=["*.gif"])
    values = library.status().to_dict()
    assert json.loads(json.dumps(values)) == values
    assert (values["folder"], values["location"]) == (str(photos), str(library.location))
    assert (values["num_images"], values["exclude"], values["model"]) == (4, ["*.gif"], "fake")
