"""What a style does to features, by least squares, and the classes that it is done to."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recipe.batches import HeadBatches, TrainingData
from recipe.settings import Settings
from recipe.styled_classes import StyledClasses, StyleShift
from recipe.synthetic import FEATURE_LIMIT, SyntheticFeatures
from recipe.trunk import NUM_CLASSES, NUM_FEATURES


def test_the_line_of_each_feature_is_numpys_but_for_the_ridge() -> None:
    """With a tenth of the variance added, the slope is 1 / 1.1 of the least-squares one."""
    plain, styled = torch.rand(50, 3, dtype=torch.double), torch.rand(50, 3, dtype=torch.double)
    styled = styled + plain * torch.tensor([2.0, -1.0, 0.5])
    shift = StyleShift.fit([plain], [styled])
    for feature in range(3):
        slope, _ = np.polyfit(plain[:, feature], styled[:, feature], 1)
        assert float(shift.slopes[0, feature]) == pytest.approx(slope / 1.1, rel=1e-3)
        line = shift.slopes[0, feature] * plain[:, feature] + shift.intercepts[0, feature]
        assert float(line.mean()) == pytest.approx(float(styled[:, feature].mean()))
        left = shift.residuals[0, :, feature] + line
        assert torch.allclose(left, styled[:, feature])


def test_a_feature_that_never_varies_keeps_to_the_mean() -> None:
    shift = StyleShift.fit([torch.zeros(9, 2)], [torch.rand(9, 2) + 1])
    assert torch.equal(shift.slopes, torch.zeros(1, 2))


def test_a_class_comes_in_several_styles_with_the_captions_of_those() -> None:
    """Features and texts that say which class and style they are of."""
    mean = torch.zeros(NUM_FEATURES)
    class_means = torch.zeros(NUM_CLASSES, NUM_FEATURES)
    class_means[:, 0] = torch.arange(NUM_CLASSES) / NUM_CLASSES
    synthetic = SyntheticFeatures(mean, class_means, torch.zeros(1, NUM_FEATURES))
    intercepts = torch.zeros(5, NUM_FEATURES)
    intercepts[:, 1] = torch.arange(5.0)
    shift = StyleShift(torch.ones(5, NUM_FEATURES), intercepts, torch.zeros(5, 1, NUM_FEATURES))
    texts = torch.stack(
        torch.meshgrid(torch.arange(5), torch.arange(NUM_CLASSES), indexing="ij"), -1
    )
    classes = StyledClasses(synthetic, shift, texts)
    features, captions = classes.draw(12, 3, torch.Generator().manual_seed(0))
    assert features.shape == (12, NUM_FEATURES)
    assert features[:, 1].tolist() == captions[:, 0].tolist()
    numbers = captions[:, 1].view(4, 3)
    assert (numbers == numbers[:, :1]).all()
    for styles in captions[:, 0].view(4, 3).tolist():
        assert len(set(styles)) == 3
    strength = features[:, 0] / (captions[:, 1] / NUM_CLASSES)
    assert ((strength > 0.59) & (strength < 1.41)).all()
    assert features.max() <= FEATURE_LIMIT


def test_they_stand_behind_the_pictures_and_match_only_themselves(
    data: TrainingData, settings: Settings
) -> None:
    draws = replace(settings.draws, styled_classes=8)
    batch = next(HeadBatches(data, draws, batch_size=20, seed=0).after(0))
    without = next(HeadBatches(data, settings.draws, batch_size=20, seed=0).after(0))
    assert batch.pictures.shape == (40, NUM_FEATURES)
    assert torch.equal(batch.matches[:32, :32], without.matches)
    assert torch.equal(batch.matches[32:, 32:], torch.eye(8, dtype=torch.bool))
    assert not batch.matches[:32, 32:].any()
    assert not batch.matches[32:, :32].any()
