"""Indexing images whose embeddings are ready: by their content, of the same space."""

from pathlib import Path

import numpy as np
import pytest

import clipkit
from clipkit.bulk_embedding.embed import EmbedOptions, embed_source
from clipkit.errors import InputError, SpaceMismatchError
from tests.bulk_embedding.made_sources import COLORS, image_bytes, make_folder, make_shard
from tests.fakes import FakeEncoder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "photos", 4)


def test_content_that_is_there_is_not_embedded_again(
    tmp_path: Path, photos: Path, starter: clipkit.Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embedded in shards under other names, of which one image is not in the folder."""
    names = {f"{number}.png": image_bytes(COLORS[number]) for number in (1, 2, 3, 9)}
    make_shard(tmp_path / "0.tar", names)
    embed_source(tmp_path / "0.tar", tmp_path / "out", starter, options=EmbedOptions())
    files = clipkit.open_embedding_files(tmp_path / "out")
    embedded: list[str] = []
    real = starter.stream_images

    def noted(images: object, **options: object) -> object:
        def each() -> object:
            for image in images:  # type: ignore[attr-defined]
                embedded.append(Path(image).name)
                yield image

        return real(each(), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(starter, "stream_images", noted)
    library = clipkit.PhotoLibrary.open(photos, starter)
    report = library.sync(embeddings=files)
    assert (report.added, report.from_files) == (4, 3)
    assert report.to_dict()["from_files"] == 3
    assert embedded == ["0.png"]
    rows = library.embeddings()
    expected = starter.encode_images(rows.paths)
    np.testing.assert_allclose(rows.embeddings, expected, atol=1e-3)
    assert library.sync().from_files is None


def test_ready_embeddings_of_another_space_are_refused(
    tmp_path: Path, photos: Path, starter: clipkit.Encoder
) -> None:
    embed_source(photos, tmp_path / "out", starter)
    library = clipkit.PhotoLibrary.open(photos, FakeEncoder())
    with pytest.raises(SpaceMismatchError, match="holds embeddings of starter"):
        library.sync(embeddings=clipkit.open_embedding_files(tmp_path / "out"))
    with pytest.raises(InputError, match=r"what clipkit\.open_embedding_files"):
        library.sync(embeddings="out")  # type: ignore[arg-type]


def test_ready_embeddings_do_not_go_with_crops(
    tmp_path: Path, photos: Path, starter: clipkit.Encoder
) -> None:
    embed_source(photos, tmp_path / "out", starter)
    library = clipkit.PhotoLibrary.open(photos, starter)
    files = clipkit.open_embedding_files(tmp_path / "out")
    with pytest.raises(InputError, match=r"has 5 rows an image, and .*out holds one: index withou"):
        library.sync(embeddings=files, crops=5)
    assert not library.is_indexed
