"""Trained towers: frozen ones stay in eval mode, captions are computed in groups by length."""

from collections.abc import Callable

import pytest
import torch

from clipkit.training.trained_towers import TrainedTowers
from tests.reference import contrastive
from tests.training.conftest import make_batch

TowersOf = Callable[..., TrainedTowers]


def test_dropout_is_on_in_these_towers(towers_of: TowersOf) -> None:
    batch = make_batch(8)
    for kind, is_random in (("vit", (True, False)), ("bert", (True, True))):
        module = towers_of(kind)
        first, second = module(batch), module(batch)
        assert is_random[0] != torch.equal(first.image_features, second.image_features)
        assert is_random[1] != torch.equal(first.text_features, second.text_features)


@pytest.mark.parametrize("kind", ["vit", "bert", "resnet"])
def test_training_mode_leaves_a_tower_alone_that_is_locked_as_a_whole(
    towers_of: TowersOf, kind: str
) -> None:
    module = towers_of(kind)
    model = module.towers.model
    assert module.train().is_image_fixed is module.is_text_fixed is False
    model.visual.requires_grad_(False)
    assert module.train().is_image_fixed and not module.is_text_fixed
    assert not any(part.training for part in model.visual.modules())
    next(model.visual.parameters()).requires_grad_(True)  # one group is not locked
    assert not module.train().is_image_fixed
    assert all(part.training for part in model.visual.modules())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("visual."))
    assert module.train().is_text_fixed and not module.is_image_fixed


@pytest.mark.parametrize("num", [31, 63, 64, 100])
@pytest.mark.parametrize("kind", ["vit", "bert"])
def test_many_captions_give_the_features_and_gradients_of_each_alone(
    towers_of: TowersOf, kind: str, num: int
) -> None:
    """They are computed by length; dropout would make each call another."""
    module, batch = towers_of(kind).eval(), make_batch(num)
    assert batch.token_ids is not None
    weights = torch.randn(num, 24, dtype=torch.float64)
    expected = torch.cat(
        [module.towers.text_features(row) for row in torch.split(batch.token_ids, 1)]
    )
    expected_gradient = contrastive.gradients(module, (expected * weights).sum())
    lengths: list[int] = []
    tower = module.towers.model.transformer if kind == "vit" else module.towers.model.text
    tower.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))

    texts = module(batch).text_features

    assert torch.allclose(texts, expected, rtol=1e-10, atol=1e-12)
    gradient = contrastive.gradients(module, (texts * weights).sum())
    assert contrastive.largest_difference(gradient, expected_gradient) <= 1e-10
    assert len(lengths) == max(num // 32, 1) and lengths == sorted(lengths)
    assert lengths[-1] == int((batch.token_ids != 0).sum(dim=1).max())  # not all 16 columns
    assert num < 64 or lengths[0] < 10
