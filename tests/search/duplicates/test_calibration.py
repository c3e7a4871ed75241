"""Thresholds from distributions written by hand, and from real copies of the samples."""

from pathlib import Path

import numpy as np
import pytest

import clipkit
from clipkit.errors import InputError
from clipkit.search.duplicates import calibration
from clipkit.search.duplicates.calibration import Evidence, calibrate, choose_thresholds


def _evidence(
    copy_similarities: list[float], other_similarities: list[float], *, most_similar: float = 0.1
) -> Evidence:
    """Return evidence with one image an `other_similarities`, its second most similar neighbour."""
    others = np.full((len(other_similarities), 3), 0.05, dtype=np.float32)
    others[:, 1] = other_similarities
    others[:, 2] = np.maximum(others[:, 1], most_similar)
    return Evidence(
        np.full(len(copy_similarities), 0.9, dtype=np.float32),  # so the gate is at .85
        np.array(copy_similarities, dtype=np.float32),
        np.full_like(others, 0.95),
        others,
    )


def test_the_similarity_is_half_way_between_other_images_and_copies() -> None:
    # 101 other images at .700, .701, … .800: 5 % are above .795. All copies at .95.
    found = choose_thresholds(_evidence([0.95] * 60, np.linspace(0.7, 0.8, 101).tolist()))
    assert found.similarity == pytest.approx((0.795 + 0.95) / 2, abs=1e-6)
    assert (found.copies_found, found.others_found, found.num_images) == (1, 0, 101)


def test_copies_begin_where_all_but_five_percent_are() -> None:
    # .90, .91, … 1.00 at 0 %, 10 %, …: 5 % are below .905. Others are below .65.
    found = choose_thresholds(_evidence(np.linspace(0.9, 1, 11).tolist(), [0.1]))
    assert found.similarity == pytest.approx((0.65 + 0.905) / 2, abs=1e-6)


def test_one_copy_of_each_image_that_is_there_already_changes_nothing() -> None:
    others = np.linspace(0.7, 0.8, 101).tolist()
    found = choose_thresholds(_evidence([0.95] * 60, others, most_similar=0.94))
    assert found.similarity == pytest.approx((0.795 + 0.95) / 2, abs=1e-6)
    assert found.others_found == 1


def test_more_copies_that_are_there_already_do_not_count_either() -> None:
    others = np.linspace(0.7, 0.8, 101).tolist() + [0.99] * 50
    found = choose_thresholds(_evidence([0.95] * 60, others))
    assert found.similarity == pytest.approx((0.795 + 0.95) / 2, abs=1e-6)
    assert found.others_found == pytest.approx(50 / 151)


def test_where_copies_are_less_alike_than_other_images_precision_wins() -> None:
    found = choose_thresholds(_evidence([0.3] * 60, [0.2] * 10))
    assert found.similarity == pytest.approx(0.65)
    assert found.copies_found == 0


def test_the_gate_is_half_as_far_again_as_the_far_copies() -> None:
    # .80, .81, … .90 at 0 %, 10 %, …: 2 % are below .802, at a distance of .198.
    cosines = np.linspace(0.8, 0.9, 11, dtype=np.float32)
    evidence = _evidence([0.95] * 11, [0.1])._replace(copy_cosines=cosines)
    assert choose_thresholds(evidence).cosine == pytest.approx(1 - 1.5 * 0.198, abs=1e-6)


def test_other_images_beyond_the_gate_do_not_count() -> None:
    evidence = _evidence([0.95] * 60, [0.9])
    beyond = evidence._replace(other_cosines=np.full_like(evidence.other_cosines, 0.84))
    assert choose_thresholds(evidence).similarity == pytest.approx((0.9 + 0.95) / 2, abs=1e-6)
    assert choose_thresholds(beyond).similarity == pytest.approx((0.65 + 0.95) / 2, abs=1e-6)


def test_an_image_alone_has_no_others() -> None:
    nothing = np.empty((1, 0), dtype=np.float32)
    alone = _evidence([0.95] * 3, [0.1])._replace(other_cosines=nothing, other_similarities=nothing)
    found = choose_thresholds(alone)
    assert found.similarity == pytest.approx((0.65 + 0.95) / 2, abs=1e-6)
    assert (found.num_images, found.others_found) == (1, 0)


@pytest.mark.slow
def test_most_copies_of_the_samples_pass_and_no_two_samples_do(
    samples: list[Path], starter: clipkit.Encoder
) -> None:
    some = samples[:10]
    embeddings = starter.encode_images(some).astype(np.float16)
    told: list[tuple[int, int | None]] = []
    found = calibrate(some, embeddings, starter, progress=lambda *now: told.append(now))
    assert found.num_images == 10
    assert found.copies_found > 0.9
    assert found.others_found == 0
    assert told[-1] == (30, 30)


def test_at_most_sixty_four_are_sampled_evenly(
    samples: list[Path], starter: clipkit.Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "_SAMPLE", 3)
    read: list[Path] = []

    def make_copies(path: Path, *, max_pixels: int | None) -> dict[str, bytes]:
        read.append(path)
        return {"same": path.read_bytes()}

    monkeypatch.setattr(calibration, "make_copies", make_copies)
    embeddings = starter.encode_images(samples[:9])
    found = calibrate(samples[:9], embeddings, starter)
    assert read == [samples[0], samples[4], samples[8]]
    assert (found.num_images, found.copies_found) == (3, 1)
    assert found.similarity == pytest.approx((0.65 + 1) / 2, abs=0.01)
    assert found.cosine == pytest.approx(1, abs=1e-4)


def test_what_cannot_be_read_is_passed_over(
    tmp_path: Path, samples: list[Path], starter: clipkit.Encoder
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    rows = np.eye(4, starter.embed_dim, dtype=np.float32)
    found = calibrate([bad, samples[0], tmp_path / "gone.jpg", samples[1]], rows, starter)
    assert found.num_images == 2
    with pytest.raises(InputError, match="none can"):
        calibrate([bad, bad], rows[:2], starter)
