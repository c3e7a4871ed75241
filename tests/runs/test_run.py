"""Whole runs on real images: what they learn, choose, write and say."""

import json
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import clipkit
from clipkit.data.sources import open_pairs
from clipkit.errors import InputError, TrainingError
from clipkit.evaluation.zero_shot import evaluate_classes
from clipkit.progress import Callbacks, Progress
from clipkit.runs import rank_run
from clipkit.runs.data import open_data
from clipkit.runs.finalize import finalize_run
from clipkit.runs.metrics_log import read_metrics
from clipkit.runs.report import TrainingReport, read_report
from clipkit.runs.run import train
from clipkit.runs.validation import RETENTION_ACCURACY, RETENTION_PROBABILITY
from clipkit.training.config import RunConfig
from clipkit.training.loop import Validation
from tests.models.conftest import TINY_TEXT, make_open_clip, tiny_config, write_directory
from tests.runs.conftest import WriteRun, final_weights

# Tiny runs are warned of: few steps, small batches, few pairs to validate on.
pytestmark = pytest.mark.filterwarnings("ignore::clipkit.errors.ClipkitWarning")

VOCABULARY = {**TINY_TEXT, "vocab_size": 49408}


def test_run_leaves_a_model_and_its_papers(write_run: WriteRun, tmp_path: Path) -> None:
    path = write_run(data={"validation_fraction": 0.2})

    report = train(RunConfig.from_toml(path))

    directory = tmp_path / "run"
    assert read_report(directory) == report
    assert json.loads((directory / "report.json").read_text())["is_finished"] is True
    assert (report.step, report.num_steps, report.num_pairs) == (8, 8, 32)
    with Image.open(directory / "curves.png") as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).std() > 0
    card = (directory / "final" / "README.md").read_text()
    for fact in (
        "32 pairs for training",
        "8 pairs for validation",
        f"torch {version('torch')}",
        "- steps: 8 of 8 planned\n",
    ):
        assert fact in card
    assert f"{report.end['validation_loss']:.4f}" in card
    assert list(directory.glob("**/*.part")) == []


@pytest.mark.slow
def test_kept_config_is_the_same_run(write_run: WriteRun, tmp_path: Path) -> None:
    path = write_run()
    first = train(RunConfig.from_toml(path))
    kept = tmp_path / "run" / "run.toml"
    lines: list[str] = []

    again = train(RunConfig.from_toml(kept), callbacks=Callbacks(say=lines.append))

    assert RunConfig.from_toml(kept) == RunConfig.from_toml(path).resolve()
    assert again == first
    assert lines == [
        f"{tmp_path / 'run'} has ended already and this is what it came to; nothing was trained "
        "now. To train it further, ask for more epochs by --extend (in Python extend=True); to "
        "train again, choose another output"
    ]


@pytest.mark.slow
def test_final_model_is_equal_in_clipkit_and_open_clip(
    write_run: WriteRun, tmp_path: Path, captions_folder: Path
) -> None:
    train(RunConfig.from_toml(write_run()))
    final = tmp_path / "run" / "final"
    photos = sorted(captions_folder.glob("*.png"))[:3]
    encoder = clipkit.load(str(final), cache_texts=False)

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{final}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{final}")
    pixels = torch.stack([preprocess(Image.open(path)) for path in photos])
    with torch.no_grad():
        images = model.encode_image(pixels, normalize=True).numpy()
        texts = model.encode_text(tokenizer(["a photo of a cat", "bee"]), normalize=True).numpy()

    np.testing.assert_allclose(encoder.encode_images(photos), images, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(["a photo of a cat", "bee"]), texts, atol=1e-5)


@pytest.mark.slow
def test_fine_tuning_measures_start_interpolations_and_end(fine_tune: Callable[..., Path]) -> None:
    path = fine_tune(compute={"batch_size": 6, "epochs": 4})

    report = train(RunConfig.from_toml(path))

    metrics = read_metrics(path.with_suffix(""))
    assert metrics[0].items() >= {"step": 0, "kind": "validation", **report.start}.items()
    assert {"accuracy", RETENTION_ACCURACY} <= report.start.keys()
    assert report.end != report.start
    interpolations = dict(report.interpolations)
    assert interpolations[0.0] == report.start
    assert interpolations[1.0] == report.end
    assert report.alpha is not None
    assert interpolations[report.alpha] == report.final
    assert report.final["accuracy"] == max(
        found["accuracy"]
        for found in interpolations.values()
        if found[RETENTION_ACCURACY] >= report.start[RETENTION_ACCURACY] - 0.02 - 1e-9
    )


