"""Training is resumed bit for bit, ended by too many bad pairs, and refused other pairs."""

import copy
import math
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clipkit.data.epoch_draws import EpochDraws
from clipkit.data.pair import Pair
from clipkit.errors import TrainingError
from clipkit.inputs.augmentation import Augmentation
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models.building import with_logit_bias
from clipkit.models.checkpoint import load_towers
from clipkit.models.freezing import no_decay_names, set_patch_dropout
from clipkit.models.sources import DirectorySource
from clipkit.models.towers import Towers
from clipkit.training import trainer as trainer_module
from clipkit.training.batch import Batch
from clipkit.training.checkpoints import RunCheckpoints
from clipkit.training.config import (
    ComputeConfig,
    LossConfig,
    OptimizerConfig,
    Precision,
    RunConfig,
    WatchConfig,
)
from clipkit.training.data_config import DataConfig, SourceConfig
from clipkit.training.data_loading import PairBatches
from clipkit.training.distillation import Teacher
from clipkit.training.distributed import Ranks
from clipkit.training.loop import Validation
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.model_config import ModelConfig
from clipkit.training.optimizer import build_optimizer, learning_rate
from clipkit.training.pair_reading import PairReader, PairSampler
from clipkit.training.trained_towers import TrainedTowers
from clipkit.training.trainer import Trainer
from tests.fake_pairs import ListSource

NUM_PAIRS, BATCH = 12, 4  # three steps an epoch
CONFIG = RunConfig(
    "run",
    ModelConfig(architecture="tiny.json"),
    DataConfig(train=(SourceConfig("pairs"),), max_bad_fraction=0.25),
    optimizer=OptimizerConfig(lr=1e-3),
    compute=ComputeConfig(batch_size=BATCH, epochs=2, precision="fp32", device="cpu"),
    watch=WatchConfig(log_steps=1, keep=1),
).resolve()
NOTHING = Validation(None, {})
WEIGHTS = "open_clip_model.safetensors"


class NamedSource(ListSource):
    """A listing that is known by its captions."""

    @property
    def fingerprint(self) -> str:
        return repr([self[row].captions for row in range(len(self))])


def source(num_bad: int = 0, word: str = "number") -> NamedSource:
    noise = np.random.default_rng(0).integers(0, 256, (NUM_PAIRS, 12, 12, 3), dtype=np.uint8)
    pairs = [
        Pair(image, (f"{word} {number}",), f"{number}.png") for number, image in enumerate(noise)
    ]
    for number in range(num_bad):
        pairs[number] = pairs[number]._replace(image=b"no image")
    return NamedSource(pairs)


@pytest.fixture
def towers(tiny_checkpoint: Path) -> Towers:
    """Towers that draw random numbers in every step."""
    towers = load_towers(DirectorySource("tiny", tiny_checkpoint))
    set_patch_dropout(towers, 0.5)
    return towers


def trainer_of(towers: Towers, pairs: ListSource | None = None, **options: Any) -> Trainer:
    """Return towers that learn from pairs, the same at each call."""
    tokenizer = Tokenizer.from_config(towers.model_cfg["text_cfg"], towers.tokenizer_source)
    preprocess = Preprocess.from_config(towers.preprocess_cfg, towers.image_size)
    config = options.get("config", CONFIG)
    draws = EpochDraws((NUM_PAIRS,), (1.0,))
    sampler = PairSampler(draws, seed=1, batch_size=config.compute.batch_size)
    batches = PairBatches(
        PairReader(pairs or source(), sampler, [preprocess], Augmentation((0.5, 1.0))),
        tokenizer,
        towers.padding_id,
        workers=options.get("workers", 0),
    )
    return Trainer(
        config,
        towers,
        batches,
        ranks=options.get("ranks", Ranks()),
        teacher=options.get("teacher"),
        fingerprints=options.get("fingerprints", {}),
    )


def run(trainer: Trainer, place: Path, **options: Any) -> bool:
    return trainer.run(
        RunCheckpoints(place, tokenizer_json=None), **{"measure": lambda: NOTHING, **options}
    )


class StopRunError(Exception):
    """Someone pulls the plug."""


def stop_after(step: int) -> Any:
    def progress(done: int, total: int) -> None:
        if done == step:
            raise StopRunError

    return progress


