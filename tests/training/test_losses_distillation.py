import math
from typing import Any

import pytest
import torch
from open_clip.loss import DistillClipLoss
from torch import Tensor
from torch.nn.functional import normalize

from clipkit.errors import InputError
from clipkit.training.batch import Batch, TeacherFeatures
from clipkit.training.config import LossConfig
from clipkit.training.distributed import Ranks
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.trained_towers import Representations

TEACHER_SCALE = 40.0
SCALE = 12.0


def _noise(num: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images, texts = torch.randn(2, num, dim, generator=generator, dtype=torch.float64)
    return images.requires_grad_(), texts.requires_grad_()


def _losses(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor] | None,
    *,
    mapped: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
    scale: float = SCALE,
    **config: Any,
) -> dict[str, Tensor]:
    keys = torch.arange(len(student[0]))
    batch = Batch(
        caption_keys=keys,
        image_keys=keys,
        image_features=student[0],
        text_features=student[1],
        teacher=TeacherFeatures(*teacher) if teacher else None,
    )
    log_scale = torch.tensor(scale, dtype=torch.float64).log()
    representations = Representations(*student, log_scale, None, *mapped)
    loss = ContrastiveLoss(
        LossConfig(teacher="some", **config),
        Ranks(),
        teacher_logit_scale=math.log(TEACHER_SCALE),
    )
    return loss(representations, batch)


@pytest.mark.parametrize("row_chunk", [0, 4])
@pytest.mark.parametrize("teacher_dim", [8, 20])
def test_soft_targets_are_those_of_open_clip(teacher_dim: int, row_chunk: int) -> None:
    student, teacher = _noise(9, 8, 0), _noise(9, teacher_dim, 1)
    units = [normalize(part, dim=-1) for part in student]
    teachers = [normalize(part.detach(), dim=-1) for part in teacher]
    expected = DistillClipLoss()(*units, SCALE, *teachers, TEACHER_SCALE)
    expected_gradient = torch.autograd.grad(sum(expected), student)

    mapped = _noise(9, teacher_dim, 2)
    losses = _losses(student, teacher, mapped=mapped, feature_weight=0.0, row_chunk=row_chunk)

    assert losses["contrastive_loss"].item() == pytest.approx(expected[0].item(), rel=1e-7)
    assert losses["logit_loss"].item() == pytest.approx(expected[1].item(), rel=1e-6)
    assert losses["loss"].item() == pytest.approx(sum(expected).item(), rel=1e-6)
    gradient = torch.autograd.grad(losses["loss"], student)
    for one, other in zip(gradient, expected_gradient, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-9)


def test_features_are_compared_coordinate_by_coordinate() -> None:
    """Images differ by (1, -1) / sqrt 2 + ..., counted by hand on two pairs."""
    student = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    teacher = torch.tensor([[0.0, 3.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    # Images: (1, 0) - (0, 1) and 0, squares 1 + 1 of 4. Texts: 0 and (0, 2), squares 4 of 4.
    assert _losses(student, teacher)["feature_loss"].item() == pytest.approx(0.5 + 1.0)


def test_another_size_of_space_is_compared_through_the_map() -> None:
    student, teacher = _noise(5, 4, 0), _noise(5, 6, 1)
    mapped = teacher[0] * 3, teacher[1] * 0.2
    assert _losses(student, teacher, mapped=mapped)["feature_loss"].item() < 1e-12


def test_a_student_that_is_the_teacher_is_left_with_the_teachers_own_entropy() -> None:
    teacher = _noise(6, 4, 1)
    units = [normalize(part, dim=-1) for part in teacher]
    targets = [(TEACHER_SCALE * one @ other.T).softmax(1) for one, other in (units, units[::-1])]
    entropy = sum(-(target * target.log()).sum(1).mean().item() for target in targets) / 2

    losses = _losses(teacher, teacher, scale=TEACHER_SCALE)

    assert losses["logit_loss"].item() == pytest.approx(entropy, rel=1e-6)
    assert losses["feature_loss"].item() < 1e-12


def test_the_loss_is_the_weighted_sum_of_its_parts_and_the_teacher_learns_nothing() -> None:
    student, teacher = _noise(6, 4, 0), _noise(6, 4, 1)
    losses = _losses(student, teacher, contrastive_weight=0.5, feature_weight=7.0, logit_weight=3.0)

    parts = (losses["contrastive_loss"], losses["feature_loss"], losses["logit_loss"])
    expected = sum(w * part.item() for w, part in zip((0.5, 7, 3), parts, strict=True))
    assert losses["loss"].item() == pytest.approx(expected, rel=1e-12)
    torch.autograd.backward(losses["loss"])
    assert student[0].grad is not None and teacher[0].grad is None


def test_a_batch_without_the_teachers_features_is_refused() -> None:
    with pytest.raises(InputError, match="a batch needs the teacher's features"):
        _losses(_noise(3, 4, 0), None)
