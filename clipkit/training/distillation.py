"""The teacher of a distillation: a frozen dual encoder's features of the same pairs."""

from collections.abc import Sequence

import torch

from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models.towers import Towers
from clipkit.runtime.base import trim_padding
from clipkit.runtime.torch_device import choose_precision
from clipkit.training.batch import TeacherFeatures, standardize


class Teacher:
    """Frozen towers with their own preprocessing and tokenizer.

    Args:
        towers: The towers; they are moved to the device.
        tokenizer: Their own.
        device: Where they compute.
    """

    def __init__(self, towers: Towers, tokenizer: Tokenizer, device: torch.device) -> None:
        # Weights are cast once; on a CPU half precision is not known to be faster here.
        self.space_id = towers.space_id(tokenizer.digest())  # of the weights as they were saved
        has_bf16 = choose_precision("auto", device) == "bf16"
        self._dtype = torch.bfloat16 if has_bf16 else torch.float32
        frozen = towers.eval().requires_grad_(False)  # noqa: FBT003
        self._towers = frozen.to(device, self._dtype)
        self._tokenizer = tokenizer
        self._device = device
        self.preprocess = Preprocess.from_config(towers.preprocess_cfg, towers.image_size)

    @property
    def embed_dim(self) -> int:
        """D, the size of the teacher's space."""
        return self._towers.embed_dim

    @property
    def logit_scale(self) -> float:
        """Natural log of the teacher's multiplier of cosines."""
        return self._towers.logit_scale

    def features(
        self, images: torch.Tensor, captions: Sequence[str], *, chunk_size: int = 0
    ) -> TeacherFeatures:
        """Return the teacher's features of pairs.

        Args:
            images: In the size that it takes, levels 0..255, shape (B, 3, S, S).
            captions: B texts.
            chunk_size: How many pairs are computed at once; 0: all.

        Returns:
            Features of any norm, without gradient.
        """
        size = chunk_size or len(captions)
        parts = [
            self._chunk_features(images[start : start + size], captions[start : start + size])
            for start in range(0, len(captions), size)
        ]
        return TeacherFeatures(
            torch.cat([part.image_features for part in parts]),
            torch.cat([part.text_features for part in parts]),
        )

    def _chunk_features(self, images: torch.Tensor, captions: Sequence[str]) -> TeacherFeatures:
        token_ids = self._tokenizer.tokenize_quietly(captions).token_ids
        trimmed = torch.from_numpy(trim_padding(token_ids, self._towers.padding_id))
        with torch.no_grad():
            pixel_values = standardize(images.to(self._device), self.preprocess)
            image_features = self._towers.image_features(pixel_values.to(self._dtype))
            text_features = self._towers.text_features(trimmed.to(self._device))
        return TeacherFeatures(image_features.float(), text_features.float())