# For alpha = 0, 0.2, … 1: (score, accuracy on the retention set).
def retained(score: float | None, share: float) -> Validation:
    """Return a validation with this share of a retention set of a thousand images."""
    right = (np.arange(1000) < round(1000 * share)).astype(float)
    return Validation(
        score,
        {RETENTION_ACCURACY: share},
        per_image={RETENTION_ACCURACY: right, RETENTION_PROBABILITY: right},
        retention_chance=1 / 45,
    )


RISING = [(0.1, 0.9), (0.2, 0.9), (0.3, 0.89), (0.4, 0.88), (0.5, 0.87), (0.6, 0.9)]
FORGETS = [(0.1, 0.9), (0.2, 0.9), (0.3, 0.89), (0.4, 0.88), (0.5, 0.87), (0.6, 0.5)]
WORSE = [(0.6, 0.9), (0.5, 0.9), (0.6, 0.9), (0.4, 0.9), (0.3, 0.9), (0.1, 0.9)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("measured", "max_forgetting", "alpha", "note"),
    [
        (RISING, 0.02, 1.0, None),
        (FORGETS, 0.02, 0.6, "the trained weights forgot"),
        (FORGETS, 0.5, 1.0, None),
        (WORSE, 0.02, 0.0, "training was not worth it"),
    ],
)
def test_chosen_interpolation_is_the_best_that_does_not_forget(
    fine_tune: Callable[..., Path],
    tiny_checkpoint: Path,
    tmp_path: Path,
    measured: Sequence[tuple[float, float]],
    max_forgetting: float,
    alpha: float,
    note: str | None,
) -> None:
    config = RunConfig.from_toml(fine_tune(watch={"max_forgetting": max_forgetting})).resolve()
    start = load_file(tiny_checkpoint / "open_clip_model.safetensors")
    checkpoint = tmp_path / "trained"
    write_directory_of_seed(checkpoint, seed=1)
    end = load_file(checkpoint / "open_clip_model.safetensors")
    directory = Path(config.output)
    directory.mkdir()
    first, *between, last = [retained(score, kept) for score, kept in measured]
    answers = iter([first, last, *between])  # the ends are measured first
    report = TrainingReport(str(directory), True, 8, 8, 1.0, 18)

    report = finalize_run(
        config,
        open_data(config),
        lambda encoder: next(answers),
        checkpoint,
        report,
    )

    assert report.alpha == alpha
    assert [line for line in report.notes if note and line.startswith(note)] == list(
        report.notes
    ), report.notes
    final = load_file(directory / "final" / "open_clip_model.safetensors")
    for name, tensor in final.items():
        expected = (1 - alpha) * start[name] + alpha * end[name]
        np.testing.assert_allclose(tensor, expected, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("step", "best_step", "weights"),
    [
        (60, 3, "those of step 3, the best by validation"),
        (60, 60, "those of step 60, the last"),
        (20, 12, "those of step 12, the best by validation"),  # early stopping
    ],
)
def test_card_says_how_many_steps_were_taken_and_whose_weights_these_are(
    fine_tune: Callable[..., Path], tmp_path: Path, step: int, best_step: int, weights: str
) -> None:
    config = RunConfig.from_toml(fine_tune(watch={"wise_ft": False})).resolve()
    write_directory_of_seed(tmp_path / "trained", seed=1)
    directory = Path(config.output)
    directory.mkdir()

    finalize_run(
        config,
        open_data(config),
        lambda encoder: Validation(0.5, {}),
        tmp_path / "trained",
        TrainingReport(str(directory), True, step, 60, 1.0, 18, best_step=best_step),
    )

    lines = (directory / "final" / "README.md").read_text().splitlines()
    assert f"- steps: {step} of 60 planned" in lines
    assert f"- trained weights: {weights}" in lines


