import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from open_clip.loss import ClipLoss, DistillClipLoss, SigLipLoss
from torch import Tensor
from torch.nn.functional import normalize

from clipkit.errors import InputError
from clipkit.training.batch import Batch, TeacherFeatures
from clipkit.training.config import LossConfig, LossKind
from clipkit.training.distributed import Ranks
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.trained_towers import Representations
from tests.reference import contrastive

REFERENCES = {"infonce": contrastive.infonce, "sigmoid": contrastive.sigmoid}
KINDS = tuple(REFERENCES)
STUDENT_SCALE, TEACHER_SCALE = 12.0, 40.0


def _loss(
    features: tuple[Tensor, Tensor],
    scale: float,
    bias: float | None = None,
    keys: tuple[Any, Any] | None = None,
    **config: Any,
) -> Tensor:
    """Return the loss of features; pairs without keys are all different."""
    images, texts = features
    different = torch.arange(len(images))
    captions, image_keys = keys or (different, different)
    batch = Batch(
        caption_keys=torch.as_tensor(captions),
        image_keys=torch.as_tensor(image_keys),
        image_features=images,
        text_features=texts,
    )
    representations = Representations(
        images,
        texts,
        torch.tensor(scale, dtype=torch.float64).log(),
        None if bias is None else torch.tensor(bias, dtype=torch.float64),
    )
    loss = ContrastiveLoss(LossConfig(**config), Ranks())
    return loss(representations, batch)["loss"]