@pytest.mark.slow
@pytest.mark.parametrize(("killed_after", "workers"), [(1, 0), (3, 0), (4, 0), (5, 0), (3, 1)])
def test_a_resumed_run_ends_where_it_would_have_ended(
    towers: Towers, tmp_path: Path, killed_after: int, workers: int
) -> None:
    """A checkpoint is written after every step, but for the one that is lost.

    Reading processes draw nothing from the generator that dropout draws from.
    """
    start = copy.deepcopy(towers)
    whole = trainer_of(towers)
    assert run(whole, tmp_path / "whole")
    assert whole.num_steps == whole.state.step == 6

    each = replace(CONFIG, watch=replace(CONFIG.watch, checkpoint_minutes=0.0))
    with pytest.raises(StopRunError):
        run(
            trainer_of(start, config=each, workers=workers),
            tmp_path / "killed",
            progress=stop_after(killed_after),
        )
    saved = RunCheckpoints(tmp_path / "killed")
    step, _ = saved.newest_good()
    assert (step is None) == (killed_after == 1)
    if step is None:
        return
    place, state = saved.load(step)
    again = load_towers(DirectorySource("killed", place))
    set_patch_dropout(again, 0.5)
    rest = trainer_of(again, workers=workers)
    torch.rand(5)  # whatever happened in between
    rest.restore(state)
    assert rest.state.step == killed_after - 1
    assert run(rest, tmp_path / "killed")

    for name, tensor in towers.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert rest.state.best_step == whole.state.best_step == 6


def eager_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Return one that begins far too high, at 2^36, falls to 2^12, and doubles every two steps."""
    return torch.amp.GradScaler(
        device.type,
        init_scale=2.0**36,
        backoff_factor=2.0**-24,
        growth_interval=2,
        enabled=precision == "fp16",
    )


SETTINGS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "average": ({"ema_decay": 0.5}, {}),
    "fp16": ({}, {"precision": "fp16"}),
    "several batches": ({}, {"accumulate_batches": 2, "epochs": 3, "batch_size": 3}),
    "all": (
        {"ema_decay": 0.2},
        {"precision": "fp16", "accumulate_batches": 3, "chunk_size": 2, "epochs": 4},
    ),
}


def with_settings(name: str) -> RunConfig:
    optimizer, compute = SETTINGS[name]
    return replace(
        CONFIG,
        optimizer=replace(CONFIG.optimizer, **optimizer),
        compute=replace(CONFIG.compute, **compute),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "killed_after"),
    [("average", 4), ("fp16", 4), ("fp16", 2), ("several batches", 4), ("all", 3), ("all", 2)],
)
def test_a_resumed_run_of_other_settings_ends_where_it_would_have_ended(
    towers: Towers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, killed_after: int
) -> None:
    """The first step in half precision is skipped, so that AdamW has no moments yet after it."""
    monkeypatch.setattr(trainer_module, "loss_scaler", eager_scaler)
    start, config = copy.deepcopy(towers), with_settings(name)
    lines: list[list[Mapping[str, float]]] = [[], []]
    whole = trainer_of(towers, config=config)
    assert run(whole, tmp_path / "whole", log=lambda step, metrics: lines[0].append(metrics))

    each = replace(config, watch=replace(config.watch, checkpoint_minutes=0.0))
    with pytest.raises(StopRunError):
        run(trainer_of(start, config=each), tmp_path / "killed", progress=stop_after(killed_after))
    place, state = RunCheckpoints(tmp_path / "killed").load(killed_after - 1)
    again = load_towers(DirectorySource("killed", place))
    set_patch_dropout(again, 0.5)
    rest = trainer_of(again, config=config)
    rest.restore(state)
    assert run(rest, tmp_path / "killed", log=lambda step, metrics: lines[1].append(metrics))

    for one, other in ((towers, again), (whole.measured_towers, rest.measured_towers)):
        for key, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[key]), key
    first, second = (
        RunCheckpoints(tmp_path / word).load(whole.num_steps) for word in ("whole", "killed")
    )
    assert (first[0] / WEIGHTS).read_bytes() == (second[0] / WEIGHTS).read_bytes()
    assert first[1]["scaler"] == second[1]["scaler"]
    is_half = config.compute.precision == "fp16"
    assert [line.get("skipped_steps") for line in lines[0]] == [1 if is_half else None] * len(
        lines[0]
    )
    timed = {"step_seconds", "data_seconds"}
    for line, twin in zip(lines[0][killed_after - 1 :], lines[1], strict=True):
        assert {k: line[k] for k in line.keys() - timed} == {
            k: twin[k] for k in twin.keys() - timed
        }


def test_half_precision_is_torchs_own_loop_on_the_whole_batch(
    towers: Towers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AdamW, clipped, with torch.amp.GradScaler's own step, which leaves out the first one."""
    monkeypatch.setattr(trainer_module, "loss_scaler", eager_scaler)
    config = with_settings("fp16")
    module = TrainedTowers(copy.deepcopy(towers))
    no_decay = {f"towers.{name}" for name in no_decay_names(module.towers)}
    optimizer = build_optimizer(module, config.optimizer, no_decay)
    scaler = eager_scaler("fp16", torch.device("cpu"))
    loss = ContrastiveLoss(LossConfig(), Ranks())
    trainer = trainer_of(towers, config=config)
    several = trainer._batches.after(0)
    state = torch.get_rng_state()  # trainers seed it
    for step in range(6):
        module.train()
        batch: Batch = next(several).batch
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, num_steps=6, config=config.optimizer)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            found = module(batch)
        assert found.image_features.dtype == found.text_features.dtype == torch.float16
        scaler.scale(loss(found, batch)["loss"]).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.optimizer.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        with torch.no_grad():
            module.towers.model.logit_scale.clamp_(0, math.log(100))
    several.close()

    torch.set_rng_state(state)
    start = copy.deepcopy(towers.state_dict())
    assert run(trainer, tmp_path)

    assert trainer.state.skipped_steps == 1
    assert trainer._scaler.get_scale() == scaler.get_scale() == 2.0**14
    for name, tensor in module.towers.state_dict().items():
        torch.testing.assert_close(towers.state_dict()[name], tensor, rtol=0, atol=1e-7)
    assert all(weight.dtype == torch.float32 for weight in towers.parameters())
    moved = (towers.state_dict()[name] - start[name] for name in ("model.visual.proj",))
    assert all(float(change.abs().max()) > 1e-3 for change in moved)


