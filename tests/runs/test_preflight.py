"""The pre-flight tells what training would meet, and leaves nothing behind."""

import shutil
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from clipkit.errors import InputError
from clipkit.runs import build as assembly
from clipkit.runs import preflight as preflight_module
from clipkit.runs.preflight import check
from clipkit.runs.preflight_report import PreflightReport
from clipkit.training.config import RunConfig
from clipkit.training.data_loading import LoadedBatch, PairBatches
from clipkit.training.trainer import Trainer
from tests.fakes import save_image
from tests.runs.conftest import WriteRun


@pytest.fixture
def mixed_folder(captions_folder: Path, tmp_path: Path) -> Path:
    """Twelve images of which one is damaged, one is another's copy, and two say the same."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for path in sorted(captions_folder.glob("*.png"))[:12]:
        shutil.copy(path, folder)
        shutil.copy(path.with_suffix(".txt"), folder)
    images = sorted(folder.glob("*.png"))
    images[0].write_bytes(images[0].read_bytes()[:200])
    images[2].write_bytes(images[1].read_bytes())
    images[3].with_suffix(".txt").write_text("the same")
    images[4].with_suffix(".txt").write_text("the same")
    images[5].with_suffix(".txt").write_text("a very long caption " * 10)
    return folder


def test_preflight_counts_what_is_in_the_data(
    write_run: WriteRun, mixed_folder: Path, tmp_path: Path
) -> None:
    path = write_run(
        data={"train": str(mixed_folder), "max_bad_fraction": 0.1}, compute={"batch_size": 4}
    )
    before = sorted(tmp_path.rglob("*"))

    found = check(RunConfig.from_toml(path))

    damaged = sorted(mixed_folder.glob("*.png"))[0]
    assert sorted(tmp_path.rglob("*")) == before
    assert found.train.num_pairs == 11
    assert list(found.train.unreadable) == [str(damaged)]
    assert found.train.num_duplicates == 1
    assert found.train.num_cut == 1
    # Three say one thing, all others two.
    assert found.train.num_captions == 3 * 1 + 8 * 2
    assert found.train.num_different_captions == found.train.num_captions - 1
    # Two ordered pairs of the 11 * 10 are equal, and a batch holds 4 * 3 ordered pairs.
    assert found.train.false_negatives == pytest.approx(2 * 12 / 110)
    assert (found.epochs, found.steps_per_epoch) == (2, 3)
    assert found.step_seconds > 0
    assert found.hours == pytest.approx(found.step_seconds * 6 / 3600)
    assert found.num_trained == found.num_parameters
    assert found.validation is None


def test_of_many_pairs_a_part_is_read(
    write_run: WriteRun, mixed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight of twelve, of which one is damaged; the copies among all of them are counted."""
    monkeypatch.setattr(preflight_module, "_MOST_READ", 8)
    path = write_run(
        data={"train": str(mixed_folder), "max_bad_fraction": 0}, compute={"batch_size": 4}
    )

    found = check(RunConfig.from_toml(path))

    num_bad = len(found.train.unreadable)
    assert found.train.num_pairs + num_bad == 8
    assert found.train.num_duplicates == 1
    assert found.lines()[0] == "pairs to train on: a random 8 of 12 were read"
    assert found.steps_per_epoch == 3
    words = "1 of 8 pairs cannot be read"
    assert any(words in line for line in found.warnings) == (num_bad == 1)


def test_preflight_looks_at_validation_pairs_too(write_run: WriteRun) -> None:
    found = check(RunConfig.from_toml(write_run(data={"validation_fraction": 0.25})))

    assert found.validation is not None
    assert (found.train.num_pairs, found.validation.num_pairs) == (30, 10)


@pytest.mark.slow
def test_preflight_says_when_more_is_damaged_than_a_run_may_meet(
    write_run: WriteRun, mixed_folder: Path
) -> None:
    path = write_run(
        data={"train": str(mixed_folder), "max_bad_fraction": 0.05}, compute={"batch_size": 4}
    )

    warnings = check(RunConfig.from_toml(path)).warnings

    assert warnings[0].startswith("1 of 12 pairs cannot be read, data.max_bad_fraction allows 0")


def test_an_epoch_is_as_long_as_the_weights_of_the_places_make_it(
    write_run: WriteRun, captions_folder: Path
) -> None:
    """A fifth of forty pairs is one batch of eight, and none of nine."""
    data = {"train": [{"path": str(captions_folder), "weight": 0.2}]}
    assert check(RunConfig.from_toml(write_run(data=data))).steps_per_epoch == 1
    path = write_run("large", data=data, compute={"batch_size": 9})
    words = r"more than the 8 pairs of an epoch \(by data\.train's weights\).* set at most 8"
    with pytest.raises(InputError, match=words):
        check(RunConfig.from_toml(path))