@pytest.mark.slow
def test_without_validation_half_of_the_way_is_taken(fine_tune: Callable[..., Path]) -> None:
    path = fine_tune(data={"validation_fraction": 0.0})

    report = train(RunConfig.from_toml(path))

    assert report.alpha == 0.5
    assert [alpha for alpha, _ in report.interpolations] == [0, 0.2, 0.4, 0.5]
    assert report.start.keys() == {RETENTION_ACCURACY, "retention_log_probability"}
    assert any(line.startswith("nothing was measured") for line in report.notes)


@pytest.mark.slow
def test_every_measurement_is_of_the_weights_of_its_step(
    fine_tune: Callable[..., Path], class_folder: Path
) -> None:
    """Class embeddings of a step before would be remembered under an equal space_id."""
    path = fine_tune(compute={"batch_size": 6, "epochs": 4}, watch={"keep": 9})
    classes = open_pairs(class_folder)

    report = train(RunConfig.from_toml(path))

    found = {
        entry["step"]: entry["retention_log_probability"]
        for entry in read_metrics(path.with_suffix(""))
        if RETENTION_ACCURACY in entry and entry["step"] > 0
    }
    assert len(set(found.values())) == 4
    for step, value in found.items():
        place = path.with_suffix("") / "checkpoints" / f"step-{step:08}"
        encoder = clipkit.load(str(place), engine="torch", cache_texts=False)
        expected = evaluate_classes(encoder, classes).mean_log_probability
        assert value == pytest.approx(expected, abs=1e-5)
    assert report.step == max(found)


