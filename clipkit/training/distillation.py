"""What a student learns from a teacher: where its embeddings lie, and which pairs are alike.

Shapes: B pairs of one process, D dimensions of the teacher's space, R <= B rows at once.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import mse_loss, normalize

from clipkit.training.contrast import Contrast, sum_over_rows


def feature_distance(images: Tensor, texts: Tensor, teacher: Contrast) -> Tensor:
    """Return the mean squared difference of coordinates, of pictures plus of texts.

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


def soft_cross_entropy(student: Contrast, teacher: Contrast, row_chunk: int) -> Tensor:
    """Return the cross-entropy of the student's softmax to the teacher's, mean of both directions.

    Equal captions and pictures need no care here: the teacher finds them alike.

    Args:
        student: Embeddings of the student.
        teacher: Embeddings of the teacher, of the same pairs, with its own scale.
        row_chunk: Rows of logits held at once; 0: all.

    Returns:
        Shape (), mean over rows.

    Source:
        ``DistillClipLoss`` of open_clip.
    """
    images = (student.images, teacher.images)
    texts = (student.texts, teacher.texts)
    per_image = _sum_of(student.logits_per_image, teacher.logits_per_image, images, row_chunk)
    per_text = _sum_of(student.logits_per_text, teacher.logits_per_text, texts, row_chunk)
    return (per_image + per_text) / (2 * len(student.images))


def _sum_of(
    student_logits: Callable[[Tensor], Tensor],
    teacher_logits: Callable[[Tensor], Tensor],
    rows: tuple[Tensor, Tensor],
    row_chunk: int,
) -> Tensor:
    def loss_of(student_rows: Tensor, teacher_rows: Tensor) -> Tensor:
        targets = teacher_logits(teacher_rows).softmax(dim=1)
        return -(targets * student_logits(student_rows).log_softmax(dim=1)).sum()

    return sum_over_rows(loss_of, rows, row_chunk)
