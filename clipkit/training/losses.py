"""Contrastive losses (InfoNCE, SigLIP) and distillation losses over the global batch.

Every rank computes the logits of its own rows against the columns of all ranks. The mean of the
ranks' losses is the loss of the global batch, and the mean of their gradients its gradient.

Shapes: B pairs of one rank, N pairs of all ranks, R <= B rows at once, D dimensions of a space.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, mse_loss, normalize
from torch.utils.checkpoint import checkpoint

from clipkit.errors import InputError
from clipkit.training.batch import Batch
from clipkit.training.config import LossConfig
from clipkit.training.distributed import Ranks
from clipkit.training.loss_function import LossFunction, call_loss_function
from clipkit.training.trained_towers import Representations


@dataclass(frozen=True)
class GatheredFeatures:
    """Features of this rank's pairs and of all ranks' pairs, with the scale and bias of logits."""

    images: Tensor  # (B, D), any norm
    texts: Tensor  # (B, D), any norm
    all_images: Tensor  # (N, D)
    all_texts: Tensor  # (N, D)
    scale: Tensor | float  # multiplier of cosines, the inverse of the temperature
    bias: Tensor | None = None

    @classmethod
    def gather(
        cls,
        features: tuple[Tensor, Tensor],
        logit_scale: Tensor,
        logit_bias: Tensor | None,
        ranks: Ranks,
    ) -> "GatheredFeatures":
        """Gather the features of all ranks, in full precision.

        Args:
            features: Of images and of texts, each (B, D), any norm.
            logit_scale: Natural log of the multiplier of cosines, shape ().
            logit_bias: What is added to logits, shape (), or None.
            ranks: The ranks of the run.

        Returns:
            In float32, or in float64 if that is what comes in.
        """
        images, texts = (_full_precision(part) for part in features)
        bias = None if logit_bias is None else _full_precision(logit_bias)
        all_images = ranks.all_gather_with_gradient(images)
        all_texts = ranks.all_gather_with_gradient(texts)
        scale = _full_precision(logit_scale).exp()
        return cls(images, texts, all_images, all_texts, scale, bias)

    @property
    def dim(self) -> int:
        """D, the size of the space."""
        return self.images.shape[1]

    def embeddings(self, dim: int) -> "GatheredFeatures":
        """Return the first ``dim`` coordinates, every row normalised to norm 1 (Matryoshka)."""
        return GatheredFeatures(
            normalize(self.images[:, :dim], dim=-1),
            normalize(self.texts[:, :dim], dim=-1),
            normalize(self.all_images[:, :dim], dim=-1),
            normalize(self.all_texts[:, :dim], dim=-1),
            self.scale,
            self.bias,
        )

    def logits_per_image(self, images: Tensor) -> Tensor:
        """Return logits of image embeddings (R, D) with all texts, shape (R, N)."""
        return self._logits(images, self.all_texts)

    def logits_per_text(self, texts: Tensor) -> Tensor:
        """Return logits of text embeddings (R, D) with all images, shape (R, N)."""
        return self._logits(texts, self.all_images)

    def _logits(self, rows: Tensor, columns: Tensor) -> Tensor:
        logits = self.scale * (rows @ columns.T)
        return logits if self.bias is None else logits + self.bias


class ContrastiveLoss:
    """InfoNCE or the sigmoid loss of pairs, and with a teacher the distillation losses.

    Pairs with the same caption or the same image are no negatives of each other: InfoNCE masks
    them out, the sigmoid loss counts them as positives. Everything is computed in float32 (float64
    stays), whatever the towers computed in.

    Args:
        config: Which losses, and their weights.
        ranks: The ranks of the run.
        teacher_logit_scale: Natural log of the teacher's multiplier of cosines; None: no teacher.
        function: What to compute instead of InfoNCE or the sigmoid loss; None: those.
    """

    def __init__(
        self,
        config: LossConfig,
        ranks: Ranks,
        *,
        teacher_logit_scale: float | None = None,
        function: LossFunction | None = None,
    ) -> None:
        self.ranks = ranks
        self._function = function
        self._config = config
        self._teacher_logit_scale = teacher_logit_scale

    def __call__(self, representations: Representations, batch: Batch) -> dict[str, Tensor]:
        """Return the loss and its parts.

        Args:
            representations: What the trained towers make of the batch.
            batch: Its keys, and the teacher's features.

        Returns:
            "loss", the weighted sum; "contrastive_loss", the mean over the prefixes of the space
            if there are some; with a teacher "feature_loss" and "logit_loss"; what else a loss of
            one's own returns. Each of shape ().

        Raises:
            InputError: If a prefix is longer than the space, the teacher's features are missing, or
                a loss of one's own returns what is none.
        """
        with torch.autocast(batch.device.type, enabled=False):
            student = GatheredFeatures.gather(
                (representations.image_features, representations.text_features),
                representations.logit_scale,
                representations.logit_bias,
                self.ranks,
            )
            if self._function is None:
                losses = {"contrastive_loss": self._contrastive(student, batch)}
            else:
                losses = self._own(self._function, student, batch)
            loss = self._config.contrastive_weight * losses["contrastive_loss"]
            if self._teacher_logit_scale is not None:
                losses |= self._distillation(representations, student, batch)
                loss = loss + self._config.feature_weight * losses["feature_loss"]
                loss = loss + self._config.logit_weight * losses["logit_loss"]
        return {"loss": loss, **losses}

    def _contrastive(self, features: GatheredFeatures, batch: Batch) -> Tensor:
        dims = sorted({*self._config.matryoshka_dims, features.dim})
        if dims[-1] > features.dim:
            raise InputError(
                f"loss.matryoshka_dims must be at most {features.dim}, the size of the space, "
                f"got {dims[-1]}"
            )
        targets = _Targets.of(batch, self.ranks)
        loss_of = {"infonce": _infonce, "sigmoid": _sigmoid}[self._config.kind]
        prefixes = (features.embeddings(dim) for dim in dims)
        losses = [loss_of(prefix, targets, self._config.row_chunk) for prefix in prefixes]
        return torch.stack(losses).mean()

    def _own(
        self, function: LossFunction, features: GatheredFeatures, batch: Batch
    ) -> dict[str, Tensor]:
        """Return a loss of one's own of all ranks' pairs, which each rank computes.

        The gradients of the ranks' rows are summed, and those of their weights averaged: so each
        is counted once, as for the loss above.
        """
        whole = features.embeddings(features.dim)
        targets = _Targets.of(batch, self.ranks)
        positives = targets.are_same(targets.all_keys)
        loss, numbers = call_loss_function(
            function, whole.all_images, whole.all_texts, torch.as_tensor(whole.scale), positives
        )
        # Whatever a loss leaves out has a gradient of zero: DDP and FSDP wait for one of each.
        every = (features.images, features.texts, features.scale, features.bias)
        zeros = [0 * part.sum() for part in every if isinstance(part, Tensor)]
        return {"contrastive_loss": loss + torch.stack(zeros).sum(), **numbers}

    def _distillation(
        self, representations: Representations, student: GatheredFeatures, batch: Batch
    ) -> dict[str, Tensor]:
        if batch.teacher is None or self._teacher_logit_scale is None:
            raise InputError("this loss has a teacher, so a batch needs the teacher's features")
        features = (batch.teacher.image_features.detach(), batch.teacher.text_features.detach())
        logit_scale = torch.tensor(self._teacher_logit_scale, device=batch.device)
        teacher = GatheredFeatures.gather(features, logit_scale, None, self.ranks)
        teacher = teacher.embeddings(teacher.dim)
        images, texts = representations.in_teacher_space(student.images.dtype)
        student = student.embeddings(student.dim)
        return {
            "feature_loss": feature_distance(images, texts, teacher),
            "logit_loss": soft_cross_entropy(student, teacher, self._config.row_chunk),
        }


class _Targets:
    """Which column of the logits is a row's own pair, and which are no negatives of it."""

    def __init__(self, keys: Tensor, ranks: Ranks) -> None:
        self.keys = keys  # (B, 2): of the caption and of the image
        self.all_keys = ranks.all_gather(keys)  # (N, 2)
        self.labels = torch.arange(len(keys), device=keys.device) + ranks.rank * len(keys)  # (B,)

    @classmethod
    def of(cls, batch: Batch, ranks: Ranks) -> "_Targets":
        """Return the targets of a batch; all ranks call this."""
        return cls(torch.stack((batch.caption_keys, batch.image_keys), dim=1), ranks)

    def are_same(self, keys: Tensor) -> Tensor:
        """Return which columns have the caption or the image of the rows; (R, N) of bool."""
        caption, image = keys.unbind(dim=1)
        all_captions, all_images = self.all_keys.unbind(dim=1)
        return (caption[:, None] == all_captions) | (image[:, None] == all_images)