@pytest.mark.slow
def test_locked_image_tower_computes_features_once(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch, tiny_checkpoint: Path
) -> None:
    changes = {
        "model": {"base": str(tiny_checkpoint), "lock_image": True},
        "data": {"crop_scale": [1.0, 1.0]},
        "optimizer": {"lr": 1e-4},
        "watch": {"wise_ft": False},
    }
    once, always = write_run("once", **changes), write_run("always", **changes)
    train(RunConfig.from_toml(once))
    monkeypatch.setattr(rank_run, "locked_features", lambda *_, **__: None)
    train(RunConfig.from_toml(always))

    features = np.load(once.with_suffix("") / "features" / "image_features.npy")
    assert features.shape == (40, 24)
    assert not (always.with_suffix("") / "features").exists()
    start = load_file(tiny_checkpoint / "open_clip_model.safetensors")
    first, second = (
        load_file(path.with_suffix("") / "final" / "open_clip_model.safetensors")
        for path in (once, always)
    )
    for name, tensor in first.items():
        if name.startswith("visual."):
            np.testing.assert_array_equal(tensor, start[name], err_msg=name)
        np.testing.assert_allclose(tensor, second[name], rtol=0, atol=1e-6, err_msg=name)
    assert any(not np.array_equal(first[name], start[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("has_base", [False, True])
def test_sigmoid_run_starts_at_its_own_scale_and_bias(
    write_run: WriteRun, tiny_checkpoint: Path, has_base: bool
) -> None:
    model = {"base": str(tiny_checkpoint)} if has_base else {}
    path = write_run(
        model=model,
        data={"validation_fraction": 0.2},
        loss={"kind": "sigmoid"},
        watch={"wise_ft": False},
    )

    report = train(RunConfig.from_toml(path))

    # A match has about -10 as its logit, and infonce would be at ln 8 or so.
    assert 5 < report.start["validation_loss"] < 15
    first = next(entry for entry in read_metrics(path.with_suffix("")) if "loss" in entry)
    assert first["logit_scale"] == pytest.approx(np.log(10))
    encoder = clipkit.load(str(path.with_suffix("") / "final"), cache_texts=False)
    # AdamW moves a weight by about lr = 0.001 a step, of which there are 8.
    assert encoder.scoring.logit_bias == pytest.approx(-10, abs=0.011)
    assert encoder.scoring.logit_bias != -10


@pytest.mark.slow
def test_teacher_of_another_size_is_learnt_from(write_run: WriteRun, tmp_path: Path) -> None:
    vision = {"image_size": 48, "layers": 1, "width": 64, "patch_size": 16}
    config = tiny_config(vision_cfg=vision, text_cfg=VOCABULARY, embed_dim=20)
    (tmp_path / "teacher").mkdir()
    write_directory(tmp_path / "teacher", make_open_clip(config), config)
    path = write_run(loss={"teacher": str(tmp_path / "teacher"), "contrastive_weight": 0.0})

    train(RunConfig.from_toml(path))

    entries = [entry for entry in read_metrics(path.with_suffix("")) if "loss" in entry]
    assert {"feature_loss", "logit_loss"} <= entries[0].keys()
    assert entries[-1]["loss"] < entries[0]["loss"]
    state = load_file(path.with_suffix("") / "final" / "open_clip_model.safetensors")
    assert not any("map" in name for name in state)


@pytest.mark.slow
def test_places_are_drawn_as_often_as_they_weigh(
    write_run: WriteRun, class_folder: Path, captions_folder: Path
) -> None:
    places = [
        {"path": str(captions_folder), "weight": 2},
        {"path": str(class_folder), "weight": 0.5},
    ]
    path = write_run(data={"train": places}, compute={"epochs": 1})

    report = train(RunConfig.from_toml(path))

    assert report.num_pairs == 40 + 30
    assert report.num_steps == (2 * 40 + 30 // 2) // 8


@pytest.mark.slow
def test_matryoshka_run_learns_the_mean_over_prefixes(write_run: WriteRun) -> None:
    """Before the first step, with W of the whole and P of prefixes.

    (W + P8 + P4) / 3 follows from W, (W + P8) / 2 and (W + P4) / 2.
    """
    first = {}
    for name, dims in (("none", []), ("eight", [8]), ("four", [4]), ("both", [4, 8])):
        path = write_run(name, loss={"matryoshka_dims": dims}, compute={"epochs": 1})
        train(RunConfig.from_toml(path))
        entries = read_metrics(path.with_suffix(""))
        first[name] = next(entry["loss"] for entry in entries if "loss" in entry)

    expected = (2 * first["eight"] + 2 * first["four"] - first["none"]) / 3
    assert first["both"] == pytest.approx(expected, abs=1e-5)
    assert first["eight"] != pytest.approx(first["none"], abs=1e-3)


@pytest.mark.slow
def test_validation_place_is_measured_and_not_trained_on(
    write_run: WriteRun, class_folder: Path
) -> None:
    path = write_run(data={"validation": str(class_folder)}, watch={"every_epochs": 0.5})

    report = train(RunConfig.from_toml(path))

    assert report.num_pairs == 40
    measured = [entry for entry in read_metrics(path.with_suffix("")) if "accuracy" in entry]
    # Twice an epoch of 5 steps is after 2 and 4, and again at the end.
    assert [entry["step"] for entry in measured] == [0, 2, 4, 6, 8, 10]
    best = max(entry["accuracy"] for entry in measured[1:])
    assert report.end["accuracy"] == pytest.approx(best)


@pytest.mark.slow
def test_best_checkpoint_is_kept_and_taken(
    write_run: WriteRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Before the first step, after each of four epochs, and of the final weights.
    scores = iter([0.1, 0.3, 0.9, 0.2, 0.4, 0.9])
    measure = lambda encoder: Validation(next(scores), {})  # noqa: E731
    monkeypatch.setattr(rank_run, "build_measure", lambda *_: measure)
    path = write_run(data={"validation_fraction": 0.2}, compute={"epochs": 4}, watch={"keep": 1})

    report = train(RunConfig.from_toml(path))

    # 32 pairs are 4 batches of 8 an epoch.
    assert (report.best_step, report.step) == (8, 16)
    kept = tmp_path / "run" / "checkpoints"
    assert sorted(item.name for item in kept.iterdir()) == ["step-00000008", "step-00000016"]
    best = kept / "step-00000008" / "open_clip_model.safetensors"
    assert final_weights(path) == best.read_bytes()


@pytest.mark.slow
def test_run_without_progress_ends_early(write_run: WriteRun, class_folder: Path) -> None:
    path = write_run(
        data={"validation": str(class_folder)},
        optimizer={"lr": 0.0},
        watch={"patience": 2},
        compute={"epochs": 9},
    )

    report = train(RunConfig.from_toml(path))

    # The first measurement is the best, and two more are no better.
    assert (report.step, report.best_step, report.num_steps) == (15, 5, 45)
    assert report.is_finished


def test_the_model_names_no_folder_of_the_machine(
    fine_tune: Callable[..., Path], class_folder: Path
) -> None:
    config = RunConfig.from_toml(fine_tune(compute={"epochs": 1}))
    folders = [config.output, config.model.base, str(class_folder)]
    assert all(Path(folder).is_absolute() for folder in folders)

    report = train(config)

    for path in report.checkpoint.iterdir():
        content = path.read_bytes()
        for folder in folders:
            assert str(Path(folder).parent).encode() not in content, path
    assert f"trained on `{class_folder.name}`" in (report.checkpoint / "README.md").read_text()


@pytest.mark.slow
def test_run_goes_on_only_as_itself(write_run: WriteRun) -> None:
    path = write_run()
    config = RunConfig.from_toml(path)
    train(config)

    with pytest.raises(InputError, match=r"holds another run: seed was 0, is 1"):
        train(replace(config, seed=1))
    train(replace(config, watch=replace(config.watch, log_steps=3)))


def test_ctrl_c_ends_a_run_with_a_report_and_without_a_final_model(write_run: WriteRun) -> None:
    """As help(train) says; the same call resumes the run."""
    config = RunConfig.from_toml(write_run(data={"validation_fraction": 0.2}))

    def stop(done: int, total: int | None) -> None:
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    def progress_for(label: str) -> AbstractContextManager[Progress]:
        return nullcontext(stop if label == "training" else lambda done, total: None)

    report = train(config, callbacks=Callbacks(progress_for=progress_for))

    assert (report.is_finished, report.step) == (False, 2)
    assert not report.checkpoint.exists()
    assert train(config).is_finished
    assert report.checkpoint.is_dir()


def test_output_that_holds_something_else_is_left_alone(
    write_run: WriteRun, tmp_path: Path
) -> None:
    config = RunConfig.from_toml(write_run())
    letter = tmp_path / "run" / "letter.txt"
    letter.parent.mkdir()
    letter.write_text("dear")

    with pytest.raises(InputError, match="choose another output"):
        train(config)

    assert [path.name for path in letter.parent.iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_too_many_bad_images_end_a_run_and_mended_ones_let_it_go_on(
    write_run: WriteRun, captions_folder: Path, tmp_path: Path
) -> None:
    place = copy_folder(captions_folder, tmp_path / "photos")
    bad = sorted(place.glob("*.png"))[:3]
    whole = {path: path.read_bytes() for path in bad}
    for path in bad:
        path.write_bytes(whole[path][:100])
    config = RunConfig.from_toml(write_run(data={"train": str(place)}))

    with pytest.raises(TrainingError, match=r"3 pairs could not be read, .* allows 2"):
        train(config)
    bad[0].write_bytes(whole[bad[0]])
    report = train(config)

    assert report.is_finished
    assert set(report.bad) == {str(path) for path in bad[1:]}


def train_steps(
    config: RunConfig, num_steps: int = 2, *, checkpoint_minutes: float = 0
) -> RunConfig:
    """Leave a run in a step, the ones before it saved; return the run that goes on."""
    watch = replace(config.watch, checkpoint_minutes=checkpoint_minutes)
    stopped = replace(config, watch=watch)

    def stop(done: int, total: int | None) -> None:
        if done == num_steps:
            raise KeyboardInterrupt

    # Only training has steps; images whose features are computed are not counted.
    def progress_for(label: str) -> AbstractContextManager[Progress]:
        return nullcontext(stop if label == "training" else lambda done, total: None)

    with pytest.raises(KeyboardInterrupt):
        train(stopped, callbacks=Callbacks(progress_for=progress_for))
    return stopped


def copy_folder(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["data.validation", "watch.retention_set", "model.base"])
def test_run_that_is_measured_or_begun_otherwise_is_refused(
    fine_tune: Callable[..., Path],
    class_folder: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    setting: str,
) -> None:
    measured, reference = (copy_folder(class_folder, tmp_path / name) for name in ("m", "r"))
    start = copy_folder(tiny_checkpoint, tmp_path / "start")
    path = fine_tune(
        model={"base": str(start)},
        data={"validation": str(measured), "validation_fraction": 0.0},
        watch={"retention_set": str(reference)},
        compute={"batch_size": 6},
    )
    stopped = train_steps(RunConfig.from_toml(path))
    if setting == "model.base":
        shutil.rmtree(start)
        write_directory_of_seed(start, seed=1)
    else:
        changed = measured if setting == "data.validation" else reference
        (changed / "koala" / "0.png").unlink()

    with pytest.raises(TrainingError, match=f"what {setting} names has changed"):
        train(stopped)


@pytest.mark.slow
def test_run_whose_teacher_is_another_is_refused(
    write_run: WriteRun, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    teacher = copy_folder(tiny_checkpoint, tmp_path / "teacher")
    stopped = train_steps(RunConfig.from_toml(write_run(loss={"teacher": str(teacher)})))
    shutil.rmtree(teacher)
    write_directory_of_seed(teacher, seed=1)

    with pytest.raises(TrainingError, match=r"what loss\.teacher names has changed"):
        train(stopped)


@pytest.mark.slow
def test_features_are_of_the_start_and_of_the_images_as_they_are(
    write_run: WriteRun, class_folder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Mended before the run goes on: its features go with it, the others stay."""
    place = copy_folder(class_folder, tmp_path / "classes")
    broken = place / "fig" / "2.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    start = copy_folder(tiny_checkpoint, tmp_path / "start")
    path = write_run(
        model={"base": str(start), "lock_image": True},
        data={"train": str(place), "max_bad_fraction": 0.1, "crop_scale": [1.0, 1.0]},
    )
    stopped = train_steps(RunConfig.from_toml(path))
    features = path.with_suffix("") / "features" / "image_features.npy"
    row = sorted(place.glob("*/*.png")).index(broken)
    assert not np.load(features)[row].any()
    broken.write_bytes(whole)

    train(stopped)

    encoder = clipkit.load(str(start), engine="torch", cache_texts=False)
    expected = encoder.encode_images(sorted(place.glob("*/*.png")))
    np.testing.assert_allclose(np.load(features), expected, atol=1e-6)


@pytest.mark.slow
def test_run_that_kept_nothing_yet_takes_the_start_as_it_is(
    write_run: WriteRun, class_folder: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Interrupted before its first checkpoint; features and measurements are of the new start."""
    start = copy_folder(tiny_checkpoint, tmp_path / "start")
    path = write_run(
        model={"base": str(start), "lock_image": True},
        data={"train": str(class_folder), "crop_scale": [1.0, 1.0]},
        watch={"retention_set": str(class_folder)},
    )
    train_steps(RunConfig.from_toml(path), 1, checkpoint_minutes=99)
    shutil.rmtree(start)
    write_directory_of_seed(start, seed=1)

    report = train(RunConfig.from_toml(path))

    encoder = clipkit.load(str(start), engine="torch", cache_texts=False)
    images = sorted(class_folder.glob("*/*.png"))
    features = np.load(path.with_suffix("") / "features" / "image_features.npy")
    np.testing.assert_allclose(features, encoder.encode_images(images), atol=1e-6)
    expected = evaluate_classes(encoder, open_pairs(class_folder)).mean_log_probability
    assert report.start["retention_log_probability"] == pytest.approx(expected, abs=1e-5)


def test_run_whose_captions_are_all_the_same_is_refused(
    write_run: WriteRun, captions_folder: Path, tmp_path: Path
) -> None:
    place = copy_folder(captions_folder, tmp_path / "photos")
    for caption in place.glob("*.txt"):
        caption.write_text("a photo")

    with pytest.raises(InputError, match="all 40 pairs have the same caption"):
        train(RunConfig.from_toml(write_run(data={"train": str(place)})))


def test_run_whose_places_weigh_too_little_for_a_batch_is_refused(
    write_run: WriteRun, captions_folder: Path
) -> None:
    data = {"train": [{"path": str(captions_folder), "weight": 0.15}]}

    with pytest.raises(InputError, match=r"batch_size 8 is more than the 6 pairs of an epoch"):
        train(RunConfig.from_toml(write_run(data=data)))


@pytest.mark.slow
def test_unreadable_validation_images_are_told_of_and_limited(
    write_run: WriteRun, captions_folder: Path, tmp_path: Path
) -> None:
    place = copy_folder(captions_folder, tmp_path / "measured")
    broken = sorted(place.glob("*.png"))[:3]
    for path in broken:
        path.write_bytes(path.read_bytes()[:100])
    data = {"validation": str(place), "max_bad_fraction": 0.1}
    report = train(RunConfig.from_toml(write_run(data=data)))

    assert set(report.bad) == {str(path) for path in broken}
    assert report.num_validated == 37
    assert "37 pairs for validation" in (report.checkpoint / "README.md").read_text()

    path = write_run("strict", data={**data, "max_bad_fraction": 0.05})
    with pytest.raises(InputError, match=r"3 of 40 pairs cannot be read, .* allows 5.0%"):
        train(RunConfig.from_toml(path))


@pytest.mark.slow
def test_run_that_has_lost_its_measurements_measures_the_start_again(
    fine_tune: Callable[..., Path],
) -> None:
    whole, lost = fine_tune("whole"), fine_tune("lost")
    expected = train(RunConfig.from_toml(whole))
    stopped = train_steps(RunConfig.from_toml(lost))
    (lost.with_suffix("") / "metrics.jsonl").unlink()

    report = train(stopped)

    assert report.start == pytest.approx(expected.start)
    assert report.interpolations[0][1] == report.start
    assert read_metrics(lost.with_suffix(""))[0]["step"] == 2


@pytest.mark.parametrize("templates", [["a photo of a {}."], ["a {}.", "the {}."]])
def test_pairs_of_one_class_are_refused_before_a_step(
    write_run: WriteRun, class_folder: Path, tmp_path: Path, templates: list[str]
) -> None:
    copy_folder(class_folder / "koala", tmp_path / "classes" / "koala")
    data = {"train": str(tmp_path / "classes"), "templates": templates}
    path = write_run(data=data, compute={"batch_size": 2})

    with pytest.raises(InputError, match=r"5 pairs have the same caption|one class"):
        train(RunConfig.from_toml(path))
    assert not (path.with_suffix("") / "metrics.jsonl").exists()


@pytest.mark.slow
def test_run_says_how_its_places_were_read(
    write_run: WriteRun, class_folder: Path, captions_folder: Path, tmp_path: Path
) -> None:
    place = copy_folder(captions_folder, tmp_path / "mixed")
    (place / "alone.txt").write_text("no image")
    path = write_run(data={"train": [str(class_folder), str(place)]})
    lines: list[str] = []

    train(RunConfig.from_toml(path), callbacks=Callbacks(say=lines.append))

    assert lines[:2] == [
        f"{class_folder}: 30 pairs of 6 classes to train on",
        f"{place}: 40 pairs to train on",
    ]
    reason = f"{place / 'alone.txt'}: there is no image of this name"
    assert f"1 pairs are left out: {reason}" in lines


def test_without_validation_the_reference_set_bounds_the_interpolation(
    fine_tune: Callable[..., Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """0.9 at the start; of the end's 0.5, four tenths still keep 0.89."""
    config = RunConfig.from_toml(fine_tune(data={"validation_fraction": 0.0})).resolve()
    checkpoint = tmp_path / "trained"
    write_directory_of_seed(checkpoint, seed=1)
    directory = Path(config.output)
    directory.mkdir()
    answers = iter([0.9, 0.5, 0.9, 0.89, 0.7])  # the ends, then .2, .4 and .5 of the way

    report = finalize_run(
        config,
        open_data(config),
        lambda encoder: retained(None, next(answers)),
        checkpoint,
        TrainingReport(str(directory), True, 8, 8, 1.0, 18),
    )

    assert report.alpha == 0.4
    assert "(90.0% to 50.0%)" in report.notes[0]
    assert "the final weights are at 89.0%" in report.notes[0]


def test_run_on_other_pairs_is_refused(
    write_run: WriteRun, captions_folder: Path, tmp_path: Path
) -> None:
    place = copy_folder(captions_folder, tmp_path / "photos")
    stopped = train_steps(RunConfig.from_toml(write_run(data={"train": str(place)})))
    caption = next(place.glob("*.txt"))
    caption.write_text("something else\n")

    with pytest.raises(TrainingError, match=r"what data\.train names has changed"):
        train(stopped)


def write_directory_of_seed(directory: Path, *, seed: int) -> None:
    """Write the tiny checkpoint's architecture with other weights."""
    config = tiny_config(text_cfg=VOCABULARY)
    directory.mkdir()
    write_directory(directory, make_open_clip(config, seed), config)
