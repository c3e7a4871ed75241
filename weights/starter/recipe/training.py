"""Training of the head on cached features: 300 steps, half a minute on one core.

Shapes: B pairs in a batch, C = 1000 classes, H concepts, F = 1280 features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from recipe.concepts import Concepts
from recipe.head import Head
from recipe.pairs import COMPOSITE, DRAWING, SCENE, Pairs
from recipe.synthetic import FEATURE_LIMIT, SyntheticFeatures
from recipe.trunk import Trunk


@dataclass(frozen=True)
class TrainingConfig:
    """How the head is trained."""

    num_steps: int = 300
    batch_size: int = 192
    learning_rate: float = 1e-3
    contrastive: float = 1.0
    class_distillation: float = 0.5  # KL to the trunk's own 1000-way softmax
    concept_loss: float = 0.5  # binary cross-entropy over wider concepts
    num_concepts: int = 800  # drawn anew in every step
    conse_pull: float = 5.0  # 1 - cosine to ConSE on photo-like features
    drawing_pull: float = 2.0  # the same on drawings
    text_map_pull: float = 0.02  # squared distance of the text map to the identity
    conse_exponent: float = 0.8
    drawing_exponent: float = 0.6
    share_of_composites: float = 0.3
    share_of_scenes: float = 0.1
    share_of_tags: float = 0.25
    feature_noise: float = 0.3
    leave_out_validation: bool = False  # while settings are chosen


@dataclass(frozen=True)
class TrainingData:
    """Everything the loop draws from."""

    trunk: Trunk
    pairs: Pairs
    concepts: Concepts
    synthetic: SyntheticFeatures


class _Scales(nn.Module):
    """Learned logarithms of the losses' logit scales; only the head is shipped."""

    def __init__(self) -> None:
        super().__init__()
        self.pair_log_scale = nn.Parameter(torch.tensor(3.2))
        self.class_log_scale = nn.Parameter(torch.tensor(3.0))
        self.concept_bias = nn.Parameter(torch.tensor(-6.0))


def train_head(head: Head, data: TrainingData, config: TrainingConfig, *, seed: int) -> None:
    """Train the head in place."""
    torch.manual_seed(seed)
    allowed = _allowed_pictures(data.pairs, config)
    _start_free_units(head, data.pairs, allowed)
    scales = _Scales()
    optimizer = _optimizer(head, scales, config)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        total_steps=config.num_steps,
        pct_start=0.1,
    )
    for _ in range(config.num_steps):
        loss = _loss(head, scales, data, config, allowed)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


@dataclass(frozen=True)
class _Allowed:
    """Rows of the pairs that may be drawn."""

    drawings: Tensor
    composites: Tensor
    scenes: Tensor


def _allowed_pictures(pairs: Pairs, config: TrainingConfig) -> _Allowed:
    rows = torch.arange(len(pairs.features))
    if config.leave_out_validation:
        rows = rows[~pairs.is_validation]
    kinds = pairs.kinds[rows]
    return _Allowed(rows[kinds == DRAWING], rows[kinds == COMPOSITE], rows[kinds == SCENE])


def _start_free_units(head: Head, pairs: Pairs, allowed: _Allowed) -> None:
    count = head.config.num_free_units
    chosen = allowed.drawings[torch.randperm(len(allowed.drawings))[:count]]
    head.start_free_units(pairs.features[chosen], pairs.mean, pairs.deviation)


def _optimizer(head: Head, scales: _Scales, config: TrainingConfig) -> torch.optim.AdamW:
    rate = config.learning_rate
    class_units = [head.low_threshold, head.high_threshold, head.low_weight, head.high_weight]
    free_units = [*head.free_input.parameters(), *head.free_output.parameters()]
    groups = [
        {"params": class_units, "lr": 3 * rate, "weight_decay": 0.0},
        {"params": [*scales.parameters()], "lr": 3 * rate, "weight_decay": 0.0},
        {"params": free_units, "lr": rate, "weight_decay": 0.05},
        {"params": [head.text_map], "lr": 0.3 * rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def _loss(
    head: Head, scales: _Scales, data: TrainingData, config: TrainingConfig, allowed: _Allowed
) -> Tensor:
    """Return the weighted sum of all losses on one random batch."""
    pictures = _draw_pictures(allowed, config)
    pairs = _augment(data.pairs.features[pictures], data.pairs, config)  # (B, F)
    photographs = _draw_photo_like(data, config.batch_size)  # (B, F)
    features = torch.cat([pairs, photographs])
    logits = head.class_logits(features)
    outputs = head.class_outputs()
    embeddings = head.embed_with_logits(features, logits, outputs)
    of_pairs, of_photographs = embeddings[: len(pairs)], embeddings[len(pairs) :]
    pair_class_logits, photograph_class_logits = logits[: len(pairs)], logits[len(pairs) :]
    probabilities = photograph_class_logits.softmax(-1)
    class_scale = scales.class_log_scale.exp()

    texts = head.embed_texts(_draw_texts(data.pairs, pictures, config))
    pair_logits = of_pairs @ texts.T * scales.pair_log_scale.exp()
    loss: Tensor = config.contrastive * _contrastive(pair_logits, data.pairs.concepts[pictures])

    class_texts = head.embed_texts(data.concepts.draw_class_prompts())
    predicted = (of_photographs @ class_texts.T * class_scale).log_softmax(-1)
    loss = loss - config.class_distillation * (probabilities * predicted).sum(-1).mean()

    drawn = torch.randperm(len(data.concepts.members))[: config.num_concepts]
    concept_texts = head.embed_texts(data.concepts.draw_prompts(drawn))
    concept_logits = of_photographs @ concept_texts.T * class_scale + scales.concept_bias
    targets = (probabilities @ data.concepts.members[drawn].T).clamp(0, 1)
    per_concept = binary_cross_entropy_with_logits(concept_logits, targets, reduction="none")
    loss = loss + config.concept_loss * per_concept.sum(-1).mean() / 10

    outputs = outputs.detach()
    target = _conse(photograph_class_logits, outputs, config.conse_exponent)
    # Where ConSE is torn between classes its direction says little, so it counts less.
    certainty = (target.norm(dim=-1) / 0.35).clamp(0.2, 1)
    loss = loss + config.conse_pull * (certainty * _distance(target, of_photographs)).mean()
    target = _conse(pair_class_logits, outputs, config.drawing_exponent)
    loss = loss + config.drawing_pull * _distance(target, of_pairs).mean()
    identity = torch.eye(len(head.text_map))
    loss = loss + config.text_map_pull * ((head.text_map - identity) ** 2).sum()
    return loss


def _draw_pictures(allowed: _Allowed, config: TrainingConfig) -> Tensor:
    num_composites = int(config.batch_size * config.share_of_composites)
    num_scenes = int(config.batch_size * config.share_of_scenes)
    num_drawings = config.batch_size - num_composites - num_scenes
    return torch.cat(
        [
            _draw_rows(allowed.drawings, num_drawings),
            _draw_rows(allowed.composites, num_composites),
            _draw_rows(allowed.scenes, num_scenes),
        ]
    )


def _draw_rows(rows: Tensor, count: int) -> Tensor:
    return rows[torch.randint(len(rows), (count,))]


def _augment(features: Tensor, pairs: Pairs, config: TrainingConfig) -> Tensor:
    """Return features with another contrast and with noise, within the trunk's range."""
    scaled = features * _contrast(len(features))
    noise = config.feature_noise * pairs.deviation * torch.randn_like(features)
    return (scaled + noise).clamp(0, FEATURE_LIMIT)


def _contrast(count: int) -> Tensor:
    return 0.8 + 0.4 * torch.rand(count, 1)


def _draw_photo_like(data: TrainingData, count: int) -> Tensor:
    """Return synthetic features; a quarter is blended with crops, a quarter is only crops."""
    num_crops = count // 4
    crops = data.pairs.crops[torch.randint(len(data.pairs.crops), (num_crops,))]
    crops = crops * _contrast(num_crops)
    synthetic = data.synthetic.draw(count - num_crops)
    share = torch.rand(num_crops, 1) ** 2
    blended = synthetic[:num_crops] * (1 - share) + share * crops
    return torch.cat([blended, synthetic[num_crops:], crops])


def _draw_texts(pairs: Pairs, pictures: Tensor, config: TrainingConfig) -> Tensor:
    is_tag = torch.rand(len(pictures)) < config.share_of_tags
    rows = torch.where(is_tag, pairs.tags.draw(pictures), pairs.captions.draw(pictures))
    return pairs.texts[rows]


def _contrastive(logits: Tensor, concepts: Tensor) -> Tensor:
    """Return the symmetric contrastive loss where pictures of one concept share their texts.

    Source:
        Radford et al. 2021 (arXiv 2103.00020), figure 3, with the target spread over equal
        concepts as in Khosla et al. 2020 (arXiv 2004.11362), equation 2.
    """
    same = (concepts[:, None] == concepts[None]).float()
    targets = same / same.sum(1, keepdim=True)
    by_image = (targets * logits.log_softmax(1)).sum(1).mean()
    by_text = (targets * logits.T.log_softmax(1)).sum(1).mean()
    return -(by_image + by_text) / 2


def _conse(logits: Tensor, outputs: Tensor, exponent: float) -> Tensor:
    """Return the mean class output under the trunk's probabilities to a power, not normalised."""
    return (exponent * logits).softmax(-1) @ outputs


def _distance(target: Tensor, embeddings: Tensor) -> Tensor:
    """Return 1 - cosine for each row; the embeddings have norm 1."""
    return 1 - (normalize(target, dim=-1) * embeddings).sum(-1)
