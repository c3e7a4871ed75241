"""``clipkit train``: what it prints, and the one line that bad input gets."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Outcome
from tests.full_disk import full_disk
from tests.runs.conftest import save_architecture, save_captions_folder, save_run

Run = Callable[..., Outcome]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten small photographs with captions."""
    return save_captions_folder(tmp_path / "photos", 10)


@pytest.fixture
def write(tmp_path: Path, photos: Path) -> Callable[..., Path]:
    """Return a function that writes a RUN.toml of one epoch in batches of 5."""
    architecture = save_architecture(tmp_path / "tiny.json")

    def write(name: str = "run", **changes: Any) -> Path:
        changes["compute"] = {"batch_size": 5, "epochs": 1, **changes.get("compute", {})}
        return save_run(tmp_path / f"{name}.toml", architecture, photos, **changes)

    return write


def refused(run: Run, *words: object) -> str:
    """Run a command that must fail, and return the one line that says why."""
    outcome = run("train", *words)
    told = re.compile(r"clipkit: warning|.* pairs( of \d+ classes)? to train on$")
    lines = [line for line in outcome.err.splitlines() if not told.match(line)]
    assert (outcome.status, outcome.out) == (2, ""), outcome
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("clipkit: ")
    return lines[0]


@pytest.mark.slow
def test_train_prints_its_report_and_nothing_else(
    run: Run, write: Callable[..., Path], tmp_path: Path
) -> None:
    outcome = run("train", write(data={"validation_fraction": 0.4}))

    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "1 steps on 6 pairs in 0.0 minutes"
    assert "recall@1" in lines[1]
    assert [line.split()[0] for line in lines[2:4]] == ["start", "trained"]
    assert lines[-1] == str(tmp_path / "run" / "final")


@pytest.mark.slow
def test_json_report_parses(run: Run, write: Callable[..., Path], tmp_path: Path) -> None:
    outcome = run("train", write(), "--json")

    report = json.loads(outcome.out)
    assert outcome.status == 0
    assert report == json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["num_steps"] == 2


