"""Photo-like trunk features of every class, made without photographs of the classes.

Shapes: N samples, F = 1280 features, C = 1000 classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recipe.trunk import NUM_CLASSES, NUM_FEATURES, Trunk

FEATURE_LIMIT = 6.0  # the trunk ends in ReLU6
_RIDGE = 0.01
_CLASS_DISTANCE = 1.3  # of a class mean from the mean, in mean distances of a crop


@dataclass(frozen=True)
class SyntheticFeatures:
    """A linear-Gaussian picture of the features: class means through their covariance.

    If all classes share one covariance S, the classifier that separates them best has the weights
    S^-1 (m_c - m); so m + S (w_c - w) points where features of class c lie.

    Source:
        Fisher's linear discriminant, read backwards: own.
    """

    mean: Tensor  # (F,)
    class_means: Tensor  # (C, F)
    residuals: Tensor  # (M, F): real variation around the mean

    def draw_of(self, classes: Tensor, random: torch.Generator) -> Tensor:
        """Return features of the given classes, shape (N, F), with the variation of crops."""
        rows = torch.randint(len(self.residuals), (len(classes),), generator=random)
        strength = 0.6 + 0.8 * torch.rand(len(classes), 1, generator=random)
        noise = torch.rand(len(classes), 1, generator=random) * self.residuals[rows]
        direction = strength * (self.class_means[classes] - self.mean)
        return (self.mean + direction + noise).clamp(0, FEATURE_LIMIT)

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """Return features of random classes, some with a second class mixed in, shape (N, F)."""
        classes = torch.randint(NUM_CLASSES, (2, count), generator=random)
        first, second = (self.class_means[row] - self.mean for row in classes)
        strength = 0.5 + 0.9 * torch.rand(count, 1, generator=random)
        share = 0.5 * torch.rand(count, 1, generator=random) ** 2
        rows = torch.randint(len(self.residuals), (count,), generator=random)
        direction = strength * ((1 - share) * first + share * second)
        noise = torch.rand(count, 1, generator=random) * self.residuals[rows]
        return (self.mean + direction + noise).clamp(0, FEATURE_LIMIT)


def build_synthetic_features(trunk: Trunk, crops: Tensor, composites: Tensor) -> SyntheticFeatures:
    """Return the generator from crops of photographs and drawings pasted on photographs."""
    mean = crops.mean(0)
    real = torch.cat([crops, composites])
    covariance = torch.cov(real.T) + _RIDGE * torch.eye(NUM_FEATURES)
    directions = (trunk.class_weight - trunk.class_weight.mean(0)) @ covariance
    typical = (crops - mean).norm(dim=1).mean() / directions.norm(dim=1).mean()
    class_means = (mean + _CLASS_DISTANCE * typical * directions).clamp(0, FEATURE_LIMIT)
    return SyntheticFeatures(mean, class_means, real - mean)
