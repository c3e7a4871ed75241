"""Several real processes over gloo, each with its share, against one process with all the pairs."""

import os
from collections.abc import Generator
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from clipkit.errors import LostProcessError
from clipkit.models.towers import Towers
from clipkit.training import distributed
from clipkit.training.batch import Batch, TeacherFeatures
from clipkit.training.config import LossConfig, OptimizerConfig, Sharding, WatchConfig
from clipkit.training.distributed import (
    Ranks,
    copy_full_weights,
    joined_process_group,
    unwrap,
    wrap,
)
from clipkit.training.loop import Hooks, TrainingLoop
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.resume import TrainerState, capture_state, restore_state
from clipkit.training.step import ContrastiveStep
from clipkit.training.trained_towers import Representations
from clipkit.training.weight_average import WeightAverage
from tests.reference import contrastive
from tests.training.conftest import make_batch, make_towers
from tests.training.test_loss_function import infonce

pytestmark = pytest.mark.slow

NUM = 12  # pairs of the global batch
EXACT = 1e-10
TEACHER_DIM = 10
TEACHER_LOGIT_SCALE = 3.0
LOSSES = {
    "infonce": LossConfig(),
    "sigmoid": LossConfig(kind="sigmoid"),
    "row-chunks": LossConfig(row_chunk=2, matryoshka_dims=(5,)),
    "distillation": LossConfig(teacher="some", feature_weight=50.0),
    "own": LossConfig(),
}
CASES: list[tuple[Sharding, str, int]] = [
    *(("ddp", name, size) for name in LOSSES for size in (0, 3)),
    ("fsdp", "infonce", 0),
    ("fsdp", "infonce", 3),
    ("fsdp", "sigmoid", 3),
    ("fsdp", "own", 3),
    ("fsdp", "distillation", 3),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where three processes left what they ended with, as three and the first two as two."""
    directory = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(_run, args=(str(directory),), nprocs=3)  # type: ignore[attr-defined, no-untyped-call]
    return directory


@pytest.fixture(scope="module", params=[2, 3])
def outcome(request: pytest.FixtureRequest, directory: Path) -> Any:
    """What each of so many processes ended with: one dict for each."""
    world_size = request.param
    return [torch.load(directory / f"{rank}of{world_size}.pt") for rank in range(world_size)]


@pytest.mark.parametrize(("sharding", "loss", "size"), CASES)
def test_gradients_of_several_processes_are_those_of_one(
    outcome: list[dict[Any, Any]],
    tmp_path: Path,
    sharding: Sharding,
    loss: str,
    size: int,
) -> None:
    world_size = len(outcome)
    expected, expected_loss = _one_process(world_size, tmp_path, loss, size)

    for rank, results in enumerate(outcome):
        gradients, losses = results[sharding, loss, size]
        assert gradients.keys() == expected.keys()
        differences = {
            name: float((gradients[name].reshape(tensor.shape) - tensor).abs().max())
            for name, tensor in expected.items()
        }
        largest = max(differences.values())
        print(  # noqa: T201 - pytest -rP shows it
            f"{sharding}, {loss}, {world_size} processes, chunks of {size or 'all'}, rank {rank}: "
            f"{len(gradients)} gradients differ by at most {largest:.1e}, "
            f"that of logit_scale by {differences['towers.model.logit_scale']:.1e}"
        )
        assert largest <= EXACT, max(differences, key=lambda name: differences[name])
        assert losses["loss"].item() == pytest.approx(expected_loss, rel=1e-10)


def test_others_of_a_machine_begin_when_one_is_done(outcome: list[dict[Any, Any]]) -> None:
    assert outcome[0]["there"] == []
    assert all(".0" in results["there"] for results in outcome[1:])


def test_a_process_by_itself_waits_for_none() -> None:
    with Ranks().one_of_machine_first():
        pass


@pytest.mark.parametrize("loss", LOSSES)
def test_chunks_send_their_gradients_once(outcome: list[dict[Any, Any]], loss: str) -> None:
    for results in outcome:
        whole, chunked = (results["sent", "ddp", loss, size] for size in (0, 3))
        assert whole == chunked > 10_000


def test_split_weights_and_moments_are_whole_again_to_be_saved(
    outcome: list[dict[Any, Any]], tmp_path: Path
) -> None:
    """After two steps of AdamW with a rest between, against two of one process."""
    module = make_towers("bert", tmp_path)
    gradients, _ = _one_process(len(outcome), tmp_path, "infonce", 0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    for _ in range(2):
        for name, parameter in module.named_parameters():
            parameter.grad = gradients[name]
        optimizer.step()
    weights = module.towers.model.state_dict()
    num_weights = sum(parameter.numel() for parameter in module.parameters())

    for results in outcome:
        assert results["split"] < 0.6 * num_weights
        assert results["weights"].keys() == weights.keys()
        for name, tensor in weights.items():
            # AdamW divides by the root of a gradient's square: rounding shows where that is small.
            assert torch.allclose(results["weights"][name], tensor, atol=1e-7), name


def test_averages_of_split_weights_are_whole_to_be_saved(
    outcome: list[dict[Any, Any]], tmp_path: Path
) -> None:
    """After one step of AdamW: 2/11 of the start and 9/11 of what it came to."""
    module = make_towers("bert", tmp_path)
    start = {name: tensor.clone() for name, tensor in module.towers.model.state_dict().items()}
    gradients, _ = _one_process(len(outcome), tmp_path, "infonce", 0)
    for name, parameter in module.named_parameters():
        parameter.grad = gradients[name]
    torch.optim.AdamW(module.parameters(), lr=1e-3).step()

    for rank, results in enumerate(outcome):
        assert results["average"].keys() == start.keys()
        for name, tensor in module.towers.model.state_dict().items():
            expected = tensor
            if tensor.is_floating_point():
                expected = 2 / 11 * start[name] + 9 / 11 * tensor
            assert torch.allclose(results["average"][name], expected, atol=1e-7), name
            if rank == 0 and tensor.is_floating_point():
                found = results["trained"][f"towers.model.{name}"]
                assert torch.allclose(found.reshape(tensor.shape), tensor, atol=1e-7), name


@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_all_skip_a_step_whose_gradient_overflows_on_one(
    outcome: list[dict[Any, Any]], sharding: Sharding
) -> None:
    weights = [results["overflow", sharding][2] for results in outcome]
    for results in outcome:
        assert results["overflow", sharding][:2] == (2.0**15, 1)
    assert all(torch.equal(weight, weights[0]) for weight in weights)
    assert bool(weights[0].isfinite().all())


@pytest.mark.parametrize(("sharding", "size"), [("ddp", 0), ("ddp", 3), ("fsdp", 0), ("fsdp", 3)])
def test_a_mean_over_batches_is_exchanged_once(
    outcome: list[dict[Any, Any]], tmp_path: Path, sharding: Sharding, size: int
) -> None:
    """Twice the same pairs, which differ by the dropout that each time draws."""
    expected = _mean_of_one_process(len(outcome), tmp_path, size)
    for results in outcome:
        gradients, num_sent = results["mean", sharding, size]
        for name, tensor in expected.items():
            difference = (gradients[name].reshape(tensor.shape) - tensor).abs().max()
            assert float(difference) <= EXACT, name
        if sharding == "ddp":
            assert num_sent == results["sent", "ddp", "infonce", 0]


def test_processes_tell_each_other_rows_means_and_the_largest(
    outcome: list[dict[Any, Any]],
) -> None:
    world_size = len(outcome)
    for rank, results in enumerate(outcome):
        told = results["told"]
        assert told["ranks"] == (rank, world_size)
        assert told["rows"].tolist() == [[r, 10 * r] for r in range(world_size) for _ in range(2)]
        assert told["mean"].item() == (world_size - 1) / 2
        assert told["maximum"] == world_size - 1
        assert told["collected"] == [{"rank": r} for r in range(world_size)]
        # Process r weighs row j of all by (r + 1)(j + 1): own rows get the sum over processes.
        first = 2 * rank
        weight = world_size * (world_size + 1) / 2
        assert told["gradient"].tolist() == [[weight * (first + 1)] * 2, [weight * (first + 2)] * 2]


def test_a_single_process_exchanges_nothing() -> None:
    rows = torch.ones(2, 3, requires_grad=True)
    ranks = Ranks()
    assert ranks.all_gather(rows) is rows and ranks.all_gather_with_gradient(rows) is rows
    mean = ranks.all_reduce_mean(rows)
    assert mean.tolist() == rows.tolist() and not mean.requires_grad
    assert ranks.all_reduce_max(2.5) == 2.5 and ranks.all_gather_objects("one") == ["one"]
    with joined_process_group() as joined:
        assert joined == Ranks() and not dist.is_initialized()
    module = make_towers("vit", Path())
    assert wrap(module, "ddp", torch.device("cpu")) is module
    assert wrap(module, "fsdp", torch.device("cpu")) is module


def test_joined_processes_part_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchrun starts a single one."""
    variables = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
    }
    for name, value in {**variables, "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    with joined_process_group() as ranks:
        assert dist.is_initialized() and ranks == Ranks(0, 1)
    assert not dist.is_initialized()
    words = "another process of this run has ended"
    with pytest.raises(LostProcessError, match=words), joined_process_group():
        raise RuntimeError("[/pytorch/third_party/gloo/…/pair.cc:547] Connection closed by peer")
    with pytest.raises(RuntimeError, match="another thing"), joined_process_group():
        raise RuntimeError("another thing")
    assert not dist.is_initialized()


def test_processes_wait_for_what_one_does_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of a million images are a night's work on a CPU; gloo waits half an hour."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(distributed, "meet", lambda timeout: (None, 0, 2))
    monkeypatch.setattr(dist, "init_process_group", lambda **options: given.update(options))
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with joined_process_group():
        assert given["timeout"] > timedelta(days=2)


def test_each_process_of_a_machine_takes_a_device_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Ranks(3, 8).choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert Ranks(7, 8).choose_device("auto") == torch.device("cuda:3")
    assert Ranks(7, 8).choose_device("cuda") == torch.device("cuda:3")
    assert Ranks(7, 8).choose_device("cpu") == torch.device("cpu")
    assert Ranks().choose_device("auto") == torch.device("cuda:0")


def _whole_batch(loss: str) -> Batch:
    features = torch.randn(
        2, NUM, TEACHER_DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(8)
    )
    return make_batch(NUM, teacher=TeacherFeatures(*features) if loss == "distillation" else None)


def _towers(directory: Path, loss: str) -> Any:
    has_teacher = loss == "distillation"
    return make_towers(
        "bert",
        directory,
        has_bias=loss == "sigmoid",
        teacher_dim=TEACHER_DIM if has_teacher else None,
    )


def _loss(loss: str, ranks: Ranks) -> ContrastiveLoss:
    scale = TEACHER_LOGIT_SCALE if loss == "distillation" else None
    function = infonce if loss == "own" else None
    return ContrastiveLoss(LOSSES[loss], ranks, teacher_logit_scale=scale, function=function)


def _one_process(
    world_size: int, directory: Path, loss: str, size: int
) -> tuple[dict[str, Tensor], float]:
    """Return gradients and loss of all pairs, under the random numbers that each process draws."""
    module, batch = _towers(directory, loss), _whole_batch(loss)
    parts: list[Representations] = []
    for rank, share in enumerate(batch.chunks(NUM // world_size)):
        torch.manual_seed(100 + rank)
        parts += [module(chunk) for chunk in share.chunks(size or len(share))]
    columns = zip(*parts, strict=True)
    whole = Representations(
        *(torch.cat(c) if c[0] is not None and c[0].ndim else c[0] for c in columns)
    )
    references = {
        "infonce": contrastive.infonce,
        "own": contrastive.infonce,
        "sigmoid": contrastive.sigmoid,
    }
    if loss in references:
        value = references[loss](
            whole.image_features,
            whole.text_features,
            whole.logit_scale.exp(),
            whole.logit_bias,
            batch.caption_keys.tolist(),
            batch.image_keys.tolist(),
        )
    else:  # test_losses.py and test_distillation.py compare these with others
        value = _loss(loss, Ranks())(whole, batch)["loss"]
    return contrastive.gradients(module, value), value.item()


def _mean_of_one_process(world_size: int, directory: Path, size: int) -> dict[str, Tensor]:
    """Return the mean gradient of all pairs, twice, under the random numbers of each process."""
    module, batch = _towers(directory, "infonce"), _whole_batch("infonce")
    parts: list[list[Representations]] = [[], []]
    for rank, share in enumerate(batch.chunks(NUM // world_size)):
        torch.manual_seed(100 + rank)
        for several in parts:
            several += [module(chunk) for chunk in share.chunks(size or len(share))]
    losses = []
    for several in parts:
        columns = zip(*several, strict=True)
        whole = Representations(
            *(torch.cat(c) if c[0] is not None and c[0].ndim else c[0] for c in columns)
        )
        losses.append(_loss("infonce", Ranks())(whole, batch)["loss"])
    return contrastive.gradients(module, torch.stack(losses).mean())


def _run(rank: int, directory: str) -> None:
    """Be one of three processes, and then one of two unless it is the last."""
    torch.set_num_threads(1)
    place = Path(directory, f"rank{rank}")
    place.mkdir()
    for world_size in (3, 2):
        if rank < world_size:
            os.environ["LOCAL_RANK"] = str(rank)
            dist.init_process_group(
                "gloo",
                init_method=f"file://{directory}/meeting{world_size}",
                rank=rank,
                world_size=world_size,
                timeout=timedelta(minutes=3),
            )
            results = _compute_cases(Ranks(rank, world_size), place)
            torch.save(results, Path(directory, f"{rank}of{world_size}.pt"))
            dist.destroy_process_group()


def _compute_cases(ranks: Ranks, place: Path) -> dict[Any, Any]:
    results: dict[Any, Any] = {"told": _tell(ranks), "there": _made_before(ranks, place.parent)}
    for sharding, loss, size in CASES:
        module = wrap(_towers(place, loss), sharding, torch.device("cpu"))
        share = _whole_batch(loss).chunks(NUM // ranks.world_size)[ranks.rank]
        step = ContrastiveStep(module, _loss(loss, ranks), chunk_size=size)
        sent: list[int] = []
        if isinstance(module, DistributedDataParallel):
            module.register_comm_hook(sent, _noted_allreduce)
        torch.manual_seed(100 + ranks.rank)
        losses = step.backward(share)
        results[sharding, loss, size] = _whole_gradients(unwrap(module)), losses
        results["sent", sharding, loss, size] = sum(sent)
        if loss == "infonce":
            results["mean", sharding, size] = _mean_of_batches(ranks, place, sharding, size)
            results["overflow", sharding] = _overflow_on_one(ranks, place, sharding)
        if (sharding, loss, size) == ("fsdp", "infonce", 0):
            results |= _two_steps(module, _towers(place, loss).towers)
    return results


def _noted_allreduce(  # torch wants the annotation, and does not tell mypy of the class
    sent: list[int],
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[Tensor]:
    sent.append(bucket.buffer().numel())
    assert dist.group.WORLD is not None
    return allreduce_hook(dist.group.WORLD, bucket)


def _two_steps(module: nn.Module, whole: Towers) -> dict[str, Any]:
    """Take a step of AdamW, and another from what was saved after the first."""
    first = torch.optim.AdamW(module.parameters(), lr=1e-3)
    average = WeightAverage(unwrap(module).towers, 0.5)
    first.step()
    average.update(1)
    averaged = deepcopy(whole)
    copy_full_weights(module, averaged, average.tensors)
    saved = [capture_state(TrainerState(step=1), module, first, [], averaged=average.tensors)]
    dist.broadcast_object_list(saved)  # as all processes read one file
    trained = dict(saved[0]["beside"])  # torch puts shards in its place
    gradients = [parameter.grad for parameter in module.parameters()]
    second = torch.optim.AdamW(module.parameters(), lr=1e-3)
    second.zero_grad()  # torch loads no state into an optimizer under way
    assert restore_state(saved[0], module, second).step == 1
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        parameter.grad = gradient
    second.step()
    copy_full_weights(module, whole)
    split = sum(_local(parameter).numel() for parameter in module.parameters())
    return {
        "split": split,
        "weights": whole.model.state_dict(),
        "average": averaged.model.state_dict(),
        "trained": trained,
    }


class _Repeated:
    """Batches that are all the same."""

    steps_per_epoch = 3

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def after(self, step: int) -> Generator[Batch]:
        while True:
            yield self._batch


def _overflow_on_one(ranks: Ranks, place: Path, sharding: Sharding) -> tuple[float, int, Tensor]:
    """Train three steps in the first of which a gradient of rank 0 overflows.

    With FSDP it is in the shard of that rank alone; DDP has sent it to all of them.

    Returns:
        The scale, how many steps were skipped, and a weight.
    """
    module = wrap(_towers(place, "infonce"), sharding, torch.device("cpu"))
    whole = _towers(place, "infonce").towers
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    step = ContrastiveStep(module, _loss("infonce", ranks), scale_loss=scaler.scale)
    state = TrainerState()

    def backward(batch: Batch) -> dict[str, Tensor]:
        losses = step.backward(batch)
        if state.step == 0 and (sharding == "ddp" or ranks.rank == 0):
            gradient = unwrap(module).towers.model.visual.class_embedding.grad
            assert gradient is not None
            _local(gradient).view(-1)[0] = torch.inf
        return losses

    hooks = Hooks(
        log=lambda step, metrics: None,
        log_validation=lambda step, validation: None,
        validate=lambda: None,
        save=lambda: None,
        after_step=lambda: None,
        all_reduce_max=ranks.all_reduce_max,
    )
    share = _whole_batch("infonce").chunks(NUM // ranks.world_size)[ranks.rank]
    optimizer = torch.optim.AdamW(module.parameters())
    loop = TrainingLoop(module, backward, _Repeated(share), optimizer, hooks, scaler=scaler)
    loop.run(state, num_steps=3, config=OptimizerConfig(lr=1e-3), watch=WatchConfig())
    copy_full_weights(module, whole)
    return scaler.get_scale(), state.skipped_steps, whole.model.visual.proj


def _mean_of_batches(
    ranks: Ranks, place: Path, sharding: Sharding, size: int
) -> tuple[dict[str, Tensor], int]:
    """Return the gradients of two batches, each a half, and how many numbers were sent."""
    module = wrap(_towers(place, "infonce"), sharding, torch.device("cpu"))
    step = ContrastiveStep(module, _loss("infonce", ranks), chunk_size=size)
    sent: list[int] = []
    if isinstance(module, DistributedDataParallel):
        module.register_comm_hook(sent, _noted_allreduce)
    share = _whole_batch("infonce").chunks(NUM // ranks.world_size)[ranks.rank]
    torch.manual_seed(100 + ranks.rank)
    for number in range(2):
        step.backward(share, share=1 / 2, is_last=number == 1)
    return _whole_gradients(unwrap(module)), sum(sent)


def _made_before(ranks: Ranks, folder: Path) -> list[str]:
    """Return which processes had made their files when this one could make its own."""
    with ranks.one_of_machine_first():
        made = [path.suffix for path in folder.glob(f"made{ranks.world_size}.*")]
        (folder / f"made{ranks.world_size}.{ranks.rank}").touch()
    return made


def _tell(ranks: Ranks) -> dict[str, Any]:
    rows = torch.tensor([[ranks.rank, 10.0 * ranks.rank]] * 2, requires_grad=True)
    gathered = ranks.all_gather_with_gradient(rows)
    weights = torch.arange(1.0, len(gathered) + 1)[:, None] * (ranks.rank + 1)
    torch.autograd.backward((gathered * weights).sum())
    return {
        "ranks": (ranks.rank, ranks.world_size),
        "rows": ranks.all_gather(rows),
        "gradient": rows.grad,
        "mean": ranks.all_reduce_mean(torch.tensor(float(ranks.rank))),
        "maximum": ranks.all_reduce_max(float(ranks.rank)),
        "collected": ranks.all_gather_objects({"rank": ranks.rank}),
    }


def _whole_gradients(module: nn.Module) -> dict[str, Tensor]:
    gradients = {}
    for name, parameter in module.named_parameters():
        gradient = parameter.grad
        assert gradient is not None, name
        gradients[name] = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
    return {name: gradient.clone() for name, gradient in gradients.items()}


def _local(parameter: Tensor) -> Tensor:
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter
