"""Runs on datasets and with a loss from Python: exact, resumable, clear where they cannot be."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import clipkit
from clipkit.errors import InputError, TrainingError
from clipkit.progress import Callbacks, StopTraining
from clipkit.runs.given import Given
from clipkit.runs.report import TrainingReport
from clipkit.training import data_loading
from clipkit.training.config import RunConfig
from tests.runs.conftest import WriteRun
from tests.training.test_loss_function import infonce

pytestmark = pytest.mark.slow

NAME = "open_clip_model.safetensors"
QUIET = Callbacks(warn=lambda line: None)


class Noise(torch.utils.data.Dataset[tuple[Any, Any]]):
    """Images of noise with two captions each; some raise."""

    def __init__(self, length: int = 40, bad: Sequence[int] = (), **attributes: Any) -> None:
        self._length = length
        self._bad = bad
        self.__dict__ |= attributes

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if index in self._bad:
            raise OSError("no such file")
        levels = np.random.default_rng(index).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        return Image.fromarray(levels), [f"thing {index}", f"the {index}"]


@pytest.fixture
def config(write_run: WriteRun) -> Callable[..., RunConfig]:
    """Return a function that makes a run of ten steps without pairs."""

    def make(name: str = "run", **changes: Any) -> RunConfig:
        data = {"train": [], **changes.pop("data", {})}
        watch = {"checkpoint_minutes": 0, **changes.pop("watch", {})}
        return RunConfig.from_toml(write_run(name, data=data, watch=watch, **changes))

    return make


def weights(report: TrainingReport) -> bytes:
    return (report.checkpoint / NAME).read_bytes()


def test_a_dataset_gives_the_weights_that_its_files_give(
    config: Callable[..., RunConfig], write_run: WriteRun, captions_folder: Path
) -> None:
    class Folder:
        paths = sorted(captions_folder.glob("*.png"))

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> tuple[Image.Image, list[str]]:
            lines = self.paths[index].with_suffix(".txt").read_text().splitlines()
            with Image.open(self.paths[index]) as image:
                return image.convert("RGB"), lines

    augmented = {"horizontal_flip": 0.5, "color_jitter": 0.5}
    files = clipkit.train(RunConfig.from_toml(write_run("files", data=augmented)), callbacks=QUIET)
    memory = clipkit.train(config(data=augmented), dataset=Folder(), callbacks=QUIET)
    workers = clipkit.train(
        config("workers", data={**augmented, "workers": 2}), dataset=Folder(), callbacks=QUIET
    )
    pairs = [Folder()[number] for number in range(len(Folder()))]
    listed = clipkit.train(config("listed", data=augmented), dataset=pairs, callbacks=QUIET)

    assert weights(memory) == weights(files)
    assert weights(workers) == weights(files)
    assert weights(listed) == weights(files)
    assert memory.num_pairs == 40


def test_bad_items_are_replaced_and_listed_until_they_are_too_many(
    config: Callable[..., RunConfig],
) -> None:
    data = {"max_bad_fraction": 0.05, "workers": 2}
    report = clipkit.train(config(data=data), dataset=Noise(bad=(3, 7)), callbacks=QUIET)
    reason = "the dataset raised OSError: no such file"
    assert report.bad == {"dataset[3]": reason, "dataset[7]": reason}

    with pytest.raises(TrainingError, match=r"3 pairs could not be read, .* allows 2: dataset\["):
        clipkit.train(config("more", data=data), dataset=Noise(bad=(3, 7, 8)), callbacks=QUIET)


def test_validation_pairs_are_a_share_of_the_items_or_a_dataset(
    config: Callable[..., RunConfig],
) -> None:
    part = clipkit.train(
        config(data={"validation_fraction": 0.25}), dataset=Noise(), callbacks=QUIET
    )
    assert (part.num_pairs, part.num_validated) == (30, 10)
    bad = Noise(20, bad=(4,))
    given = clipkit.train(config("given"), dataset=Noise(), validation=bad, callbacks=QUIET)
    assert (given.num_pairs, given.num_validated) == (40, 19)
    assert given.bad == {"validation[4]": "the dataset raised OSError: no such file"}


def test_a_validation_image_that_cannot_be_decoded_has_its_number_as_its_name(
    config: Callable[..., RunConfig],
) -> None:
    held = [(b"no image", "a"), *(Noise()[number] for number in range(20))]
    report = clipkit.train(config(), dataset=Noise(), validation=held, callbacks=QUIET)
    assert list(report.bad) == ["validation[0]"]


def test_patience_goes_by_validation_pairs_that_are_given(
    config: Callable[..., RunConfig],
) -> None:
    patient = config(watch={"patience": 1})
    found = clipkit.check(patient, dataset=Noise(), validation=Noise(20), callbacks=QUIET)
    assert found.validation is not None
    report = clipkit.train(patient, dataset=Noise(), validation=Noise(20), callbacks=QUIET)
    assert report.num_validated == 20
    with pytest.raises(InputError, match=r"none: .*validation=, or patience = 0"):
        clipkit.train(config("none", watch={"patience": 1}), dataset=Noise(), callbacks=QUIET)


def test_features_of_a_locked_encoder_are_computed_once(config: Callable[..., RunConfig]) -> None:
    changes: dict[str, Any] = {"data": {"crop_scale": [1.0, 1.0]}, "model": {"lock_image": True}}
    times: list[int] = []

    class Counted(Noise):
        def __getitem__(self, index: int) -> tuple[Any, Any]:
            times.append(index)
            return super().__getitem__(index)

    report = clipkit.train(config(**changes), dataset=Counted(bad=(3,)), callbacks=QUIET)
    changes["data"]["crop_scale"] = [0.9999999, 1.0]  # read each time
    again = clipkit.train(config("again", **changes), dataset=Noise(bad=(3,)), callbacks=QUIET)

    assert list(report.bad) == list(again.bad) == ["dataset[3]"]
    assert (Path(report.directory) / "features" / "image_features.npy").is_file()
    first, second = (
        torch.tensor(np.load(Path(report.directory) / "features" / "stamps.npy") == 0)
        .nonzero()
        .tolist()
        for _ in range(2)
    )
    assert first == second == [[3]]


def test_check_looks_at_a_dataset(config: Callable[..., RunConfig]) -> None:
    keyed = Noise(bad=(3,), image_keys=[number // 2 for number in range(40)])
    found = clipkit.check(config(), dataset=keyed, validation=Noise(20), loss=infonce)
    assert found.train.num_pairs == 39
    assert found.train.num_duplicates == 19  # each second item, but for the one beside the bad one
    assert list(found.train.unreadable) == ["dataset[3]"]
    assert found.validation is not None and found.validation.num_pairs == 20


def test_a_dataset_whose_captions_are_all_one_is_refused(config: Callable[..., RunConfig]) -> None:
    same = [(Noise()[number][0], "a thing") for number in range(40)]
    with pytest.raises(InputError, match="all 40 pairs have the same caption"):
        clipkit.train(config(), dataset=same, callbacks=QUIET)


@pytest.mark.parametrize("length", [0, 1])
def test_a_dataset_that_is_too_small_is_refused(
    config: Callable[..., RunConfig], length: int
) -> None:
    words = "dataset is empty" if length == 0 else "training needs at least 2 pairs, got 1"
    with pytest.raises(InputError, match=words):
        clipkit.train(config(), dataset=Noise(length), callbacks=QUIET)


def test_a_run_is_resumed_with_the_same_dataset_and_loss_alone(
    config: Callable[..., RunConfig],
) -> None:
    given: dict[str, Any] = {"dataset": Noise(fingerprint="a"), "validation": Noise(20)}
    whole = clipkit.train(config("whole"), **given, loss=infonce, callbacks=QUIET)

    def stop(step: int, metrics: Mapping[str, float]) -> None:
        if step == 4:
            raise StopTraining

    stopping = replace(QUIET, on_step=stop)
    stopped = clipkit.train(config(), **given, loss=infonce, callbacks=stopping)
    assert (stopped.step, stopped.is_finished) == (4, False)
    others: list[tuple[dict[str, Any], str]] = [
        ({"dataset": Noise(41, fingerprint="a")}, "the dataset that is given has changed"),
        ({"dataset": Noise(fingerprint="b")}, "the dataset that is given has changed"),
        ({"validation": Noise(21)}, "the validation dataset that is given has changed"),
        ({"validation": None}, "the validation dataset that is given has changed"),
        ({"loss": None}, r"whether a loss is given \(loss=\) has changed"),
    ]
    for other, words in others:
        with pytest.raises(TrainingError, match=words):
            clipkit.train(config(), **{**given, "loss": infonce, **other}, callbacks=QUIET)
    with pytest.raises(InputError, match=r"\[data\] needs train"):
        clipkit.train(config(), callbacks=QUIET)

    resumed = clipkit.train(config(), **given, loss=infonce, callbacks=QUIET)

    assert resumed.is_finished
    assert weights(resumed) == weights(whole)


def test_infonce_of_one_s_own_trains_as_clipkit_s(config: Callable[..., RunConfig]) -> None:
    changes = {"compute": {"chunk_size": 3}}
    own = clipkit.train(config(**changes), dataset=Noise(), loss=infonce, callbacks=QUIET)
    clipkits = clipkit.train(config("other", **changes), dataset=Noise(), callbacks=QUIET)
    losses = [
        [
            json.loads(line)["loss"]
            for line in (Path(report.directory) / "metrics.jsonl").read_text().splitlines()
            if '"training"' in line
        ]
        for report in (own, clipkits)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_callbacks_are_told_of_each_thing_after_it_was_done(
    config: Callable[..., RunConfig],
) -> None:
    told: list[tuple[str, int]] = []
    losses: list[float] = []

    def on_step(step: int, metrics: Mapping[str, float]) -> None:
        told.append(("step", step))
        losses.append(metrics["loss"])
        torch.rand(3)  # changes nothing

    def on_validation(step: int, metrics: Mapping[str, float]) -> None:
        told.append(("validation", step))
        assert 0 <= metrics["score"] <= 1

    def on_checkpoint(step: int, path: Path) -> None:
        told.append(("checkpoint", step))
        assert (path / NAME).is_file()

    callbacks = replace(
        QUIET, on_step=on_step, on_validation=on_validation, on_checkpoint=on_checkpoint
    )
    changes: dict[str, Any] = {
        "model": {"patch_dropout": 0.5},
        "watch": {"checkpoint_minutes": 10, "checkpoint_steps": 4, "log_steps": 3},
    }
    given: dict[str, Any] = {"dataset": Noise(), "validation": Noise(20)}
    report = clipkit.train(config(**changes), **given, callbacks=callbacks)
    quiet = clipkit.train(config("quiet", **changes), **given, callbacks=QUIET)

    assert weights(report) == weights(quiet)
    assert [step for kind, step in told if kind == "step"] == list(range(1, 11))
    assert [step for kind, step in told if kind == "validation"] == [0, 5, 10]
    saved = [step for kind, step in told if kind == "checkpoint"]
    assert {4, 8, 10} <= set(saved) <= {4, 5, 8, 10}
    assert told[-3:] == [("step", 10), ("validation", 10), ("checkpoint", 10)]
    lines = (Path(report.directory) / "metrics.jsonl").read_text().splitlines()
    means = {
        line["step"]: line["loss"] for line in map(json.loads, lines) if line["kind"] == "training"
    }
    assert means[3] == pytest.approx(sum(losses[1:3]) / 2)  # the line before is of step 1


@pytest.mark.parametrize("kind", ["on_step", "on_validation", "on_checkpoint"])
def test_a_callback_stops_a_run_or_ends_it_with_its_own_error(
    config: Callable[..., RunConfig], kind: str
) -> None:
    given: dict[str, Any] = {"dataset": Noise(), "validation": Noise(20)}
    whole = clipkit.train(config("whole"), **given, callbacks=QUIET)
    error: list[Exception] = [OSError(28, "my own disk")]

    def act(step: int, what: object) -> None:
        if step == 5:
            raise error[0]

    own: dict[str, Any] = {kind: act}
    callbacks = replace(QUIET, **own)
    with pytest.raises(OSError, match="my own disk") as raised:
        clipkit.train(config(), **given, callbacks=callbacks)
    assert raised.value is error[0]
    error[0] = StopTraining()
    stopped = clipkit.train(config(), **given, callbacks=callbacks)
    # The checkpoint of step 5 was written before its own callback failed.
    expected = 10 if kind == "on_checkpoint" else 5
    assert (stopped.step, stopped.is_finished) == (expected, expected == 10)

    resumed = clipkit.train(config(), **given, callbacks=QUIET)
    assert resumed.is_finished
    assert weights(resumed) == weights(whole)


def test_a_stop_that_is_asked_for_at_a_checkpoint_costs_no_other_step(
    config: Callable[..., RunConfig],
) -> None:
    def stop(step: int, path: Path) -> None:
        raise StopTraining

    callbacks = replace(QUIET, on_checkpoint=stop)
    report = clipkit.train(
        config(watch={"checkpoint_minutes": 10, "checkpoint_steps": 3}),
        dataset=Noise(),
        callbacks=callbacks,
    )
    assert (report.step, report.is_finished) == (3, False)


def test_weights_are_chosen_again_with_the_datasets_of_the_run(
    tiny_checkpoint: Path, config: Callable[..., RunConfig]
) -> None:
    changes = {"model": {"base": str(tiny_checkpoint)}, "watch": {"retention_set": ""}}
    given: dict[str, Any] = {"dataset": Noise(), "validation": Noise(20)}
    report = clipkit.train(config(**changes), **given, callbacks=QUIET)
    with pytest.raises(InputError, match=r"\[data\] needs train"):
        clipkit.choose_again(report.directory, ["watch.wise_ft=false"])
    again = clipkit.choose_again(
        report.directory, ["watch.wise_ft=false"], **given, callbacks=QUIET
    )
    assert (report.alpha is None, again.alpha) == (False, None)


def test_a_dataset_that_is_trained_and_validated_on_is_warned_of(
    config: Callable[..., RunConfig],
) -> None:
    dataset = Noise()
    warned: list[str] = []
    clipkit.train(
        config(), dataset=dataset, validation=dataset, callbacks=Callbacks(warn=warned.append)
    )
    assert sum("both trained and validated on" in line for line in warned) == 1


@pytest.mark.parametrize(
    ("changes", "given", "problem"),
    [
        ({}, {}, r"\[data\] needs train, .* or from Python a dataset"),
        ({"data": {"train": "photos"}}, {"dataset": Noise()}, "to train on twice: data.train"),
        ({"data": {"format": "table"}}, {"dataset": Noise()}, "data.format says how files"),
        ({"data": {"templates": ["{}"]}}, {"dataset": Noise()}, "data.templates says how files"),
        (
            {"data": {"stream": True, "samples_per_epoch": 8}},
            {"dataset": Noise()},
            "data.stream says how files",
        ),
        (
            {"data": {"validation_fraction": 0.1}},
            {"dataset": Noise(), "validation": Noise()},
            "validate on twice: data.validation_fraction",
        ),
        (
            {"data": {"validation": "photos"}},
            {"dataset": Noise(), "validation": Noise()},
            "validate on twice: data.validation is",
        ),
        ({"loss": {"kind": "sigmoid"}}, {"dataset": Noise(), "loss": infonce}, r"loss\.kind is"),
        ({"loss": {"row_chunk": 2}}, {"dataset": Noise(), "loss": infonce}, r"loss\.row_chunk is"),
        ({}, {"dataset": Noise(), "loss": "infonce"}, "loss must be a function"),
        (
            {},
            {"dataset": Noise(), "callbacks": [clipkit.Callbacks()]},
            r"callbacks must be a clipkit.Callbacks, .*, got list",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_before_a_directory_is_made(
    changes: dict[str, Any], given: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    content = {"output": str(tmp_path / "run"), "model": {"architecture": "a"}, **changes}
    config = RunConfig.from_dict(content)
    for act in (clipkit.train, clipkit.check):
        with pytest.raises(InputError, match=problem):
            act(config, **given)
    assert not (tmp_path / "run").exists()


def test_files_may_be_validated_on_with_their_settings() -> None:
    config = RunConfig.from_dict(
        {
            "output": "run",
            "model": {"architecture": "a"},
            "data": {"validation": "held_out.csv", "caption_column": "words"},
            "loss": {"contrastive_weight": 2.0},
        }
    )
    Given(dataset=Noise(), loss=infonce).check(config)


def test_a_dataset_that_cannot_be_sent_to_workers_is_refused(
    config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_loading, "_start_method", lambda: "spawn")
    dataset = Noise(transform=lambda image: image)
    with pytest.raises(InputError, match=r"cannot be sent to worker processes .* pickled"):
        clipkit.train(config(data={"workers": 1}), dataset=dataset, callbacks=QUIET)


def test_a_sweep_trains_each_run_on_what_is_given(config: Callable[..., RunConfig]) -> None:
    given: dict[str, Any] = {"dataset": Noise(), "validation": Noise(20), "loss": infonce}
    values = {"optimizer.lr": [1e-4, 1e-3]}

    found = clipkit.check_sweep(config("sweep"), values, **given, callbacks=QUIET)
    swept = clipkit.sweep(config("sweep"), values, **given, callbacks=QUIET)

    assert [report.validation is not None for _, report in found.runs] == [True, True]
    for row in swept.rows:
        alone = config(f"{row.settings}", optimizer={"lr": row.settings["optimizer.lr"]})
        report = clipkit.train(alone, **given, callbacks=QUIET)
        assert (Path(row.directory) / "final" / NAME).read_bytes() == weights(report)


def test_a_sweep_that_is_given_too_much_is_refused_before_anything_is_written(
    config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    twice = config(data={"validation_fraction": 0.2})
    with pytest.raises(InputError, match="pairs to validate on twice"):
        clipkit.sweep(
            twice, {"seed": [0, 1]}, dataset=Noise(), validation=Noise(20), callbacks=QUIET
        )
    with pytest.raises(InputError, match=r"validation pairs, and there are none: .* validation="):
        clipkit.sweep(config(), {"seed": [0, 1]}, dataset=Noise(), callbacks=QUIET)
    assert not Path(twice.output).exists()