def _infonce(embeddings: GatheredFeatures, targets: _Targets, row_chunk: int) -> Tensor:
    """Return open_clip's ``ClipLoss`` (Radford et al. 2021, figure 3), false negatives masked."""

    def loss_with(logits_of: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
        def loss_of(rows: Tensor, keys: Tensor, labels: Tensor) -> Tensor:
            false_negatives = targets.are_same(keys).scatter(1, labels[:, None], value=False)
            logits = logits_of(rows).masked_fill(false_negatives, -torch.inf)
            return cross_entropy(logits, labels, reduction="sum")

        return loss_of

    of_rows = (targets.keys, targets.labels)
    per_image = loss_with(embeddings.logits_per_image)
    per_text = loss_with(embeddings.logits_per_text)
    total = _sum_over_rows(per_image, (embeddings.images, *of_rows), row_chunk)
    total = total + _sum_over_rows(per_text, (embeddings.texts, *of_rows), row_chunk)
    return total / (2 * len(embeddings.images))


def _sigmoid(embeddings: GatheredFeatures, targets: _Targets, row_chunk: int) -> Tensor:
    """Return open_clip's ``SigLipLoss`` (Zhai et al. 2023): a sum over texts, mean over images."""

    def loss_of(rows: Tensor, keys: Tensor) -> Tensor:
        logits = embeddings.logits_per_image(rows)
        return -logsigmoid(torch.where(targets.are_same(keys), logits, -logits)).sum()

    total = _sum_over_rows(loss_of, (embeddings.images, targets.keys), row_chunk)
    return total / len(embeddings.images)


def feature_distance(images: Tensor, texts: Tensor, teacher: GatheredFeatures) -> Tensor:
    """Return the mean squared difference of coordinates, of images plus of texts.

    Args:
        images: The student's image features in the teacher's space, shape (B, D), any norm.
        texts: Its text features, likewise.
        teacher: The teacher's embeddings of the same pairs.

    Returns:
        Shape (), 0..8 / D: a squared distance of points of norm 1, over D, twice.

    Source:
        FD of CLIP-KD (arXiv 2307.12732), which weighs it by 2000.
    """
    return mse_loss(normalize(images, dim=-1), teacher.images) + mse_loss(
        normalize(texts, dim=-1), teacher.texts
    )


def soft_cross_entropy(
    student: GatheredFeatures, teacher: GatheredFeatures, row_chunk: int
) -> Tensor:
    """Return the cross-entropy of the student's softmax to the teacher's, mean of both directions.

    Nothing is masked here: the teacher's softmax is as high for equal captions and images.

    Args:
        student: Embeddings of the student.
        teacher: Embeddings of the teacher, of the same pairs, with its own scale.
        row_chunk: Rows of logits held at once; 0: all.

    Returns:
        Shape (), mean over rows.

    Source:
        ``DistillClipLoss`` of open_clip.
    """

    def loss_with(
        student_logits: Callable[[Tensor], Tensor], teacher_logits: Callable[[Tensor], Tensor]
    ) -> Callable[..., Tensor]:
        def loss_of(student_rows: Tensor, teacher_rows: Tensor) -> Tensor:
            targets = teacher_logits(teacher_rows).softmax(dim=1)
            return -(targets * student_logits(student_rows).log_softmax(dim=1)).sum()

        return loss_of

    per_image = loss_with(student.logits_per_image, teacher.logits_per_image)
    per_text = loss_with(student.logits_per_text, teacher.logits_per_text)
    total = _sum_over_rows(per_image, (student.images, teacher.images), row_chunk)
    total = total + _sum_over_rows(per_text, (student.texts, teacher.texts), row_chunk)
    return total / (2 * len(student.images))


def _sum_over_rows(
    loss_of: Callable[..., Tensor], rows: tuple[Tensor, ...], row_chunk: int
) -> Tensor:
    """Return the sum of a loss over rows, with the logits of only some of them in memory.

    Args:
        loss_of: Takes the same rows of each tensor and returns the sum of their losses.
        rows: Tensors whose first dimension is B.
        row_chunk: How many rows at once, by activation checkpointing: their logits are computed
            again for the backward pass. 0: all, and nothing is computed twice.

    Returns:
        Shape ().
    """
    if not 0 < row_chunk < len(rows[0]):
        return loss_of(*rows)
    parts = [
        checkpoint(loss_of, *part, use_reentrant=False, preserve_rng_state=False)
        for part in zip(*(torch.split(tensor, row_chunk) for tensor in rows), strict=True)
    ]
    return torch.stack(parts).sum()


def _full_precision(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
