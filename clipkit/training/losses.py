"""What training makes small: how badly pictures and texts find each other in the global batch.

Every process takes its own rows against the columns of all processes. The mean of the processes'
losses is the loss of the global batch, and the mean of their gradients its gradient.

Shapes: B pairs of one process, N pairs of all processes, D dimensions, R <= B rows at once.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from clipkit.errors import InputError
from clipkit.training.batch import Batch
from clipkit.training.config import LossConfig
from clipkit.training.contrast import Contrast, sum_over_rows
from clipkit.training.distillation import feature_distance, soft_cross_entropy
from clipkit.training.ranks import Ranks
from clipkit.training.trained_towers import Representations


class ContrastiveLoss:
    """InfoNCE or the sigmoid loss of pairs, and with a teacher what is learnt from it.

    Pairs with the same caption or the same picture are no negatives of each other: InfoNCE leaves
    them out, the sigmoid loss counts them as matches. Everything is computed in float32 (float64
    stays), whatever the towers computed in.

    Args:
        config: Which losses, and their weights.
        ranks: The processes of the run.
        teacher_logit_scale: Natural log of the teacher's multiplier of cosines; None: no teacher.
    """

    def __init__(
        self, config: LossConfig, ranks: Ranks, *, teacher_logit_scale: float | None = None
    ) -> None:
        self.ranks = ranks
        self._config = config
        self._teacher_logit_scale = teacher_logit_scale

    def __call__(self, representations: Representations, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and its parts.

        Args:
            representations: What the trained towers make of the batch.
            batch: Its keys, and what the teacher makes of it.

        Returns:
            "loss", the weighted sum; "contrastive_loss", the mean over the prefixes of the space
            if there are some; with a teacher "feature_loss" and "logit_loss". Each of shape ().

        Raises:
            InputError: If a prefix is longer than the space, or the teacher's features are missing.
        """
        with torch.autocast(batch.device.type, enabled=False):
            contrast = Contrast.gather(
                (representations.image_features, representations.text_features),
                representations.logit_scale,
                representations.logit_bias,
                self.ranks,
            )
            losses = {"contrastive_loss": self._contrastive(contrast, batch)}
            loss = self._config.contrastive_weight * losses["contrastive_loss"]
            if self._teacher_logit_scale is not None:
                losses |= self._distillation(representations, contrast, batch)
                loss = loss + self._config.feature_weight * losses["feature_loss"]
                loss = loss + self._config.logit_weight * losses["logit_loss"]
        return {"loss": loss, **losses}

    def _contrastive(self, contrast: Contrast, batch: Batch) -> Tensor:
        dims = sorted({*self._config.matryoshka_dims, contrast.dim})
        if dims[-1] > contrast.dim:
            raise InputError(
                f"loss.matryoshka_dims must be at most {contrast.dim}, the size of the space, "
                f"got {dims[-1]}"
            )
        keys = torch.stack((batch.caption_keys, batch.picture_keys), dim=1)
        pairs = _Pairs(keys, self.ranks)
        of_pairs = {"infonce": _infonce, "sigmoid": _sigmoid}[self._config.kind]
        prefixes = (contrast.embeddings(dim) for dim in dims)
        losses = [of_pairs(prefix, pairs, self._config.row_chunk) for prefix in prefixes]
        return torch.stack(losses).mean()

    def _distillation(
        self, representations: Representations, contrast: Contrast, batch: Batch
    ) -> dict[str, Tensor]:
        if batch.teacher is None or self._teacher_logit_scale is None:
            raise InputError("this loss has a teacher, so a batch needs the teacher's features")
        features = (batch.teacher.image_features.detach(), batch.teacher.text_features.detach())
        logit_scale = torch.tensor(self._teacher_logit_scale, device=batch.device)
        teacher = Contrast.gather(features, logit_scale, None, self.ranks)
        teacher = teacher.embeddings(teacher.dim)
        images, texts = representations.in_teacher_space(contrast.images.dtype)
        student = contrast.embeddings(contrast.dim)
        return {
            "feature_loss": feature_distance(images, texts, teacher),
            "logit_loss": soft_cross_entropy(student, teacher, self._config.row_chunk),
        }


class _Pairs:
    """Which of all pairs is a row's own, and which must not count as its negatives."""

    def __init__(self, keys: Tensor, ranks: Ranks) -> None:
        self.keys = keys  # (B, 2): of the caption and of the picture
        self._all_keys = ranks.gather(keys)
        self.own = torch.arange(len(keys), device=keys.device) + ranks.rank * len(keys)  # (B,)

    def are_same(self, keys: Tensor) -> Tensor:
        """Return which pairs have the caption or the picture of the rows; (R, N) of bool."""
        caption, picture = keys.unbind(dim=1)
        all_captions, all_pictures = self._all_keys.unbind(dim=1)
        return (caption[:, None] == all_captions) | (picture[:, None] == all_pictures)


def _infonce(contrast: Contrast, pairs: _Pairs, row_chunk: int) -> Tensor:
    """Return open_clip's ``ClipLoss`` (Radford et al. 2021, figure 3), equal pairs left out."""

    def loss_with(logits_of: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
        def loss_of(rows: Tensor, keys: Tensor, own: Tensor) -> Tensor:
            left_out = pairs.are_same(keys).scatter(1, own[:, None], value=False)
            logits = logits_of(rows).masked_fill(left_out, -torch.inf)
            return cross_entropy(logits, own, reduction="sum")

        return loss_of

    marks = (pairs.keys, pairs.own)
    per_image = loss_with(contrast.logits_per_image)
    per_text = loss_with(contrast.logits_per_text)
    total = sum_over_rows(per_image, (contrast.images, *marks), row_chunk)
    total = total + sum_over_rows(per_text, (contrast.texts, *marks), row_chunk)
    return total / (2 * len(contrast.images))


def _sigmoid(contrast: Contrast, pairs: _Pairs, row_chunk: int) -> Tensor:
    """Return open_clip's ``SigLipLoss`` (Zhai et al. 2023): a sum over texts, mean over images."""

    def loss_of(rows: Tensor, keys: Tensor) -> Tensor:
        logits = contrast.logits_per_image(rows)
        return -logsigmoid(torch.where(pairs.are_same(keys), logits, -logits)).sum()

    total = sum_over_rows(loss_of, (contrast.images, pairs.keys), row_chunk)
    return total / len(contrast.images)
