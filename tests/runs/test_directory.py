"""A run's directory is its own, for one process at a time."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout

from clipkit.errors import InputError, TrainingError
from clipkit.runs.directory import claimed_directory, differing_settings, with_precision
from clipkit.runs.report import TrainingReport, write_report
from clipkit.training.config import ComputeConfig, OptimizerConfig, RunConfig, WatchConfig
from clipkit.training.config_errors import field_types, section_types
from clipkit.training.data_config import DataConfig, SourceConfig
from clipkit.training.model_config import ModelConfig


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return RunConfig(
        str(tmp_path / "runs" / "first"),
        ModelConfig(architecture="ViT-B-32"),
        DataConfig(train=(SourceConfig(str(tmp_path / "pairs")),)),
    ).resolve()


def begin(config: RunConfig) -> Path:
    """Let a run begin, and leave it after its first line; return its directory."""
    with claimed_directory(config):
        directory = Path(config.output)
        (directory / "metrics.jsonl").write_text('{"step": 0}\n')
    return directory


def test_a_new_directory_holds_the_config_with_every_default(config: RunConfig) -> None:
    with claimed_directory(config) as claimed:
        assert claimed == config
        kept = Path(config.output) / "run.toml"
        assert RunConfig.from_toml(kept) == config
        for key in ("lr = ", "beta1 = ", "patience = ", "crop_scale = "):
            assert key in kept.read_text()


def test_the_same_run_goes_on(config: RunConfig) -> None:
    begin(config)
    with claimed_directory(config) as claimed:
        assert claimed == config


def test_a_run_made_by_hand_with_relative_paths_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    config = RunConfig(
        "run", ModelConfig(base="model"), DataConfig(train=(SourceConfig("a"), SourceConfig("b")))
    )
    assert begin(config.resolve()).resolve() == tmp_path / "run"
    with claimed_directory(config.resolve()) as claimed:
        assert claimed.model.base == str(tmp_path / "model")


def test_a_run_goes_on_with_the_precision_that_was_chosen(config: RunConfig) -> None:
    directory = begin(config)
    with_precision(config, "bf16").to_toml(directory / "run.toml")
    with claimed_directory(config) as claimed:
        assert claimed == with_precision(config, "bf16")
    assert RunConfig.from_toml(directory / "run.toml").compute.precision == "bf16"
    with (
        pytest.raises(InputError, match=r"compute\.precision was 'bf16', is 'fp32'"),
        claimed_directory(with_precision(config, "fp32")),
    ):
        pass


def test_what_does_not_change_the_weights_may_be_changed(config: RunConfig) -> None:
    begin(config)
    other = replace(config, watch=WatchConfig(log_steps=3, wise_ft=False, retention_set=""))
    with claimed_directory(other) as claimed:
        assert claimed.watch.log_steps == 3


def test_another_run_is_refused_key_by_key_and_nothing_is_touched(config: RunConfig) -> None:
    directory = begin(config)
    before = (directory / "run.toml").read_bytes()
    other = replace(
        config,
        seed=3,
        optimizer=replace(config.optimizer, lr=0.25),
        compute=replace(config.compute, batch_size=8),
    )
    words = (
        r"first holds another run: compute\.batch_size was 64, is 8; optimizer\.lr was 0\.0005, "
        r"is 0\.25; seed was 0, is 3\. Choose another output, or set these back"
    )
    with pytest.raises(InputError, match=words), claimed_directory(other):
        pass
    assert (directory / "run.toml").read_bytes() == before


def test_a_run_that_never_began_gives_way(config: RunConfig) -> None:
    with claimed_directory(config):
        pass
    other = replace(config, optimizer=OptimizerConfig(lr=0.25))
    with claimed_directory(other) as claimed:
        assert claimed == other


def test_a_run_that_has_lost_its_measurements_is_still_itself(config: RunConfig) -> None:
    directory = begin(config)
    (directory / "metrics.jsonl").unlink()
    (directory / "checkpoints" / "step-00000005").mkdir(parents=True)
    other = replace(config, optimizer=OptimizerConfig(lr=0.25))
    with (
        pytest.raises(InputError, match=r"with other settings: optimizer\.lr was 0\.0005"),
        claimed_directory(other),
    ):
        pass


def test_a_run_that_has_ended_keeps_what_it_was_told(config: RunConfig) -> None:
    directory = begin(config)
    write_report(
        TrainingReport(
            str(directory), is_finished=True, step=1, num_steps=1, seconds=0, num_pairs=2
        )
    )
    before = (directory / "run.toml").read_bytes()
    with claimed_directory(replace(config, watch=replace(config.watch, log_steps=3))):
        pass
    assert (directory / "run.toml").read_bytes() == before


@pytest.mark.parametrize("which", ["train", "validation", "retention_set"])
@pytest.mark.parametrize("output", [".", "run", "deep/er", "../alias/run"])
def test_a_run_in_its_own_data_is_refused_and_nothing_is_written(
    config: RunConfig, tmp_path: Path, which: str, output: str
) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    (tmp_path / "alias").symlink_to(folder)
    place = (SourceConfig(str(folder)),)
    elsewhere = (SourceConfig(str(tmp_path / "elsewhere")),)
    nested = replace(
        config,
        output=str(folder / output),
        data=replace(
            config.data,
            train=place if which == "train" else elsewhere,
            validation=place if which == "validation" else (),
        ),
        watch=replace(config.watch, retention_set=str(folder) if which == "retention_set" else ""),
    )
    words = f"lies in {folder}, so what the run writes would be taken for data"
    with pytest.raises(InputError, match=words), claimed_directory(nested):
        pass
    assert list(folder.iterdir()) == []


def test_a_run_beside_its_data_is_not_in_it(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    for output in ("pairs-run", "pairs/../run"):
        beside = replace(config, output=str(tmp_path / output))
        with claimed_directory(beside) as claimed:
            assert claimed == beside


def test_a_directory_of_something_else_is_left_alone(config: RunConfig) -> None:
    directory = Path(config.output)
    directory.mkdir(parents=True)
    (directory / "thesis.txt").write_text("years of work")
    words = "holds something that is no training run: choose another output"
    with pytest.raises(InputError, match=words), claimed_directory(config):
        pass
    assert [path.name for path in directory.iterdir()] == ["thesis.txt"]


def test_an_empty_directory_and_what_a_kill_left_will_do(config: RunConfig) -> None:
    directory = Path(config.output)
    directory.mkdir(parents=True)
    (directory / "run.part").write_text("seed = ")  # of an earlier version
    (directory / ".clipkit-0123456789ab.toml").write_text("seed = ")
    (directory / ".lock").touch()
    with claimed_directory(config) as claimed:
        assert claimed == config


def test_a_place_that_cannot_be_made_is_refused(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    placed = replace(config, output=str(tmp_path / "file" / "run"))
    with (
        pytest.raises(InputError, match="cannot be made: Not a directory"),
        claimed_directory(placed),
    ):
        pass


def test_a_second_run_in_the_same_process_is_refused(config: RunConfig) -> None:
    with (
        claimed_directory(config),
        pytest.raises(TrainingError, match=r"another process trains in .*: wait for it"),
        claimed_directory(config),
    ):
        pass
    with claimed_directory(config):
        pass  # once it has ended there is room


def test_tasks_of_slurm_that_do_not_know_each_other_are_named(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What srun sets in each of the tasks of a step.
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    with (
        claimed_directory(config),
        pytest.raises(
            TrainingError, match=r"another output\. Slurm started this 8 times, .* torchrun"
        ),
        claimed_directory(config),
    ):
        pass


def _hold(config: RunConfig, connection: Connection) -> None:
    with claimed_directory(config):
        connection.send("held")
        connection.recv()


@contextmanager
def held_elsewhere(config: RunConfig) -> Iterator[multiprocessing.context.ForkProcess]:
    """Let another process train there."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_hold, args=(config, there))
    process.start()
    try:
        assert here.poll(60)
        yield process
    finally:
        here.send("end")
        process.join()


def test_two_processes_at_once_are_refused_and_a_dead_one_is_none(config: RunConfig) -> None:
    with held_elsewhere(config) as process:
        with (
            pytest.raises(TrainingError, match="another process trains"),
            claimed_directory(config),
        ):
            pass
        process.kill()
        process.join()
        with claimed_directory(config):
            pass


def test_another_lock_that_is_waited_for_in_vain_is_not_taken_for_this_one(
    config: RunConfig,
) -> None:
    with pytest.raises(Timeout, match="the hub"), claimed_directory(config):
        raise Timeout("the hub")


def test_compute_is_replaced_and_nothing_else(config: RunConfig) -> None:
    changed = with_precision(config, "bf16")
    assert changed.compute == ComputeConfig(epochs=32, precision="bf16")
    assert replace(changed, compute=config.compute) == config


FINE_TUNING = RunConfig(
    "/r/x", ModelConfig(base="starter"), DataConfig(train=(SourceConfig("/r/a"),))
)


def _changed(config: RunConfig, key: str) -> RunConfig:
    """Return a config in which one key has another value."""
    section, _, name = key.rpartition(".")
    owner: Any = getattr(config, section) if section else config
    value = getattr(owner, name)
    others: dict[Any, list[Any]] = {
        bool: [not value],
        int: [3, 500] if not isinstance(value, bool) else [],
        float: [0.123, 0.9],
        str: ["other", "sigmoid", "constant", "fp32", "fsdp", "table", "image", "pairs", "slip"],
        tuple: [
            (SourceConfig("/other"),),
            ("other {}",),
            (0.5, 0.75),
            (7, 9),
            ("q", "v"),
            ("wandb",),
        ],
        type(None): [True, 3, 0.123, "other", (0.5, 0.75)],
    }
    for other in others[type(value)]:
        try:
            part = replace(owner, **{name: other})
            return part if not section else replace(config, **{section: part})
        except (InputError, AttributeError, TypeError):
            continue
    raise AssertionError(f"no other value for {key}")


def _keys() -> list[str]:
    sections = section_types(RunConfig)
    top = [key for key in field_types(RunConfig) if key not in sections]
    return top + [f"{name}.{key}" for name, kind in sections.items() for key in field_types(kind)]


FREE = {
    "output",
    "data.image_column",
    "data.caption_column",
    "data.caption_ending",
    "data.class_names",
    "data.workers",
    "data.max_bad_fraction",
    "model.gradient_checkpointing",
    "loss.row_chunk",
    "compute.chunk_size",
    "compute.device",
    "compute.sharding",
    "compute.compile",
    "watch.every_epochs",
    "watch.patience",
    "watch.max_forgetting",
    "watch.wise_ft",
    "watch.checkpoint_minutes",
    "watch.checkpoint_steps",
    "watch.keep",
    "watch.log_steps",
    "watch.trackers",
    "watch.tracker_project",
}


@pytest.mark.parametrize("key", _keys())
def test_every_key_is_known_to_make_another_run_or_not(key: str) -> None:
    base = FINE_TUNING
    name = key.rpartition(".")[2]
    if name in (
        "base",
        "architecture",
        "tokenizer",
        "unlocked_image_groups",
        "unlocked_text_layers",
    ):
        base = replace(
            base, model=ModelConfig(architecture="ViT-B-32", lock_image=True, lock_text=True)
        )
    if name in ("lora_alpha", "lora_towers", "lora_targets"):
        base = replace(base, model=ModelConfig(base="starter", lora_rank=2))
    if name == "base":
        changed = replace(base, model=ModelConfig(base="starter"))
        assert {"model.base", "model.architecture"} <= set(differing_settings(base, changed))
        return
    if name == "cooldown_fraction":
        base = replace(base, optimizer=OptimizerConfig(schedule="constant"))
    if name in ("stream", "samples_per_epoch"):
        streamed = replace(base, data=replace(base.data, stream=True, samples_per_epoch=9))
        assert {"data.stream", "data.samples_per_epoch"} == {*differing_settings(base, streamed)}
        if name == "stream":
            return
        base = streamed
    changed = _changed(base, key)
    assert changed != base
    assert list(differing_settings(base, changed)) == ([] if key in FREE else [key])
    assert differing_settings(base, base) == {}


def test_optimizer_rates_are_no_free_keys() -> None:
    base = FINE_TUNING
    changed = replace(base, optimizer=OptimizerConfig(lr=1.0, eps=1.0), seed=4)
    assert differing_settings(base, changed) == {
        "optimizer.eps": (1e-6, 1.0),
        "optimizer.lr": (None, 1.0),
        "seed": (0, 4),
    }