def test_check_prints_and_writes_nothing(
    run: Run, write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write()
    before = sorted(tmp_path.rglob("*"))

    text, found = run("train", path, "--check"), run("train", path, "--check", "--json")

    assert (text.status, found.status) == (0, 0)
    assert "10 pairs with 20 captions" in text.out
    assert "about" in text.out
    assert json.loads(found.out)["train"]["num_pairs"] == 10
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_check_of_fine_tuning_at_a_high_rate_says_what_is_right(
    run: Run, write: Callable[..., Path], tiny_checkpoint: Path
) -> None:
    outcome = run("train", write(model={"base": str(tiny_checkpoint)}), "--check")

    warning = next(line for line in outcome.out.splitlines() if "optimizer.lr" in line)
    assert warning.startswith("warning: optimizer.lr 0.001 is 100 times")
    assert "set lr = 1e-05" in warning


@pytest.mark.slow
def test_set_replaces_settings(run: Run, write: Callable[..., Path], tmp_path: Path) -> None:
    words = ("--set", "compute.epochs=2", "--set", f"output={tmp_path / 'other'}")

    outcome = run("train", write(), "--json", *words)

    assert json.loads(outcome.out)["num_steps"] == 4
    assert (tmp_path / "other" / "final").is_dir()


@pytest.mark.slow
def test_other_process_than_the_first_prints_nothing(
    run: Run, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write()
    assert run("train", path).status == 0
    monkeypatch.setenv("RANK", "1")

    assert run("train", path, "--json").out == ""


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"optimizer": {"learning_rate": 1e-5}}, r"learning_rate.*did you mean lr\?"),
        ({"optimizer": {"weight_decy": 0.1}}, r"weight_decy.*did you mean weight_decay\?"),
        ({"optimizer": {"batch_size": 4}}, r"batch_size belongs to \[compute\]"),
        ({"optimiser": {"lr": 1e-5}}, r"optimiser.*optimizer"),
        ({"compute": {"batch_size": "many"}}, r"compute\.batch_size must be a whole number"),
        (
            {"compute": {"batch_size": 11}},
            r"11 is more than the 10 pairs of an epoch, .* set at most 10",
        ),
        ({"compute": {"batch_size": 1}}, r"compute\.batch_size must be at least 2, got 1"),
        ({"loss": {"matryoshka_dims": [25]}}, r"matryoshka_dims must be at most 24"),
        ({"model": {"base": "/nowhere/model"}}, r"/nowhere/model"),
        ({"model": {"architecture": "ViT-Q-99"}}, r"ViT-Q-99"),
        ({"model": {"architecture": "nowhere.json"}}, r"nowhere\.json cannot be read"),
        ({"data": {"train": "nowhere"}}, r"no such folder: .*nowhere"),
        ({"data": {"format": "zip"}}, r"data\.format must be one of"),
        ({"watch": {"retention_set": "nowhere"}}, r"no such folder: .*nowhere"),
        ({"watch": {"patience": 2}}, r"watch\.patience ends a run by its validation pairs"),
        ({"seed": -1}, r"seed must be 0 or more, got -1"),
    ],
)
def test_wrong_setting_gets_one_line(
    run: Run, write: Callable[..., Path], tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    path = write(**changes)

    assert re.search(line, refused(run, path))
    assert not list(tmp_path.glob("run/checkpoints"))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("lr", r'"lr" must be KEY=VALUE, for example optimizer\.lr=1e-5'),
        ("optimizer.lr=fast", r"optimizer\.lr must be a number"),
        ("optimizer.rate=1", r"rate"),
        ("compute=3", r"compute"),
        ("=3", r"must be KEY=VALUE"),
        ("optimizer.lr=-1", r"optimizer\.lr must be 0 or more, got -1"),
    ],
)
def test_nonsense_in_set_gets_one_line(
    run: Run, write: Callable[..., Path], override: str, line: str
) -> None:
    assert re.search(line, refused(run, write(), "--set", override))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--sweep", "optimizer.lr"), r"must be KEY=VALUE,VALUE, for example optimizer\.lr="),
        (("--sweep", "optimizer.rate=1"), r"rate"),
        (("--sweep", "seed=1,2"), r"compares runs by their validation pairs, and there are none"),
        (("--sweep", "seed=1", "--finalize"), r"--sweep is for runs to come"),
        (
            ("--sweep", "seed=1", "--extend"),
            r"--extend continues one run, .*: give it that run's own run\.toml",
        ),
    ],
)
def test_nonsense_in_sweep_gets_one_line(
    run: Run, write: Callable[..., Path], tmp_path: Path, words: tuple[str, ...], line: str
) -> None:
    assert re.search(line, refused(run, write(), *words))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_check_of_a_sweep_adds_up_and_writes_nothing(
    run: Run, write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(data={"validation_fraction": 0.4})
    words = ("--sweep", "optimizer.lr=1e-4,1e-3", "--check")

    text, found = run("train", path, *words), run("train", path, *words, "--json")

    assert (text.status, found.status) == (0, 0)
    assert "\noptimizer.lr = 0.001: " in text.out
    assert "2 runs one after another: about " in text.out
    content = json.loads(found.out)
    assert [each["settings"] for each in content["runs"]] == [
        {"optimizer.lr": 1e-4},
        {"optimizer.lr": 1e-3},
    ]
    assert content["hours"] == pytest.approx(sum(each["hours"] for each in content["runs"]))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_mended_settings_of_a_run_that_never_began_are_taken(
    run: Run, write: Callable[..., Path], tmp_path: Path
) -> None:
    refused(run, write(compute={"batch_size": 11}))
    refused(run, write(data={"train": str(tmp_path / "nowhere")}))

    assert run("train", write()).status == 0


def test_missing_and_broken_files_get_one_line(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text('[model\nbase = "starter"')

    assert "give the RUN.toml of a run" in refused(run, tmp_path / "nowhere.toml")
    assert "broken.toml is not valid TOML" in refused(run, broken)
    broken.write_bytes(b"\xff\xfe\x00")
    assert "broken.toml cannot be read" in refused(run, broken)


def test_data_that_nothing_can_be_learnt_from_gets_one_line(
    run: Run, write: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    empty, single, bare = (tmp_path / name for name in ("empty", "single", "bare"))
    empty.mkdir()
    save_captions_folder(single, 1)
    shutil.copytree(photos, bare)
    for path in bare.glob("*.txt"):
        path.unlink()
    table = tmp_path / "pairs.csv"
    table.write_text("filepath,titel\nphotos/astronaut.png,an astronaut\n")

    assert "empty holds no images" in refused(run, write(data={"train": str(empty)}))
    one = write(data={"train": str(single)})
    assert "training needs at least 2 pairs, got 1" in refused(run, one)
    assert "10 images and no captions" in refused(run, write(data={"train": str(bare)}))
    missing = refused(run, write(data={"train": str(table)}))
    assert "title" in missing
    assert "titel" in missing


@pytest.mark.slow
def test_caption_files_without_images_get_one_line(
    run: Run, write: Callable[..., Path], photos: Path
) -> None:
    lost = sorted(photos.glob("*.png"))[:2]
    for path in lost:
        path.unlink()

    line = refused(run, write())

    assert "2 of 10 pairs cannot be read, data.max_bad_fraction allows 5.0%" in line
    assert str(lost[0].with_suffix(".txt")) in line
    mended = run("train", write("few", data={"max_bad_fraction": 0.2}, compute={"batch_size": 4}))
    assert mended.status == 0
    assert "2 pairs are left out: " in mended.err
    assert "2 pairs could not be read: report.json lists them" in mended.out


@pytest.mark.slow
def test_too_many_bad_images_get_one_line(
    run: Run, write: Callable[..., Path], photos: Path
) -> None:
    for path in sorted(photos.glob("*.png"))[:4]:
        path.write_bytes(path.read_bytes()[:50])

    line = refused(run, write())

    assert re.search(r"\d pairs could not be read, data\.max_bad_fraction allows 0: ", line)
    assert "the same command starts from the first step, as there is no checkpoint yet" in line


def test_checkpoint_of_another_architecture_gets_one_line(
    run: Run, write: Callable[..., Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    place = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, place)
    config = json.loads((place / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["layers"] = 3
    (place / "open_clip_config.json").write_text(json.dumps(config))

    line = refused(run, write(model={"base": str(place)}))

    assert "do not fit the architecture" in line
    assert "is missing" in line


@pytest.mark.slow
def test_output_of_something_else_or_another_run_stays_as_it_is(
    run: Run, write: Callable[..., Path], tmp_path: Path
) -> None:
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "dear.txt").write_text("dear")
    path = write()
    assert run("train", path).status == 0
    final = tmp_path / "run" / "final" / "open_clip_model.safetensors"
    before = final.read_bytes()

    other = refused(run, path, "--set", f"output={letters}")
    changed = refused(run, path, "--set", "optimizer.lr=0.5")

    assert "letters holds something that is no training run: choose another output" in other
    assert "optimizer.lr was 0.001, is 0.5" in changed
    assert [item.name for item in letters.iterdir()] == ["dear.txt"]
    assert final.read_bytes() == before


# Bytes that a file may have: none for run.toml, none for weights, none for the optimizer.
@pytest.mark.slow
@pytest.mark.parametrize("num_bytes", [0, 2_000_000, 5_000_000])
def test_full_disk_gets_one_line_and_loses_nothing(
    run: Run, write: Callable[..., Path], tmp_path: Path, num_bytes: int
) -> None:
    path = write(compute={"epochs": 2})
    stopped = run("train", write("undisturbed", compute={"epochs": 2}))
    assert stopped.status == 0

    with full_disk(num_bytes):
        line = refused(run, path)
    if (tmp_path / "run" / "metrics.jsonl").exists():
        with full_disk(0):
            again = refused(run, path)
        assert "cannot be written" in again
    ended = run("train", path)

    assert "cannot be written" in line
    assert ended.status == 0, ended.err
    names = ("run", "undisturbed")
    finals = [tmp_path / name / "final" / "open_clip_model.safetensors" for name in names]
    assert finals[0].read_bytes() == finals[1].read_bytes()


@pytest.mark.slow
def test_extend_goes_on_with_a_run_and_says_its_schedule(
    run: Run, write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write()
    run("train", path)
    more = ("--set", "compute.epochs=2")

    line = refused(run, path, *more)
    checked = run("train", path, *more, "--extend", "--check", "--json")
    outcome = run("train", path, *more, "--extend", "--json")

    assert "give --extend" in line
    assert json.loads(checked.out)["num_done"] == 2
    assert "extending the run after step 2, to step 4: the learning rate begins" in outcome.err
    assert json.loads(outcome.out)["extensions"] == [2]
    assert "--finalize trains nothing" in refused(run, "--finalize", tmp_path, "--extend")
