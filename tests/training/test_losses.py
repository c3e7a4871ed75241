import math
from typing import Any

import pytest
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor

from clipkit.errors import InputError
from clipkit.training.batch import Batch
from clipkit.training.config import LossConfig, LossKind
from clipkit.training.distributed import Ranks
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.trained_towers import Representations
from tests.reference import contrastive

REFERENCES = {"infonce": contrastive.infonce, "sigmoid": contrastive.sigmoid}
KINDS = tuple(REFERENCES)


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


@pytest.mark.parametrize(
    ("kind", "scale", "bias", "expected"),
    [
        ("infonce", 1, None, 0.965729),
        ("infonce", 1 / 0.07, None, 2.331202),
        ("infonce", 100, None, 16.094757),
        ("sigmoid", 10, -10.0, 2.402900),
        ("sigmoid", 1, 0.0, 2.412035),
    ],
)
def test_three_pairs_have_the_loss_that_arithmetic_gives(
    kind: LossKind, scale: float, bias: float | None, expected: float
) -> None:
    images = torch.tensor([[1, 0], [0, 1], [0.5**0.5, 0.5**0.5]], dtype=torch.float64)
    texts = torch.tensor([[0.8, 0.6], [0, 1], [1, 0]], dtype=torch.float64)

    loss = _loss((images, texts), scale, bias, kind=kind)

    assert loss.item() == pytest.approx(expected, abs=5e-7)


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


@pytest.mark.parametrize(("num", "expected"), [(256, 10.0116), (1024, 10.0465)])
def test_the_sigmoid_loss_starts_where_siglip_does(num: int, expected: float) -> None:
    """Features of a new model are near-orthogonal, also those of a pair: every logit is -10."""
    axes = torch.eye(2 * num, dtype=torch.float64)
    features = axes[:num], axes[num:]
    assert _loss(features, 10, -10.0, kind="sigmoid").item() == pytest.approx(expected, abs=5e-5)


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
    units = [torch.nn.functional.normalize(part, dim=-1) for part in features]
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
    prefixes = [
        [torch.nn.functional.normalize(f[:, :dim], dim=-1) for f in features] for dim in (2, 5, 12)
    ]
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