def _noise(num: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images, texts = torch.randn(2, num, dim, generator=generator, dtype=torch.float64)
    return images.requires_grad_(), (3 * texts).requires_grad_()


def _infonce_of_cosines(cosines: Sequence[Sequence[float]], scale: float) -> float:
    """Return -ln softmax of the diagonal at a multiplier s, mean over all rows and columns."""
    rows = [*cosines, *zip(*cosines, strict=True)]
    own = [cosines[i][i] for i in range(len(cosines))] * 2
    return sum(
        math.log(sum(math.exp(scale * cosine) for cosine in row)) - scale * match
        for row, match in zip(rows, own, strict=True)
    ) / len(rows)


def _sigmoid_of_cosines(cosines: Sequence[Sequence[float]], scale: float, bias: float) -> float:
    """Return -ln sigmoid(z (s c + b)) summed over all pairs, z = 1 for matches or -1, over N."""
    return sum(
        math.log(1 + math.exp(-(1 if i == j else -1) * (scale * cosine + bias)))
        for i, row in enumerate(cosines)
        for j, cosine in enumerate(row)
    ) / len(cosines)


@pytest.mark.parametrize(
    ("kind", "scale", "bias"),
    [
        ("infonce", 1, None),
        ("infonce", 1 / 0.07, None),
        ("infonce", 100, None),
        ("sigmoid", 10, -10.0),
        ("sigmoid", 1, 0.0),
    ],
)
def test_three_pairs_have_the_loss_that_arithmetic_gives(
    kind: LossKind, scale: float, bias: float | None
) -> None:
    """Images at 0, 90 and 45 degrees, texts (0.8, 0.6), (0, 1), (1, 0): nine cosines by hand."""
    half = math.sqrt(0.5)
    images = torch.tensor([[1, 0], [0, 1], [half, half]], dtype=torch.float64)
    texts = torch.tensor([[0.8, 0.6], [0, 1], [1, 0]], dtype=torch.float64)
    cosines = [[0.8, 0.0, 1.0], [0.6, 1.0, 0.0], [1.4 * half, half, half]]
    expected = (
        _infonce_of_cosines(cosines, scale)
        if bias is None
        else _sigmoid_of_cosines(cosines, scale, bias)
    )

    loss = _loss((images, texts), scale, bias, kind=kind)

    assert loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("num", [2, 7, 64])
def test_infonce_of_pairs_that_are_all_alike_is_the_log_of_their_number(num: int) -> None:
    same = torch.ones(num, 5, dtype=torch.float64)
    assert _loss((same, same), 14.3).item() == pytest.approx(math.log(num), abs=1e-12)


@pytest.mark.parametrize("num", [2, 7, 64])
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_infonce_of_orthogonal_matches_has_its_closed_form(num: int, scale: float) -> None:
    axes = torch.eye(num, dtype=torch.float64)
    expected = math.log1p((num - 1) * math.exp(-scale))
    assert _loss((axes, 2 * axes), scale).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("num", [256, 1024])
def test_the_sigmoid_loss_starts_where_siglip_does(num: int) -> None:
    """Features of a new model are near-orthogonal, also those of a pair: every logit is -10.

    Of an image's N logits the match costs ln(1 + e^10), each of the others ln(1 + e^-10).
    """
    axes = torch.eye(2 * num, dtype=torch.float64)
    features = axes[:num], axes[num:]
    expected = math.log1p(math.exp(10)) + (num - 1) * math.log1p(math.exp(-10))
    assert _loss(features, 10, -10.0, kind="sigmoid").item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "keys",
    [
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([7, 1, 7, 7, 4], [0, 1, 2, 3, 4]),  # three equal captions
        ([0, 1, 2, 3, 4], [5, 5, 2, 3, 2]),  # two images with two captions each
        ([0, 1, 0, 3, 1], [6, 6, 2, 3, 4]),  # both
        ([8, 8, 8, 8, 8], [0, 1, 2, 3, 4]),  # nothing is a negative
    ],
)
@pytest.mark.parametrize(("num", "dim"), [(1, 2), (2, 3), (5, 4)])
@pytest.mark.parametrize(("scale", "bias"), [(1.0, None), (14.3, -3.0), (100.0, -10.0)])
def test_the_loss_equals_the_slow_reference(
    kind: LossKind,
    keys: tuple[list[int], list[int]],
    num: int,
    dim: int,
    scale: float,
    bias: float | None,
) -> None:
    images, texts = features = _noise(num, dim)
    captions, image_keys = keys[0][:num], keys[1][:num]
    multiplier, *biases = torch.tensor([scale, bias or 0.0], dtype=torch.float64)
    expected = REFERENCES[kind](
        images, texts, multiplier, None if bias is None else biases[0], captions, image_keys
    )
    expected_gradient = torch.autograd.grad(expected, features)

    for row_chunk in (0, 2):
        loss = _loss(features, scale, bias, (captions, image_keys), kind=kind, row_chunk=row_chunk)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)
        for one, other in zip(torch.autograd.grad(loss, features), expected_gradient, strict=True):
            assert torch.allclose(one, other, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
@pytest.mark.parametrize("num", [2, 9, 33])
def test_different_pairs_have_open_clips_losses_and_gradients(num: int, scale: float) -> None:
    features = _noise(num, 16)
    units = [normalize(part, dim=-1) for part in features]
    for kind, open_clips, bias in (("infonce", ClipLoss(), None), ("sigmoid", SigLipLoss(), -9.0)):
        expected = open_clips(*units, scale, bias)
        loss = _loss(features, scale, bias, kind=kind)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
        pairs = zip(
            torch.autograd.grad(loss, features),
            torch.autograd.grad(expected, features, retain_graph=True),
            strict=True,
        )
        assert all(torch.allclose(one, other, rtol=1e-10, atol=1e-14) for one, other in pairs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("row_chunk", [1, 4, 8, 11, 100])
def test_rows_in_chunks_give_the_same_loss_and_gradient(kind: LossKind, row_chunk: int) -> None:
    features = _noise(11, 6)
    keys = [*range(9), 0, 1], [*range(10), 5]
    whole = _loss(features, 20.0, -5.0, keys, kind=kind)
    chunked = _loss(features, 20.0, -5.0, keys, kind=kind, row_chunk=row_chunk)

    assert chunked.item() == pytest.approx(whole.item(), rel=1e-13)
    for one, other in zip(
        torch.autograd.grad(chunked, features), torch.autograd.grad(whole, features), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_chunks_keep_no_more_than_a_chunk_of_logits(kind: LossKind) -> None:
    features = _noise(64, 2)
    sizes: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    for row_chunk, most in ((0, 64 * 64), (8, 64 * 2)):
        sizes.clear()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = _loss(features, 20.0, kind=kind, row_chunk=row_chunk)
        assert max(sizes) == most  # in chunks: the features and nothing else
        sizes.clear()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            torch.autograd.backward(loss)


@pytest.mark.parametrize("kind", KINDS)
def test_images_and_texts_may_change_sides_and_pairs_their_order(kind: LossKind) -> None:
    images, texts = _noise(6, 4)
    captions, image_keys = [0, 1, 2, 0, 4, 5], [0, 1, 2, 3, 2, 5]
    loss = _loss((images, texts), 9.0, -2.0, (captions, image_keys), kind=kind).item()

    swapped = _loss((texts, images), 9.0, -2.0, (image_keys, captions), kind=kind)
    assert swapped.item() == pytest.approx(loss, rel=1e-13)
    order = [3, 5, 0, 1, 4, 2]
    keys = [captions[i] for i in order], [image_keys[i] for i in order]
    reordered = _loss((images[order], texts[order]), 9.0, -2.0, keys, kind=kind)
    assert reordered.item() == pytest.approx(loss, rel=1e-13)


def test_prefixes_count_as_spaces_of_their_own() -> None:
    features = _noise(7, 12)
    open_clips = ClipLoss()
    prefixes = [[normalize(f[:, :dim], dim=-1) for f in features] for dim in (2, 5, 12)]
    expected = sum(open_clips(*prefix, 14.3).item() for prefix in prefixes) / 3

    for dims in ((2, 5), (5, 2, 12)):
        assert _loss(features, 14.3, matryoshka_dims=dims).item() == pytest.approx(expected)
    with pytest.raises(InputError, match="must be at most 12, the size of the space, got 13"):
        _loss(features, 14.3, matryoshka_dims=(13,))


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_in_full_precision_whatever_the_towers_computed_in(kind: LossKind) -> None:
    images, texts = (part.detach().bfloat16() for part in _noise(20, 8))
    expected = _loss((images.double(), texts.double()), 100.0, -10.0, kind=kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = _loss((images, texts), 100.0, -10.0, kind=kind)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_weight_of_the_contrastive_loss_scales_it() -> None:
    features = _noise(5, 4)
    once = _loss(features, 10.0).item()
    assert _loss(features, 10.0, contrastive_weight=0.25).item() == pytest.approx(once / 4)


# Distillation


def _losses(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor] | None,
    *,
    mapped: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
    scale: float = STUDENT_SCALE,
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
    expected = DistillClipLoss()(*units, STUDENT_SCALE, *teachers, TEACHER_SCALE)
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
