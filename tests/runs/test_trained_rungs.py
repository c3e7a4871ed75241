"""Rungs that train the model: what they measure, that they resume, and what is written."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clipkit
from clipkit.adaptation.head import Head, HeadClassifier
from clipkit.adaptation.images import read_images
from clipkit.adaptation.options import AdaptationOptions
from clipkit.adaptation.splits import Split, draw_splits
from clipkit.errors import InputError
from clipkit.models.lora_info import LORA_NAME
from clipkit.paths import cache_directory
from clipkit.progress import Callbacks
from clipkit.runs import trained_rungs as module
from clipkit.runs.adaptation_task import embedded_task
from clipkit.runs.adapted_model import fit_model
from clipkit.runs.report import read_report
from clipkit.runs.trained_rungs import TrainedRung, trained_rungs
from tests.fakes import FakeEncoder

# Tiny runs are warned of: few steps, small batches.
pytestmark = pytest.mark.filterwarnings("ignore::clipkit.errors.ClipkitWarning")


@pytest.fixture
def options(class_folder: Path) -> AdaptationOptions:
    return AdaptationOptions(
        templates="photo",
        retention_set=class_folder,
        seeds=(0,),
        baseline=False,
        curve=False,
        last_step=6,
        training=("compute.epochs=2", "optimizer.lr=0.001", 'compute.precision="fp32"'),
    )


@pytest.fixture
def base(tiny_checkpoint: Path) -> clipkit.Encoder:
    return clipkit.load(tiny_checkpoint, engine="torch")


def made_rungs(
    base: clipkit.Encoder, folder: Path, options: AdaptationOptions
) -> tuple[list[TrainedRung], Split]:
    callbacks = Callbacks()
    images = read_images(base, str(folder), options, callbacks)
    task = embedded_task(base, images, options, callbacks)
    (split,) = draw_splits(images.labels, images.class_names, [0])
    return trained_rungs(base, images, task, options, callbacks), split


def test_the_ladder_measures_them_and_keeps_the_measurements(
    base: clipkit.Encoder,
    class_folder: Path,
    options: AdaptationOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = set((cache_directory() / "adaptations").glob("*"))
    first = clipkit.adapt(base, class_folder, options)
    lora, flyp = first.rungs[-2:]
    assert (lora.step, lora.name, flyp.step, flyp.name) == (5, "lora", 6, "flyp")
    for rung in (lora, flyp):
        assert rung.accuracy is not None
        assert rung.kept is not None
    assert lora.num_bytes is not None
    assert flyp.num_bytes is not None
    assert lora.num_bytes < flyp.num_bytes / 10
    kept = set((cache_directory() / "adaptations").glob("*")) - before
    assert [path.suffix for path in kept] == [".safetensors"] * 2  # no weights, no links
    monkeypatch.setattr(module, "train", None)
    assert clipkit.adapt(base, class_folder, options).rungs[-2:] == (lora, flyp)


def test_what_is_measured_is_the_trained_model_on_the_test_images(
    base: clipkit.Encoder, class_folder: Path, options: AdaptationOptions
) -> None:
    rungs, split = made_rungs(base, class_folder, options)
    for rung in rungs:
        found = rung.measure(split)
        model = rung.train(split.train)  # on a CPU the same bits again
        images = [rung.images.image(row) for row in split.test.tolist()]
        classifier = clipkit.ZeroShotClassifier(
            clipkit.load(model.directory, engine="torch"),
            rung.task.class_names,
            templates="photo",
        )
        shares = np.exp(found.logits) / np.exp(found.logits).sum(axis=1, keepdims=True)
        embeddings = model.encoder.encode_images(images)
        np.testing.assert_allclose(shares, classifier.scores(embeddings), atol=1e-5)
        plain = (
            rung.task.logit_scale
            * rung.task.embeddings[split.test]
            @ (rung.task.class_embeddings.T)
        )
        assert np.abs(found.logits - plain).max() > 1e-4  # something was trained
        rung.remove(model)
        assert not model.directory.exists()


def test_flyp_stops_half_way_and_lora_does_not(
    base: clipkit.Encoder, class_folder: Path, options: AdaptationOptions
) -> None:
    (lora, flyp), split = made_rungs(base, class_folder, options)
    for rung, alpha in ((lora, None), (flyp, 0.5)):
        model = rung.train(split.train)
        report = read_report(model.directory.parent)
        assert report is not None
        assert report.alpha == alpha
        rung.remove(model)


def test_an_interrupted_training_is_resumed(
    base: clipkit.Encoder, class_folder: Path, options: AdaptationOptions
) -> None:
    options = replace(options, training=(*options.training, "compute.epochs=3"))
    (_, flyp), split = made_rungs(base, class_folder, options)

    def interrupt(label: str) -> Any:
        return _Interrupting(label)

    with pytest.raises(KeyboardInterrupt):
        replace(flyp, callbacks=Callbacks(progress_for=interrupt)).measure(split)
    labels: list[str] = []

    def note(label: str) -> Any:
        labels.append(label)
        return Callbacks().progress_for(label)

    resumed = replace(flyp, callbacks=Callbacks(progress_for=note)).measure(split)
    assert "flyp: training" in labels
    other = replace(flyp, options=replace(options, retention_set=""))  # another directory
    np.testing.assert_array_equal(resumed.logits, other.measure(split).logits)


class _Interrupting:
    """A progress bar that is interrupted as by Ctrl-C at the first step of training."""

    def __init__(self, label: str) -> None:
        self._is_training = label == "flyp: training"

    def __enter__(self) -> Callable[[int, int | None], None]:
        def progress(done: int, total: int | None) -> None:
            if self._is_training and done == 1:
                signal.raise_signal(signal.SIGINT)

        return progress

    def __exit__(self, *details: object) -> None:
        return None


@pytest.mark.parametrize("rung", ["lora", "flyp"])
def test_a_model_is_written_with_the_head_of_its_classes(
    base: clipkit.Encoder,
    class_folder: Path,
    options: AdaptationOptions,
    tmp_path: Path,
    rung: str,
) -> None:
    place = fit_model(base, class_folder, rung, tmp_path / "model", options)
    tuned = clipkit.load(place, engine="torch")
    assert tuned.space_id != base.space_id
    assert (place / LORA_NAME).is_file() == (rung == "lora")
    head = Head.load(place / "head.safetensors")
    images = sorted(class_folder.rglob("*.png"))
    shares = HeadClassifier(tuned, head).scores(tuned.encode_images(images))
    names = sorted(path.name for path in class_folder.iterdir())
    zero_shot = clipkit.ZeroShotClassifier(tuned, names, templates="photo")
    np.testing.assert_allclose(shares, zero_shot.scores(tuned.encode_images(images)), atol=1e-5)
    with pytest.raises(InputError, match="is there already"):
        fit_model(base, class_folder, rung, place, options)


def test_what_cannot_be_trained_is_refused(
    base: clipkit.Encoder, class_folder: Path, options: AdaptationOptions, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no rung 'probe' that trains the model: it is one of lo"):
        fit_model(base, class_folder, "probe", tmp_path / "model", options)
    with pytest.raises(InputError, match="there is no folder"):
        fit_model(base, class_folder, "lora", tmp_path / "no" / "model", options)
    with pytest.raises(InputError, match="take settings of optimizer"):
        replace(options, training=("model.base=starter",))
    with pytest.raises(InputError, match="max_forgetting must be 0 to 1"):
        replace(options, max_forgetting=2.0)
    with pytest.raises(InputError, match="was not made by load"):
        clipkit.adapt(FakeEncoder(), class_folder, options)
    with pytest.raises(InputError, match="load it without truncate_dim"):
        clipkit.adapt(base.truncated(8), class_folder, options)
