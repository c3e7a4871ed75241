"""The image head: class units written down from the classifier, free units learned from drawings.

Shapes: N pictures, F = 1280 features, C = 1000 classes, K free units, D = 384 dimensions.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from recipe.texts import TEXT_WIDTH
from recipe.trunk import NUM_CLASSES, NUM_FEATURES

CLASS_SCALE = 10.0  # keeps the written weights of the order of one; the cosine removes it again
_FREE_INPUT_SCALE = 0.35
_FREE_BIAS = -3.0
_FREE_OUTPUT_SCALE = 0.05


@dataclass(frozen=True)
class HeadConfig:
    """The size of the head and where it starts."""

    num_free_units: int = 640
    low_threshold: float = 2.5  # a class unit opens where the trunk's logit passes it
    high_threshold: float = 6.0  # the second unit of the class adds to it above this logit
    low_weight: float = 1.0
    high_weight: float = 4.0


class Head(nn.Module):
    """Trunk features to the text space: fc2(GELU(fc1(features))), and a linear map for texts.

    Every class has two units whose input weights are the classifier's row and whose output is the
    class's text embedding. Their sum rises like a convex function of the logit, so the head mixes
    text embeddings much as ConSE does with softmax probabilities, within the two matrices that
    open_clip's ``mlp`` projection offers.
    """

    def __init__(
        self, class_weight: Tensor, class_bias: Tensor, prototypes: Tensor, config: HeadConfig
    ) -> None:
        """Write the class units.

        Args:
            class_weight: The trunk's classifier, shape (C, F).
            class_bias: Its bias, shape (C,).
            prototypes: One text embedding per class, shape (C, 384), norm 1.
            config: Sizes and starting values.
        """
        super().__init__()
        self.config = config
        self.class_weight: Tensor
        self.class_bias: Tensor
        self.centred_prototypes: Tensor
        self.register_buffer("class_weight", class_weight)
        self.register_buffer("class_bias", class_bias)
        self.register_buffer("centred_prototypes", prototypes - prototypes.mean(0))
        self.text_map = nn.Parameter(torch.eye(TEXT_WIDTH))
        self.low_threshold = nn.Parameter(torch.full((NUM_CLASSES,), config.low_threshold))
        self.high_threshold = nn.Parameter(torch.full((NUM_CLASSES,), config.high_threshold))
        self.low_weight = nn.Parameter(torch.full((NUM_CLASSES,), config.low_weight))
        self.high_weight = nn.Parameter(torch.full((NUM_CLASSES,), config.high_weight))
        self.free_input = nn.Linear(NUM_FEATURES, config.num_free_units)
        self.free_output = nn.Linear(config.num_free_units, TEXT_WIDTH, bias=False)

    @torch.no_grad()
    def start_free_units(self, examples: Tensor, mean: Tensor, deviation: Tensor) -> None:
        """Point each free unit at one example.

        Args:
            examples: Features of K pictures, shape (K, F).
            mean: Mean feature of the training pictures, shape (F,).
            deviation: Their standard deviation, shape (F,).
        """
        directions = normalize((examples - mean) / deviation, dim=-1)
        self.free_input.weight.copy_(directions / deviation * _FREE_INPUT_SCALE)
        self.free_input.bias.copy_(_FREE_BIAS - self.free_input.weight @ mean)
        self.free_output.weight.mul_(_FREE_OUTPUT_SCALE)

    def class_outputs(self) -> Tensor:
        """Return where the text map puts the centred class prototypes, shape (C, 384)."""
        return self.centred_prototypes @ self.text_map.T

    def class_logits(self, features: Tensor) -> Tensor:
        """Return the trunk's ImageNet logits, shape (N, C)."""
        return features @ self.class_weight.T + self.class_bias

    def embed_images(self, features: Tensor) -> Tensor:
        """Return image embeddings, shape (N, 384), rows of norm 1."""
        return self.embed_with_logits(features, self.class_logits(features), self.class_outputs())

    def embed_with_logits(self, features: Tensor, logits: Tensor, outputs: Tensor) -> Tensor:
        """Return image embeddings where logits and class outputs are known already."""
        opened = self.low_weight * gelu(logits - self.low_threshold)
        opened = opened + self.high_weight * gelu(logits - self.high_threshold)
        embeddings = opened @ outputs / CLASS_SCALE
        if self.config.num_free_units:
            embeddings = embeddings + self.free_output(gelu(self.free_input(features)))
        return normalize(embeddings, dim=-1)

    def embed_texts(self, texts: Tensor) -> Tensor:
        """Return text embeddings from MiniLM's, shape (T, 384), rows of norm 1."""
        return normalize(texts @ self.text_map.T, dim=-1)

    @torch.no_grad()
    def projection(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return fc1's weight (2C + K, F) and bias (2C + K,), and fc2's weight (384, 2C + K)."""
        bias = torch.cat(
            [
                self.class_bias - self.low_threshold,
                self.class_bias - self.high_threshold,
                self.free_input.bias,
            ]
        )
        weight = torch.cat([self.class_weight, self.class_weight, self.free_input.weight])
        outputs = self.class_outputs().T / CLASS_SCALE
        second = torch.cat(
            [outputs * self.low_weight, outputs * self.high_weight, self.free_output.weight], dim=1
        )
        return weight, bias, second


def average_heads(heads: Sequence[Head]) -> Head:
    """Return a new head whose weights are the means of those of trained heads.

    Args:
        heads: Of the same start: the mean of others is of no use.

    Source:
        Wortsman et al. 2022 (arXiv 2203.05482), the uniform soup.
    """
    mean = copy.deepcopy(heads[0])
    states = [head.state_dict() for head in heads]
    mean.load_state_dict(
        {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
    )
    return mean
