"""The losses of the head, as a step of the trainer's loop.

Shapes: B pairs, P photo-like features, C = 1000 classes, H concepts, D = 384 dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from recipe.batches import HeadBatch
from recipe.head import Head
from recipe.settings import Draws

_CERTAIN_NORM = 0.35  # a mean of class outputs this long is as good as one class


class HeadLosses(nn.Module):
    """All losses on a batch; the scales that they learn are not shipped."""

    def __init__(self, head: Head, draws: Draws) -> None:
        """Start the scales, logarithms of what cosines are multiplied by."""
        super().__init__()
        self.head = head
        self.pair_log_scale = nn.Parameter(torch.tensor(3.2))
        self.class_log_scale = nn.Parameter(torch.tensor(3.0))
        self.concept_bias = nn.Parameter(torch.tensor(-6.0))
        self._draws = draws

    def forward(self, batch: HeadBatch) -> dict[str, Tensor]:
        """Return every loss by the name of its weight."""
        head, plain, shown = self.head, batch.num_plain, batch.pictures
        count = len(shown)
        features = torch.cat([shown, batch.photographs])
        logits, outputs = head.class_logits(features), head.class_outputs()
        embeddings = head.embed_with_logits(features, logits, outputs)
        pictures, photographs = embeddings[:count], embeddings[count:]
        probabilities = logits[count:].softmax(-1)
        outputs = outputs.detach()
        conse_of_pictures = _conse(logits[:plain].detach(), outputs, self._draws.drawing_exponent)
        conse = _conse(logits[count:], outputs, self._draws.conse_exponent)
        # Where ConSE is torn between classes its direction says little, so it counts less.
        certainty = (conse.norm(dim=-1) / _CERTAIN_NORM).clamp(0.2, 1)
        pair_logits = pictures @ head.embed_texts(batch.texts).T * self.pair_log_scale.exp()
        identity = torch.eye(len(head.text_map))
        return {
            "contrastive": contrastive_loss(pair_logits, batch.matches),
            "class_distillation": self._class_distillation(photographs, probabilities, batch),
            "concepts": self._concepts(photographs, probabilities, batch),
            "conse_pull": (certainty * _distance(conse, photographs)).mean(),
            "drawing_pull": _distance(conse_of_pictures, pictures[:plain]).mean(),
            "text_map_pull": ((head.text_map - identity) ** 2).sum(),
        }

    def _class_distillation(
        self, photographs: Tensor, probabilities: Tensor, batch: HeadBatch
    ) -> Tensor:
        texts = self.head.embed_texts(batch.class_texts)
        predicted = (photographs @ texts.T * self.class_log_scale.exp()).log_softmax(-1)
        return -(probabilities * predicted).sum(-1).mean()

    def _concepts(self, photographs: Tensor, probabilities: Tensor, batch: HeadBatch) -> Tensor:
        texts = self.head.embed_texts(batch.concept_texts)
        logits = photographs @ texts.T * self.class_log_scale.exp() + self.concept_bias
        targets = (probabilities @ batch.concept_members.T).clamp(0, 1)
        losses = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return losses.sum(-1).mean() / 10


class HeadStep:
    """Leaves the gradient of the weighted losses in what they are computed with."""

    def __init__(
        self, losses: Callable[[HeadBatch], dict[str, Tensor]], weights: Mapping[str, float]
    ) -> None:
        """Take what is trained and what each of its losses counts."""
        self._losses = losses
        self._weights = weights

    def backward(self, batch: HeadBatch) -> dict[str, Tensor]:
        """Return the whole loss and its parts, not weighted, without gradient."""
        parts = self._losses(batch)
        loss = torch.stack([self._weights[name] * part for name, part in parts.items()]).sum()
        torch.autograd.backward(loss)
        return {"loss": loss.detach(), **{name: part.detach() for name, part in parts.items()}}


def contrastive_loss(logits: Tensor, matches: Tensor) -> Tensor:
    """Return the symmetric contrastive loss where a picture may have several right texts.

    Args:
        logits: Of each picture (row) for each text (column), shape (B, B).
        matches: Whether a text is true of a picture, shape (B, B); true on the diagonal.

    Source:
        Radford et al. 2021 (arXiv 2103.00020), figure 3, with the target spread over all that is
        true as in Khosla et al. 2020 (arXiv 2004.11362), equation 2.
    """
    true = matches.float()
    by_image = (true / true.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    by_text = (true / true.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
    return -(by_image + by_text) / 2


def _conse(logits: Tensor, outputs: Tensor, exponent: float) -> Tensor:
    """Return the mean class output under the trunk's probabilities to a power, not normalised."""
    return (exponent * logits).softmax(-1) @ outputs


def _distance(target: Tensor, embeddings: Tensor) -> Tensor:
    """Return 1 - cosine for each row; the embeddings have norm 1."""
    return 1 - (normalize(target, dim=-1) * embeddings).sum(-1)
