"""A step in chunks (GradCache) leaves the gradient of the whole batch, also with dropout."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clipkit.training.batch import Batch, TeacherFeatures
from clipkit.training.config import LossConfig, LossKind
from clipkit.training.distributed import Ranks
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.step import ContrastiveStep
from clipkit.training.trained_towers import Representations, TrainedTowers
from tests.reference import contrastive
from tests.training.conftest import make_batch

TowersOf = Callable[..., TrainedTowers]
EXACT = 1e-10
NUM = 8
TEACHER_DIM = 10


def _loss(config: LossConfig | None = None) -> ContrastiveLoss:
    config = config or LossConfig()
    return ContrastiveLoss(config, Ranks(), teacher_logit_scale=3.0 if config.teacher else None)


def _forward(module: nn.Module, batch: Batch, size: int) -> Representations:
    """Return what all chunks give with gradient, as if memory were no matter."""
    parts = [module(chunk) for chunk in batch.chunks(size)]
    columns = zip(*parts, strict=True)
    return Representations(
        *(
            torch.cat(column) if column[0] is not None and column[0].ndim else column[0]
            for column in columns
        )
    )


def _step(
    module: nn.Module, batch: Batch, size: int, config: LossConfig | None = None
) -> dict[str, Tensor]:
    """Return the gradients that a step leaves, from the same random state as the reference."""
    torch.manual_seed(5)
    ContrastiveStep(module, _loss(config), chunk_size=size).backward(batch)
    return _left(module)


def _left(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(item) if item.grad is None else item.grad
        for name, item in module.named_parameters()
        if item.requires_grad
    }


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("kind", ["infonce", "sigmoid"])
@pytest.mark.parametrize("towers", ["vit", "bert", "resnet"])
def test_gradients_in_chunks_are_those_of_the_whole_batch_with_dropout(
    towers_of: TowersOf, towers: str, kind: LossKind, size: int
) -> None:
    has_bias = kind == "sigmoid"
    module, batch = towers_of(towers, has_bias=has_bias), make_batch(NUM)
    torch.manual_seed(5)
    whole = _forward(module, batch, size)
    after_one_pass = torch.get_rng_state()
    losses = {"infonce": contrastive.infonce, "sigmoid": contrastive.sigmoid}
    loss = losses[kind](
        whole.image_features,
        whole.text_features,
        whole.logit_scale.exp(),
        whole.logit_bias,
        batch.caption_keys.tolist(),
        batch.image_keys.tolist(),
    )
    expected = contrastive.gradients(module, loss)

    cached = _step(module, batch, size, LossConfig(kind=kind))

    difference = contrastive.largest_difference(cached, expected)
    of_scale = float(
        (cached["towers.model.logit_scale"] - expected["towers.model.logit_scale"]).abs()
    )
    print(  # noqa: T201 - pytest -rP shows it
        f"{towers}, {kind}, {NUM} pairs in chunks of {size}: {len(cached)} gradients differ by at "
        f"most {difference:.1e}, that of logit_scale by {of_scale:.1e}"
    )
    assert difference <= EXACT
    assert torch.equal(torch.get_rng_state(), after_one_pass)
    if has_bias:
        assert cached["towers.model.logit_bias"].abs() > 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gradients_in_chunks_are_those_of_the_whole_batch_on_cuda(towers_of: TowersOf) -> None:
    device = torch.device("cuda")
    module, batch = towers_of("bert").to(device), make_batch(NUM).to(device)
    torch.manual_seed(5)
    loss = _loss()(_forward(module, batch, 3), batch)["loss"]
    expected = contrastive.gradients(module, loss)
    assert contrastive.largest_difference(_step(module, batch, 3), expected) <= EXACT


@pytest.mark.parametrize("size", [0, NUM, 100])
def test_a_batch_that_fits_is_one_forward_pass(towers_of: TowersOf, size: int) -> None:
    module, batch = towers_of("vit"), make_batch(NUM)
    torch.manual_seed(5)
    loss = _loss()(module(batch), batch)["loss"]
    expected = contrastive.gradients(module, loss)
    calls = _count_calls(module.towers.model.visual)

    gradients = _step(module, batch, size)

    assert len(calls) == 1
    assert contrastive.largest_difference(gradients, expected) <= 1e-14


@pytest.mark.parametrize(
    "config",
    [
        LossConfig(matryoshka_dims=(4, 9)),
        LossConfig(teacher="some", feature_weight=50.0),
        LossConfig(kind="sigmoid", teacher="some", contrastive_weight=0.0, logit_weight=0.5),
        LossConfig(row_chunk=3),
    ],
    ids=["matryoshka", "distillation", "sigmoid-distillation", "row-chunks"],
)
def test_gradients_in_chunks_are_exact_with_all_that_a_loss_can_have(
    towers_of: TowersOf, config: LossConfig
) -> None:
    module = towers_of("bert", teacher_dim=TEACHER_DIM if config.teacher else None)
    teacher = TeacherFeatures(*torch.randn(2, NUM, TEACHER_DIM, dtype=torch.float64))
    batch = make_batch(NUM, teacher=teacher if config.teacher else None)
    torch.manual_seed(5)
    loss = _loss(replace(config, row_chunk=0))(_forward(module, batch, 3), batch)["loss"]
    expected = contrastive.gradients(module, loss)

    gradients = _step(module, batch, 3, config)

    assert ("image_map.weight" in gradients) == bool(config.teacher)
    assert contrastive.largest_difference(gradients, expected) <= EXACT


def test_losses_are_those_of_the_whole_batch_and_hold_no_gradient(towers_of: TowersOf) -> None:
    module, batch = towers_of("vit"), make_batch(NUM)
    torch.manual_seed(5)
    expected = _loss()(_forward(module, batch, 3), batch)
    torch.manual_seed(5)
    losses = ContrastiveStep(module, _loss(), chunk_size=3).backward(batch)

    assert losses["loss"].item() == pytest.approx(expected["loss"].item(), rel=1e-12)
    assert losses["contrastive_loss"].item() == losses["loss"].item()
    assert losses["logit_scale"].item() == 3.25
    assert not any(loss.requires_grad or loss.ndim for loss in losses.values())


def test_gradients_add_up_until_they_are_taken_away(towers_of: TowersOf) -> None:
    module, batch = towers_of("vit"), make_batch(NUM)
    once = {name: tensor.clone() for name, tensor in _step(module, batch, 3).items()}
    twice = _step(module, batch, 3)
    assert all(torch.allclose(twice[name], 2 * once[name], atol=1e-14) for name in once)


def test_running_statistics_move_once_for_each_chunk(towers_of: TowersOf) -> None:
    batch = make_batch(NUM)
    expected, module = towers_of("resnet"), towers_of("resnet")
    with torch.no_grad():
        _forward(expected, batch, 3)

    _step(module, batch, 3)

    buffers = dict(expected.named_buffers())
    means = [name for name in buffers if name.endswith("running_mean")]
    assert len(means) > 10
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    assert all(m.track_running_stats for m in module.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("size", [0, 3])
def test_a_mean_over_batches_is_that_of_their_gradients(towers_of: TowersOf, size: int) -> None:
    """Each pair has the negatives of its own batch."""
    module, batches = towers_of("vit"), make_batch(NUM).chunks(NUM // 2)
    torch.manual_seed(5)
    means: dict[str, Tensor] = {}
    for batch in batches:
        parts = _forward(module, batch, size or len(batch))
        loss = contrastive.infonce(
            parts.image_features,
            parts.text_features,
            parts.logit_scale.exp(),
            None,
            batch.caption_keys.tolist(),
            batch.image_keys.tolist(),
        )
        gradients = contrastive.gradients(module, loss)
        for name, gradient in gradients.items():
            means[name] = means.get(name, torch.zeros_like(gradient)) + gradient / 2
    module.zero_grad()

    torch.manual_seed(5)
    step = ContrastiveStep(module, _loss(), chunk_size=size)
    for number, batch in enumerate(batches):
        step.backward(batch, share=1 / 2, is_last=number == 1)

    assert contrastive.largest_difference(_left(module), means) <= EXACT


@pytest.mark.parametrize("size", [0, 3])
def test_a_scaled_gradient_is_the_same_but_for_its_scale(towers_of: TowersOf, size: int) -> None:
    """A power of two is exact where nothing overflows; the losses are as they were."""
    module, batch = towers_of("bert"), make_batch(NUM)
    expected = {name: tensor.clone() for name, tensor in _step(module, batch, size).items()}
    module.zero_grad()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)

    torch.manual_seed(5)
    step = ContrastiveStep(module, _loss(), chunk_size=size, scale_loss=scaler.scale)
    losses = step.backward(batch)

    found = _left(module)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert torch.equal(gradient / 2.0**40, expected[name]), name
    assert losses["loss"] < 10


def test_small_gradients_of_half_precision_need_the_scale(towers_of: TowersOf) -> None:
    """A loss of 2^-30 has gradients below 2^-24, the least that float16 has.

    In chunks they would vanish in the features, which are float16 too.
    """
    batch = make_batch(NUM)
    tiny = LossConfig(contrastive_weight=2.0**-30)

    def largest(scale: float) -> float:
        module = towers_of("vit").float()
        step = ContrastiveStep(
            module,
            _loss(tiny),
            chunk_size=3,
            autocast_dtype=torch.float16,
            scale_loss=lambda loss: loss * scale,
        )
        step.backward(batch)
        gradient = module.towers.model.visual.conv1.weight.grad
        assert gradient is not None and gradient.dtype == torch.float32
        return float(gradient.abs().max())

    assert largest(1.0) == 0
    assert largest(2.0**30) > 1e-6


@pytest.mark.parametrize("is_image_locked", [True, False])
def test_a_locked_tower_runs_once_and_the_other_gets_its_exact_gradient(
    towers_of: TowersOf, is_image_locked: bool
) -> None:
    module, batch = towers_of("bert"), make_batch(NUM)
    model = module.towers.model
    locked, trained = (model.visual, model.text) if is_image_locked else (model.text, model.visual)
    locked.requires_grad_(False)
    module.train()
    torch.manual_seed(5)
    loss = _loss()(_forward(module, batch, 3), batch)["loss"]
    expected = contrastive.gradients(module, loss)
    calls, other_calls = _count_calls(locked), _count_calls(trained)

    gradients = _step(module, batch, 3)

    assert (len(calls), len(other_calls)) == (3, 6)
    assert contrastive.largest_difference(gradients, expected) <= EXACT


def test_a_locked_tower_that_still_draws_random_numbers_runs_again(towers_of: TowersOf) -> None:
    module, batch = towers_of("bert"), make_batch(NUM)
    module.towers.model.visual.requires_grad_(False)  # and nobody calls train
    torch.manual_seed(5)
    loss = _loss()(_forward(module, batch, 3), batch)["loss"]
    expected = contrastive.gradients(module, loss)
    assert contrastive.largest_difference(_step(module, batch, 3), expected) <= EXACT


def test_features_may_stand_for_a_locked_towers_inputs(towers_of: TowersOf) -> None:
    module = towers_of("bert")
    module.towers.model.visual.requires_grad_(False)
    features = torch.randn(NUM, 24, dtype=torch.float64)
    batch = make_batch(NUM, images=None, image_features=features)
    calls = _count_calls(module.towers.model.visual)
    torch.manual_seed(5)
    loss = _loss()(_forward(module, batch, 3), batch)["loss"]
    expected = contrastive.gradients(module, loss)

    gradients = _step(module, batch, 3)

    assert not calls
    assert contrastive.largest_difference(gradients, expected) <= EXACT


def test_only_the_scale_is_trained_when_both_towers_are_locked(towers_of: TowersOf) -> None:
    module, batch = towers_of("vit").eval(), make_batch(NUM)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.endswith("logit_scale"))
    expected = contrastive.gradients(module, _loss()(module(batch), batch)["loss"])
    assert module.is_image_fixed and module.is_text_fixed
    assert contrastive.largest_difference(_step(module, batch, 3), expected) <= EXACT


def test_autocast_is_for_the_towers_alone(towers_of: TowersOf) -> None:
    module = towers_of("vit").float()
    batch = make_batch(NUM)
    torch.manual_seed(5)
    parts = []
    for chunk in batch.chunks(3):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            parts.append(module(chunk))
    joined = [torch.cat([part[side] for part in parts]) for side in (0, 1)]
    whole = Representations(joined[0], joined[1], parts[0].logit_scale, None)
    expected = _loss()(whole, batch)["loss"]
    gradients = contrastive.gradients(module, expected)

    torch.manual_seed(5)
    step = ContrastiveStep(module, _loss(), chunk_size=3, autocast_dtype=torch.bfloat16)
    loss = step.backward(batch)["loss"]

    assert joined[0].dtype == joined[1].dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for name, gradient in _left(module).items():
        assert torch.allclose(gradient, gradients[name], rtol=1e-3, atol=1e-5), name


def _count_calls(module: nn.Module) -> list[Any]:
    calls: list[Any] = []
    module.register_forward_hook(lambda *_: calls.append(None))
    return calls
