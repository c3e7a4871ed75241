"""Features of ImageNet's classes in other photographic styles, made without photographs of them.

What a style does to features is read off the rendered training pictures and done to the synthetic
features of a class: so a thousand things are learnt in every style, not only those rendered.

Shapes: S styles, C = 1000 classes, F = 1280 features, M residuals of a style, D = 384 dimensions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recipe.imagenet import ClassTexts
from recipe.pairs import PHOTOGRAPH, SCENE, Pairs
from recipe.styles import STYLES
from recipe.synthetic import FEATURE_LIMIT, SyntheticFeatures
from recipe.texts import TextStore
from recipe.trunk import NUM_CLASSES

_RIDGE = 0.1  # of a feature's variance: features that hardly vary keep to the mean


@dataclass(frozen=True)
class StyleShift:
    """What each style does to a feature: a slope, an intercept, and what these leave over."""

    slopes: Tensor  # (S, F)
    intercepts: Tensor  # (S, F)
    residuals: Tensor  # (S, M, F)

    @classmethod
    def fit(cls, plain: Sequence[Tensor], styled: Sequence[Tensor]) -> StyleShift:
        """Return the least-squares line of every feature in every style.

        Args:
            plain: For each style the features of things as they are, shape (N, F).
            styled: For each style the features of the same things in it, shape (N, F).
        """
        slopes, intercepts, residuals = [], [], []
        for before, after in zip(plain, styled, strict=True):
            mean, target = before.mean(0), after.mean(0)
            variance = before.var(0, correction=0)
            covariance = ((before - mean) * (after - target)).mean(0)
            slope = covariance / (variance * (1 + _RIDGE) + 1e-6)
            slopes.append(slope)
            intercepts.append(target - slope * mean)
            residuals.append(after - before * slope - intercepts[-1])
        count = min(map(len, residuals))
        return cls(
            torch.stack(slopes),
            torch.stack(intercepts),
            torch.stack([rows[:count] for rows in residuals]),
        )

    def apply(self, features: Tensor, styles: Tensor, random: torch.Generator) -> Tensor:
        """Return features (N, F) in the given styles (N,), with chance variation."""
        rows = torch.randint(self.residuals.shape[1], (len(styles),), generator=random)
        shifted = features * self.slopes[styles] + self.intercepts[styles]
        share = torch.rand(len(styles), 1, generator=random)
        return (shifted + share * self.residuals[styles, rows]).clamp(0, FEATURE_LIMIT)


@dataclass(frozen=True)
class StyledClasses:
    """Draws pairs of a class in a style and its caption."""

    synthetic: SyntheticFeatures
    shift: StyleShift
    texts: Tensor  # (S, C, D)

    def draw(self, count: int, per_set: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return features and texts; each drawn class comes in several styles.

        Returns:
            Shapes (count, F) and (count, D).
        """
        classes = torch.randint(NUM_CLASSES, (count // per_set,), generator=random)
        chance = torch.rand(len(classes), len(self.texts), generator=random)
        styles = chance.argsort(1)[:, :per_set].flatten()
        classes = classes.repeat_interleave(per_set)
        features = self.synthetic.draw_of(classes, random)
        return self.shift.apply(features, styles, random), self.texts[styles, classes]


def fit_style_shift(pairs: Pairs) -> StyleShift:
    """Return what styles do, from images that are there plainly and in a style."""
    plain, styled = [], []
    is_plain = (pairs.styles < 0) & ((pairs.kinds == SCENE) | (pairs.kinds == PHOTOGRAPH))
    sums = torch.zeros(int(pairs.sets.max()) + 1, pairs.features.shape[1])
    sums.index_add_(0, pairs.sets[is_plain], pairs.features[is_plain])
    counts = pairs.sets[is_plain].bincount(minlength=len(sums))
    for style in range(len(STYLES)):
        rows = ((pairs.styles == style) & (counts[pairs.sets] > 0)).nonzero()[:, 0]
        sets = pairs.sets[rows]
        plain.append(sums[sets] / counts[sets, None])
        styled.append(pairs.features[rows])
    return StyleShift.fit(plain, styled)


def style_captions(texts: Sequence[ClassTexts]) -> list[list[str]]:
    """Return for each style one caption of every class, in its everyday name if it has one."""
    draw = random.Random("styled classes")
    names = [(t.everyday_names or (t.name,))[0] for t in texts]
    return [[draw.choice(style.templates).format(name) for name in names] for style in STYLES]


def build_styled_classes(
    pairs: Pairs, synthetic: SyntheticFeatures, texts: Sequence[ClassTexts], store: TextStore
) -> StyledClasses:
    """Return the classes in all styles."""
    captions = style_captions(texts)
    store.add(caption for row in captions for caption in row)
    return StyledClasses(
        synthetic, fit_style_shift(pairs), torch.stack([store.embed(row) for row in captions])
    )