def test_preflight_refuses_what_the_run_would(write_run: WriteRun, captions_folder: Path) -> None:
    path = write_run(output=str(captions_folder / "run"))
    with pytest.raises(InputError, match="would be taken for data"):
        check(RunConfig.from_toml(path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": {"lr": 1e-3}, "base": True}, ("optimizer.lr 0.001", "set lr = 1e-05")),
        ({"data": {"horizontal_flip": 0.5}}, ("2 captions say left or right",)),
        (
            {"loss": {"kind": "sigmoid"}},
            ("starts with a bias of -10", "a batch of 8 has one in 8 (a bias of -1.9)"),
        ),
        ({"loss": {"kind": "sigmoid"}, "base": True}, ("starts with a bias of -10",)),
        ({"compute": {"epochs": 100}}, ("each pair is shown 100 times",)),
    ],
)
def test_preflight_warns_and_says_what_is_right(
    write_run: WriteRun,
    captions_folder: Path,
    tmp_path: Path,
    tiny_checkpoint: Path,
    changes: dict[str, Any],
    words: Sequence[str],
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(captions_folder, folder)
    sorted(folder.glob("*.txt"))[0].write_text("a cat on the left\na cat, right of a dog")
    data = {"train": str(folder), **changes.get("data", {})}
    has_base = changes.get("base", False)
    model = {"base": str(tiny_checkpoint)} if has_base else {}
    settings = {name: value for name, value in changes.items() if name != "base"}

    found = check(RunConfig.from_toml(write_run(**settings | {"model": model, "data": data})))

    assert any(all(word in line for word in words) for line in found.warnings), found.warnings


def test_preflight_of_good_settings_warns_of_none_of_these(
    write_run: WriteRun, tiny_checkpoint: Path
) -> None:
    path = write_run(
        model={"base": str(tiny_checkpoint)},
        optimizer={"lr": 1e-5},
        compute={"batch_size": 32, "epochs": 50},
    )

    assert check(RunConfig.from_toml(path)).warnings == ()


@pytest.mark.slow
def test_preflight_of_locked_tower_times_what_a_run_would_do(
    write_run: WriteRun, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its features are computed once, so no step runs it."""
    seen: list[bool] = []

    class Watched(Trainer):
        def try_step(self, batch: LoadedBatch) -> None:
            seen.append(batch.batch.images is None)
            super().try_step(batch)

    monkeypatch.setattr(preflight_module, "Trainer", Watched)
    checks = []
    for scale in ([1.0, 1.0], [0.9, 1.0]):
        path = write_run(
            model={"base": str(tiny_checkpoint), "lock_image": True},
            data={"crop_scale": scale},
        )
        found = check(RunConfig.from_toml(path))

        checks.append(found)

    once, each = checks
    assert seen == [True] * 3 + [False] * 3
    assert 0 < each.num_trained < each.num_parameters
    assert each.features_seconds == 0 < once.features_seconds
    steps = once.epochs * once.steps_per_epoch
    seconds = once.features_seconds + steps * once.step_seconds
    assert once.hours == pytest.approx(seconds / 3600)
    assert "features of all images, computed once: about" in "\n".join(once.lines())
    assert "computed once" not in "\n".join(each.lines())


def test_a_step_takes_as_long_as_reading_its_batch(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that only reading moves: two hours a batch."""
    clock = 0.0

    class Slow(PairBatches):
        def after(self, step: int) -> Generator[LoadedBatch]:
            nonlocal clock
            for batch in super().after(step):
                clock += 7200
                yield batch

    monkeypatch.setattr(assembly, "PairBatches", Slow)
    monkeypatch.setattr(time, "perf_counter", lambda: clock)

    found = check(RunConfig.from_toml(write_run(compute={"precision": "fp32"})))

    assert found.step_seconds == 7200
    assert found.hours == 2 * found.epochs * found.steps_per_epoch


@pytest.mark.slow
def test_preflight_warns_of_images_that_are_validated_on_and_trained_on(
    write_run: WriteRun, captions_folder: Path, tmp_path: Path
) -> None:
    """Two of three, under other names and captions."""
    folder = tmp_path / "held"
    folder.mkdir()
    first, second, *_ = sorted(captions_folder.glob("*.png"))
    for name, image in (("a", first), ("b", second)):
        shutil.copy(image, folder / f"{name}.png")
    save_image(folder / "c.png", (1, 2, 3))
    for name in "abc":
        (folder / f"{name}.txt").write_text(f"image {name}")

    found = check(RunConfig.from_toml(write_run(data={"validation": str(folder)})))

    assert found.validation is not None
    assert found.warnings[0].startswith("2 of 3 images to validate on are trained on too")


def test_lines_name_every_finding(write_run: WriteRun, mixed_folder: Path) -> None:
    path = write_run(
        data={"train": str(mixed_folder), "max_bad_fraction": 0.1}, compute={"batch_size": 4}
    )

    found: PreflightReport = check(RunConfig.from_toml(path))
    text = "\n".join(found.lines())

    assert "11 pairs with 19 captions, 18 of them different" in text
    assert "1 images are copies" in text
    assert "1 captions are longer" in text
    assert str(sorted(mixed_folder.glob("*.png"))[0]) in text
    assert "2 epochs of 3 steps of" in text
    assert "in all on this machine, estimated from a few steps" in text
    assert "are free for it" in text
    assert "warning: " in text


def test_same_caption_everywhere_is_refused(
    write_run: WriteRun, captions_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(captions_folder, folder)
    for path in folder.glob("*.txt"):
        path.write_text("a photo")

    with pytest.raises(InputError, match="all 40 pairs have the same caption"):
        check(RunConfig.from_toml(write_run(data={"train": str(folder)})))


def test_missing_reference_set_is_refused(write_run: WriteRun, tmp_path: Path) -> None:
    path = write_run(watch={"retention_set": str(tmp_path / "nowhere")})

    with pytest.raises(InputError, match="nowhere"):
        check(RunConfig.from_toml(path))
