"""A loss of one's own in the place of clipkit's: the same numbers, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clipkit.errors import InputError
from clipkit.training.config import LossConfig
from clipkit.training.distributed import Ranks
from clipkit.training.loss_function import check_loss_function
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.step import ContrastiveStep
from clipkit.training.trained_towers import TrainedTowers
from tests.training.conftest import make_batch

TowersOf = Callable[..., TrainedTowers]
NUM = 8


def infonce(images: Tensor, texts: Tensor, scale: Tensor, positives: Tensor) -> Tensor:
    """Return InfoNCE as a user writes it, false negatives left out."""
    logits = scale * images @ texts.T
    own = torch.eye(len(images), dtype=torch.bool)
    logits = logits.masked_fill(positives & ~own, -torch.inf)
    labels = torch.arange(len(images))
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def step(
    module: TrainedTowers, function: Any, size: int = 0, config: LossConfig | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the losses and the gradients of a step on eight pairs, two of them equal in part."""
    loss = ContrastiveLoss(config or LossConfig(), Ranks(), function=function)
    torch.manual_seed(5)
    losses = ContrastiveStep(module, loss, chunk_size=size).backward(make_batch(NUM))
    gradients = {
        name: torch.zeros_like(item) if item.grad is None else item.grad
        for name, item in module.named_parameters()
    }
    return losses, gradients


@pytest.mark.parametrize("size", [0, 3])
def test_infonce_of_one_s_own_is_clipkit_s(towers_of: TowersOf, size: int) -> None:
    expected_losses, expected = step(towers_of("vit"), None, size)
    losses, gradients = step(towers_of("vit"), infonce, size)

    torch.testing.assert_close(losses, expected_losses, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradients, expected, rtol=1e-8, atol=1e-11)


def test_it_gets_embeddings_the_multiplier_and_all_that_belongs_together(
    towers_of: TowersOf,
) -> None:
    given: list[Tensor] = []

    def note(*arguments: Tensor) -> Tensor:
        given.extend(arguments)
        return infonce(*arguments)

    module = towers_of("vit")
    step(module, note, 3)

    images, texts, scale, positives = given
    for rows in (images, texts):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(NUM, dtype=rows.dtype))
    assert len(images) == len(texts) == NUM  # once, for all chunks
    assert scale.item() == pytest.approx(module.towers.model.logit_scale.exp().item())
    # By make_batch captions 0 and 7 are equal, and images 1 and 6.
    expected = torch.eye(NUM, dtype=torch.bool)
    for one, other in ((0, 7), (1, 6)):
        expected[one, other] = expected[other, one] = True
    assert positives.tolist() == expected.tolist()


def test_numbers_beside_the_loss_are_logged(towers_of: TowersOf) -> None:
    def loss(*arguments: Tensor) -> dict[str, Any]:
        return {
            "margin": 0.25,
            "loss": infonce(*arguments),
            "cosine": arguments[0][0] @ arguments[1][0],
        }

    losses, _ = step(towers_of("vit"), loss, config=LossConfig(contrastive_weight=2.0))

    assert set(losses) == {"loss", "contrastive_loss", "cosine", "margin", "logit_scale"}
    assert losses["margin"] == 0.25
    assert losses["loss"] == 2 * losses["contrastive_loss"]
    assert not any(number.requires_grad for number in losses.values())


def test_what_a_loss_leaves_out_has_a_gradient_of_zero(towers_of: TowersOf) -> None:
    """As DDP and FSDP need it, which wait for a gradient of each parameter."""
    module = towers_of("vit", has_bias=True)
    loss = ContrastiveLoss(LossConfig(), Ranks(), function=lambda *a: a[0].pow(4).sum())
    ContrastiveStep(module, loss).backward(make_batch(NUM))

    for name in ("logit_scale", "logit_bias", "text_projection"):
        gradient = getattr(module.towers.model, name).grad
        assert gradient is not None and not gradient.any(), name


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        (lambda images: None, "got None"),
        (lambda images: 3.0, "got a float"),
        (lambda images: images, r"got a tensor of shape \(8, 24\)"),
        (lambda images: images.sum().detach(), r"got a tensor of shape \(\) without gradient"),
        (lambda images: {}, "got a dict of nothing"),
        (lambda images: {"triplet": images.sum()}, "got a dict of 'triplet'"),
        (lambda images: images.sum() * 1j, r"got a tensor of shape \(\) of complex128"),
        (lambda images: {"loss": images.sum(), "lr": 1}, 'returns "lr", which is logged'),
        (lambda images: {"loss": images.sum(), "score": 1}, 'returns "score", which is logged'),
        (
            lambda images: {"loss": images.sum(), "loss_scale": 1},
            'returns "loss_scale", which is logged',
        ),
        (
            lambda images: {"loss": images.sum(), 3: 1, "a": 1},
            "must return numbers by name, got the name 3",
        ),
        (
            lambda images: {"loss": images.sum(), "a": images},
            r'must return numbers, "a" is a tensor',
        ),
    ],
)
def test_what_is_no_loss_is_refused(towers_of: TowersOf, returned: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        step(towers_of("vit"), lambda images, texts, scale, positives: returned(images))


class Squared(nn.Module):
    """A loss of too few arguments."""

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        return (images - texts).square().sum()


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (Squared, r"is the class Squared: give an object, as Squared\(\) makes one"),
        (Squared(), "got method <bound method Squared.forward"),
        (lambda images, texts: images.sum(), "got function <function"),
    ],
)
def test_what_cannot_be_called_as_a_loss_is_refused(function: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        check_loss_function(function)


def test_a_loss_that_would_have_to_be_trained_is_refused() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.margin = nn.Parameter(torch.ones(()))

        def forward(
            self, images: Tensor, texts: Tensor, scale: Tensor, positives: Tensor
        ) -> Tensor:
            return self.margin * infonce(images, texts, scale, positives)

    with pytest.raises(InputError, match=r"parameters to train \(margin\)"):
        check_loss_function(Weighted())
    check_loss_function(Weighted().requires_grad_(requires_grad=False))
    wrong: Any = "infonce"
    with pytest.raises(InputError, match=r"loss must be a function .* got str"):
        check_loss_function(wrong)