def test_weights_of_half_precision_are_trained_in_full(
    towers: Towers, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Steps of 1e-7 are below the last bit of nearly all weights of float16, and move these."""
    folder = tmp_path / "half"
    shutil.copytree(tiny_checkpoint, folder)
    halves = {name: item.half() for name, item in load_file(folder / WEIGHTS).items()}
    save_file(halves, folder / WEIGHTS)
    loaded = load_towers(DirectorySource("half", folder))
    slow = replace(with_settings("fp16"), optimizer=replace(CONFIG.optimizer, lr=1e-7))
    before = copy.deepcopy(loaded.state_dict())

    assert run(trainer_of(loaded, config=slow), tmp_path / "run")

    assert all(weight.dtype == torch.float32 for weight in loaded.parameters())
    now, then = loaded.model.visual.proj.detach(), before["model.visual.proj"]
    assert float((now != then).float().mean()) > 0.5
    assert float((now.half() != then.half()).float().mean()) < 0.01


@pytest.mark.parametrize("num_batches", [1, 3])
def test_the_average_is_measured_saved_and_made_of_the_steps(
    towers: Towers, tmp_path: Path, num_batches: int
) -> None:
    """By hand: of the n-th step (1 + n) / (10 + n) are kept, and 0.3 from the third on."""
    config = with_settings("average")
    config = replace(
        config,
        optimizer=replace(config.optimizer, ema_decay=0.3),
        compute=replace(config.compute, accumulate_batches=num_batches, epochs=6),
    )
    expected = {name: tensor.double().clone() for name, tensor in towers.state_dict().items()}
    measured: list[dict[str, torch.Tensor]] = []
    trainer = trainer_of(towers, config=config)

    def progress(done: int, total: int) -> None:
        decay = min(0.3, (1 + done) / (10 + done))
        for name, tensor in towers.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor.double()

    def measure() -> Validation:
        measured.append(copy.deepcopy(trainer.measured_towers.state_dict()))
        return NOTHING

    assert run(trainer, tmp_path, progress=progress, measure=measure)

    assert trainer.num_steps == 6 * 3 // num_batches
    saved = load_towers(DirectorySource("end", RunCheckpoints(tmp_path).path(trainer.num_steps)))
    for name, tensor in expected.items():
        found = measured[-1][name]
        torch.testing.assert_close(found.double(), tensor, rtol=1e-5, atol=1e-6)
        assert torch.equal(saved.state_dict()[name], found), name
    assert not torch.equal(saved.model.visual.proj, towers.model.visual.proj)


def test_a_run_on_other_pairs_is_refused(towers: Towers, tmp_path: Path) -> None:
    run(trainer_of(towers), tmp_path)
    found = RunCheckpoints(tmp_path).load(6)
    other = trainer_of(towers, source(word="numeral"))
    with pytest.raises(TrainingError, match=r"what data\.train names has changed .*: put it back"):
        other.restore(found[1])
    assert other.state.step == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"model.base": "a", "loss.teacher": "b"}, {"model.base": "a", "loss.teacher": "c"}),
        ({}, {"loss.teacher": "c"}),
        ({"loss.teacher": "c"}, {}),
    ],
)
def test_a_run_on_other_models_or_measurements_is_refused(
    towers: Towers, tmp_path: Path, before: dict[str, str], now: dict[str, str]
) -> None:
    new = copy.deepcopy(towers)
    run(trainer_of(towers, fingerprints=before), tmp_path)
    found = RunCheckpoints(tmp_path).load(6)
    trainer_of(new, fingerprints=before).restore(found[1])
    with pytest.raises(TrainingError, match=r"what loss\.teacher names has changed"):
        trainer_of(towers, fingerprints=now).restore(found[1])


def test_a_state_of_more_processes_starts_the_generators_anew(
    towers: Towers, tmp_path: Path
) -> None:
    new = [copy.deepcopy(towers) for _ in range(3)]
    run(trainer_of(towers), tmp_path)
    found = RunCheckpoints(tmp_path).load(6)
    state = found[1]
    draws = []
    for one, num_processes in zip(new, (1, 2, 2), strict=True):
        trainer_of(one).restore(state | {"random": state["random"] * num_processes})
        draws.append(float(torch.rand(1)))
    assert draws[0] != draws[1] == draws[2]


def test_bad_pairs_are_listed_up_to_the_limit(towers: Towers, tmp_path: Path) -> None:
    """A quarter of twelve is three."""
    trainer = trainer_of(towers, source(num_bad=3))
    assert run(trainer, tmp_path)
    assert set(trainer.state.bad) == {"0.png", "1.png", "2.png"}
    found = RunCheckpoints(tmp_path).load(6)
    assert found[1]["progression"]["bad"] == trainer.state.bad


def test_more_bad_pairs_than_allowed_end_it(towers: Towers, tmp_path: Path) -> None:
    trainer = trainer_of(towers, source(num_bad=4))
    words = (
        r"^4 pairs could not be read, data\.max_bad_fraction allows 3: \d\.png: .*; .*Mend them, "
        "or raise the limit; the same command starts from the first step"
    )
    with pytest.raises(TrainingError, match=words):
        run(trainer, tmp_path)
    assert trainer.state.step <= 3  # an epoch goes through them all


def test_bad_pairs_that_are_known_do_not_end_it_again(towers: Towers, tmp_path: Path) -> None:
    """A limit that was lowered, or pairs of a place that has been mended since."""
    trainer = trainer_of(towers, source(num_bad=3))
    trainer.state.bad = {f"{name}.png": "is cut off" for name in ("a", "b", "c", 0, 1, 2)}
    assert run(trainer, tmp_path)
    again = trainer_of(towers, source(num_bad=4))
    again.state.bad = {f"{name}.png": "is cut off" for name in (0, 1, 2)}
    with pytest.raises(TrainingError, match=r"^4 pairs could not be read"):
        run(again, tmp_path)


class TwoRanks(Ranks):
    """Another process has met two other bad pairs by the time that both save."""

    def all_gather_objects(self, value: Any) -> list[Any]:
        if isinstance(value, dict) and "torch" not in value:
            return [value, {"x.png": "is cut off", "y.png": "is cut off"}]
        return [value]


def test_bad_pairs_of_all_processes_are_counted_before_they_are_saved(
    towers: Towers, tmp_path: Path
) -> None:
    trainer = trainer_of(towers, source(num_bad=2), ranks=TwoRanks())
    with pytest.raises(TrainingError, match=r"^4 pairs could not be read"):
        run(trainer, tmp_path)
    assert RunCheckpoints(tmp_path).steps() == []


def test_the_newest_and_the_best_stay_and_what_is_measured_is_told(
    towers: Towers, tmp_path: Path
) -> None:
    """Measured three times an epoch: the second is the best."""
    scores = iter([0.1, 0.9, 0.3, 0.4, 0.5, 0.6])
    told: list[tuple[int, float | None]] = []
    logged: list[tuple[int, Mapping[str, float]]] = []
    config = replace(CONFIG, watch=replace(CONFIG.watch, every_epochs=1 / 3))
    trainer = trainer_of(towers, config=config)
    assert run(
        trainer,
        tmp_path,
        measure=lambda: Validation(next(scores), {}),
        log_validation=lambda step, validation: told.append((step, validation.score)),
        log=lambda step, metrics: logged.append((step, metrics)),
    )
    assert told == [(1, 0.1), (2, 0.9), (3, 0.3), (4, 0.4), (5, 0.5), (6, 0.6)]
    assert RunCheckpoints(tmp_path).steps() == [2, 6]
    assert [step for step, _ in logged] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "contrastive_loss", "logit_scale", "gradient_norm", "lr"} <= set(logged[0][1])


def test_the_scale_is_kept_in_its_range(towers: Towers, tmp_path: Path) -> None:
    with torch.no_grad():
        towers.model.logit_scale.fill_(9.0)
    assert run(trainer_of(towers), tmp_path)
    assert towers.logit_scale <= np.log(100) + 1e-6


def test_the_scale_of_a_sigmoid_has_no_top(towers: Towers, tmp_path: Path) -> None:
    """SigLIP ends at 117 (its B/16 at 256 pixels)."""
    towers = with_logit_bias(towers)
    with torch.no_grad():
        towers.model.logit_scale.fill_(math.log(117))
    config = replace(CONFIG, loss=LossConfig(kind="sigmoid"))
    assert run(trainer_of(towers, config=config), tmp_path)
    assert towers.logit_scale == pytest.approx(math.log(117), abs=6 * 1e-3)  # six steps of lr


def test_a_step_that_is_only_tried_changes_nothing(towers: Towers) -> None:
    trainer = trainer_of(towers)
    before = copy.deepcopy(towers.state_dict())
    several = trainer._batches.after(0)
    trainer.try_step(next(several))
    several.close()
    assert all(item.grad is None for item in towers.parameters())
    for name, tensor in towers.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert trainer.measured_towers is towers


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch hides it, unless it is an error
def test_compiled_towers_learn_the_same_under_the_same_names(
    towers: Towers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced, but run as it was: to write the C++ takes a minute."""
    plain, compiled = copy.deepcopy(towers), towers
    run(trainer_of(plain), tmp_path / "plain")
    compile_module = torch.nn.Module.compile
    asked: list[torch.nn.Module] = []

    def trace(module: torch.nn.Module, **options: Any) -> None:
        asked.append(module)
        compile_module(module, backend="aot_eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", trace)
    config = replace(CONFIG, compute=replace(CONFIG.compute, compile=True))
    run(trainer_of(compiled, config=config), tmp_path / "compiled")

    assert len(asked) == 2
    expected, found = plain.state_dict(), compiled.state_dict()
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("chunk_size", [0, 3])
def test_a_step_compares_the_pairs_with_the_teachers_view_of_them(
    tiny_checkpoint: Path, chunk_size: int
) -> None:
    """A student of the teacher's weights differs from it only where their images do."""
    student, towers = (load_towers(DirectorySource("tiny", tiny_checkpoint)) for _ in range(2))
    tokenizer = Tokenizer.from_config(towers.model_cfg["text_cfg"], towers.tokenizer_source)
    teacher = Teacher(towers, tokenizer, torch.device("cpu"))
    config = replace(
        CONFIG,
        loss=LossConfig(teacher="tiny"),
        compute=replace(CONFIG.compute, chunk_size=chunk_size),
    )
    trainer = trainer_of(student, config=config, teacher=teacher)
    with closing(trainer._batches.after(0)) as batches:
        loaded = next(batches)
    images = loaded.batch.images
    assert images is not None

    same = trainer._backward([replace(loaded, teacher_images=images)])
    other = trainer._backward([replace(loaded, teacher_images=images.flip(0))])

    assert float(same["feature_loss"]) == pytest.approx(0, abs=1e-6)
    assert float(other["feature_loss"]) > 1e-3
    assert all(value.shape == () and not value.requires_grad for value in same.values())
