"""Two processes search while a third indexes: with the real commands and the real model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipkit
from tests.fakes import age_files, change_time

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NUM_IMAGES = 80
QUERY = "a red image"


@pytest.fixture
def gradients(tmp_path: Path) -> Path:
    """Images that take no time to decode, none like another."""
    folder = tmp_path / "gradients"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        corners = generator.integers(0, 256, size=(2, 2, 3), dtype=np.uint8)
        image = Image.fromarray(corners).resize((48, 48), Image.Resampling.BILINEAR)
        image.save(folder / f"{number:03}.png")
    age_files(folder)
    return folder


def _start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "clipkit", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_searches_and_an_index_at_once_see_whole_states(
    gradients: Path, starter: clipkit.Encoder
) -> None:
    images = sorted(gradients.iterdir())
    embeddings = starter.encode_images(images)
    similarities = embeddings @ starter.encode_texts([QUERY])[0]
    expected = {str(path): float(x) for path, x in zip(images, similarities, strict=True)}
    # Ten are there to be searched when the others come.
    later = images[10:]
    aside = gradients.parent / "aside"
    aside.mkdir()
    for path in later:
        path.rename(aside / path.name)
    clipkit.PhotoLibrary.open(gradients, starter).sync()
    for path in later:
        (aside / path.name).rename(path)
    change_time(images[0])

    index = _start("index", str(gradients))
    counts: list[int] = []
    is_over = False
    while not is_over:
        is_over = index.poll() is not None  # one more round after it has ended
        searches = [
            _start("search", QUERY, str(gradients), "--no-indexing", "--json", "-t", "1000")
            for _ in range(2)
        ]
        for search in searches:
            output, errors = search.communicate()
            assert search.returncode in (0, 1), errors  # 1: nothing relevant, which is an answer
            hits = [json.loads(line) for line in output.splitlines()]
            found = {hit["path"]: hit["similarity"] for hit in hits}
            relevance = [hit["relevance"] for hit in hits]
            assert len(found) == len(hits) >= 10, errors
            assert found.keys() <= expected.keys()
            assert found == pytest.approx({path: expected[path] for path in found}, abs=1e-3)
            assert relevance == sorted(relevance, reverse=True)
            counts.append(len(found))
    _, errors = index.communicate()
    assert index.returncode == 0, errors
    assert counts[-2:] == [NUM_IMAGES] * 2
    assert len(counts) >= 4  # two searches beside the index, and two after it
