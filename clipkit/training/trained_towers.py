"""Both towers in one forward pass: from a batch to the features that the loss takes.

Shapes: B pairs, D dimensions of the shared space, T dimensions of a teacher's space.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from clipkit.inputs.preprocess import Preprocess
from clipkit.models.towers import Towers
from clipkit.training.batch import Batch, standardize

# Captions are grouped by length: products of fewer rows cost more than shorter rows save, and more
# groups save little more.
_MIN_GROUP_ROWS = 32
_MAX_GROUPS = 8


class Representations(NamedTuple):
    """What the loss takes. A tuple, because DDP and FSDP look for tensors in tuples."""

    image_features: Tensor  # (B, D), any norm
    text_features: Tensor  # (B, D), any norm
    logit_scale: Tensor  # (), natural log of the multiplier of cosines
    logit_bias: Tensor | None  # ()
    mapped_images: Tensor | None = None  # (B, T), any norm; None: the teacher's space has D too
    mapped_texts: Tensor | None = None  # (B, T)

    def in_teacher_space(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return image features and text features to compare with a teacher's."""
        images = self.image_features if self.mapped_images is None else self.mapped_images
        texts = self.text_features if self.mapped_texts is None else self.mapped_texts
        return images.to(dtype), texts.to(dtype)


class TrainedTowers(nn.Module):
    """Both towers in one forward pass, with the maps to a teacher's space that training needs.

    Args:
        towers: The towers; parameters without gradient are frozen (locked).
        teacher_dim: T, the size of the space of a teacher whose features are learnt from; None:
            there is none. If it is not D, a linear map of each side is learnt, which the saved
            model leaves out.
    """

    def __init__(self, towers: Towers, *, teacher_dim: int | None = None) -> None:
        super().__init__()
        self.towers = towers
        self._preprocess = Preprocess.from_config(towers.preprocess_cfg, towers.image_size)
        dim = towers.embed_dim
        self.image_map: nn.Linear | None = None
        self.text_map: nn.Linear | None = None
        if teacher_dim is not None and teacher_dim != dim:
            self.image_map = nn.Linear(dim, teacher_dim, bias=False)
            self.text_map = nn.Linear(dim, teacher_dim, bias=False)

    @property
    def is_image_fixed(self) -> bool:
        """Whether the image tower gives an image the same features each time it runs."""
        return _is_fixed(self._image_parts())

    @property
    def is_text_fixed(self) -> bool:
        """Whether the text tower gives a caption the same features each time it runs."""
        return _is_fixed(self._text_parts())

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - as in torch
        """Go into training mode, except for a tower that is frozen as a whole.

        Such a tower draws no random numbers and its running statistics stay, so that its features
        may be computed once.
        """
        super().train(mode)
        for parts in (self._image_parts(), self._text_parts()):
            if not any(parameter.requires_grad for parameter in _parameters(parts)):
                for part in parts:
                    if isinstance(part, nn.Module):
                        part.eval()
        return self

    def forward(self, batch: Batch) -> Representations:
        """Return what the loss takes.

        Args:
            batch: Pairs.

        Returns:
            Features in the precision that the towers compute in.
        """
        images, texts = batch.image_features, batch.text_features
        if batch.images is not None:
            images = self._image_features(batch.images).clone()
        if batch.token_ids is not None:
            texts = self._text_features(batch.token_ids).clone()
        assert images is not None and texts is not None  # a batch has inputs or features
        scale, bias = self.towers.model.logit_scale, self.towers.model.logit_bias
        # Copies, not views: a sharded parameter's memory is given back before the loss is computed.
        return Representations(
            image_features=images,
            text_features=texts,
            logit_scale=scale.reshape(()).clone(),
            logit_bias=None if bias is None else bias.reshape(()).clone(),
            mapped_images=None if self.image_map is None else self.image_map(images),
            mapped_texts=None if self.text_map is None else self.text_map(texts),
        )

    def with_image_features(self, batch: Batch) -> Batch:
        """Return a batch with the features of its images, as a frozen tower gives them.

        Args:
            batch: With images.

        Returns:
            The batch with features that have no gradient.
        """
        assert batch.images is not None
        self.towers.eval()
        with torch.no_grad():
            features = self._image_features(batch.images)
        return replace(batch, images=None, image_features=features)

    def _image_features(self, images: Tensor) -> Tensor:
        dtype = self.towers.model.logit_scale.dtype
        return self.towers.image_features(standardize(images, self._preprocess).to(dtype))

    def _text_features(self, token_ids: Tensor) -> Tensor:
        """Return text features, computed in groups of captions of similar length where that pays.

        A few long captions would make all the others long, those of other chunks too: 128 captions
        of 12 tokens on average and 43 at most take a third of the time on a CPU. On CUDA this was
        not measured.
        """
        padding_id = self.towers.padding_id
        if padding_id is None or token_ids.device.type != "cpu":
            return self.towers.text_features(token_ids)
        num_groups = max(min(len(token_ids) // _MIN_GROUP_ROWS, _MAX_GROUPS), 1)
        columns = torch.arange(1, token_ids.shape[1] + 1)
        lengths = ((token_ids != padding_id) * columns).amax(dim=1).clamp(min=2)
        order = lengths.argsort(stable=True)
        parts = [
            self.towers.text_features(token_ids[rows, : int(lengths[rows[-1]])])
            for rows in order.tensor_split(num_groups)
        ]
        return torch.cat(parts)[order.argsort()]

    def _image_parts(self) -> list[nn.Module | nn.Parameter]:
        return [self.towers.model.visual]

    def _text_parts(self) -> list[nn.Module | nn.Parameter]:
        # open_clip's CLIP class holds the parts of its text tower itself.
        model = self.towers.model
        named = (*model.named_children(), *model.named_parameters(recurse=False))
        return [part for name, part in named if name not in ("visual", "logit_scale", "logit_bias")]


def _parameters(parts: list[nn.Module | nn.Parameter]) -> Iterator[nn.Parameter]:
    for part in parts:
        if isinstance(part, nn.Module):
            yield from part.parameters()
        else:
            yield part


def _is_fixed(parts: list[nn.Module | nn.Parameter]) -> bool:
    is_training = any(part.training for part in parts if isinstance(part, nn.Module))
    return not is_training and not any(item.requires_grad for item in _parameters(parts))
