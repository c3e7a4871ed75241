"""The two towers on torch: any device, any precision.

Shapes: B inputs, S image size, L context length, D dimensions of the shared space, P patches,
W width of a tower.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import InputError, MissingExtraError
from clipkit.models.checkpoint import save_towers
from clipkit.models.towers import Towers
from clipkit.runtime.base import Scoring

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise MissingExtraError("torch", "Running towers in torch") from error

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchRuntime:
    """Towers on a device, as functions from arrays to arrays.

    Args:
        towers: The towers; they are moved to the device and cast in place.
        device: "auto" takes CUDA, else Apple's MPS, else the CPU; or a device as torch spells it.
        precision: "auto" takes bf16 on a CUDA device that has it, else fp32; or "fp32", "bf16",
            "fp16".
        space_id: Identity of the space, as the caller computed it from the towers in float32.
    """

    def __init__(
        self,
        towers: Towers,
        *,
        device: str = "auto",
        precision: str = "auto",
        space_id: str,
    ) -> None:
        self._device = choose_device(device)
        self._precision = choose_precision(precision, self._device)
        self._scoring = Scoring(towers.logit_scale, towers.logit_bias)
        self._space_id = space_id
        self._dtype = DTYPES[self._precision]
        # Weights are cast once: autocast casts them again in every call.
        self._towers = towers.eval().to(self._device, self._dtype)

    @property
    def engine(self) -> str:
        """Name of the engine: "torch"."""
        return "torch"

    @property
    def device(self) -> str:
        """Where it computes, as torch spells it: "cpu", "cuda:0", "mps"."""
        return str(self._device)

    @property
    def precision(self) -> str:
        """Number format of the computation: "fp32", "bf16" or "fp16"."""
        return self._precision

    @property
    def embed_dim(self) -> int:
        """D, the size of the shared space."""
        return self._towers.embed_dim

    @property
    def space_id(self) -> str:
        """Identity of the space: a hash of weights, config, preprocess and tokenizer."""
        return self._space_id

    @property
    def scoring(self) -> Scoring:
        """How cosines become logits."""
        return self._scoring

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return image features of any norm.

        Args:
            pixel_values: Shape (B, 3, S, S).

        Returns:
            float32, shape (B, D).

        Raises:
            InputError: If the shape is another.
        """
        return self._run(self._towers.image_features, self._pixel_values(pixel_values))

    def text_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return text features of any norm.

        Args:
            token_ids: Shape (B, L).

        Returns:
            float32, shape (B, D).

        Raises:
            InputError: If the shape is another.
        """
        return self._run(self._towers.text_features, self._token_ids(token_ids))

    def token_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the text tower's last layer, one vector a token, after its final layer norm.

        Args:
            token_ids: Shape (B, L).

        Returns:
            float32, shape (B, L, W).

        Raises:
            InputError: If the shape is another.
        """
        return self._run(self._towers.token_features, self._token_ids(token_ids))

    def patch_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the image tower's last layer, one vector a patch, in reading order.

        Args:
            pixel_values: Shape (B, 3, S, S).

        Returns:
            float32, shape (B, P, W).

        Raises:
            InputError: If the shape is another.
        """
        return self._run(self._towers.patch_features, self._pixel_values(pixel_values))

    def save(self, directory: Path, *, tokenizer_json: str) -> None:
        """Write the towers as a checkpoint directory that appears whole or not at all.

        Args:
            directory: Where to; a checkpoint that is there is replaced.
            tokenizer_json: The vocabulary, written where the checkpoint brings no file of its own.

        Raises:
            InputError: If the weights were cast to half precision when they were loaded.
            CheckpointError: If something else lies there, or writing fails.
        """
        if self._precision != "fp32":
            raise InputError(
                f"the weights were rounded to {self._precision} when they were loaded; "
                'load the model with precision="fp32" to save it'
            )
        brings_vocabulary = self._towers.tokenizer_source.is_dir()
        save_towers(
            self._towers,
            directory,
            tokenizer_json=None if brings_vocabulary else tokenizer_json,
            space_id=self._space_id,
        )

    def _pixel_values(self, pixel_values: NDArray[np.float32]) -> Tensor:
        height, width = self._towers.image_size
        if pixel_values.ndim != 4 or pixel_values.shape[1:] != (3, height, width):
            raise InputError(
                f"pixel values must have shape (B, 3, {height}, {width}), got {pixel_values.shape}"
            )
        return torch.from_numpy(np.ascontiguousarray(pixel_values)).to(self._device, self._dtype)

    def _token_ids(self, token_ids: NDArray[np.int64]) -> Tensor:
        length = self._towers.context_length
        if token_ids.ndim != 2 or token_ids.shape[1] != length:
            raise InputError(f"token ids must have shape (B, {length}), got {token_ids.shape}")
        return torch.from_numpy(np.ascontiguousarray(token_ids, dtype=np.int64)).to(self._device)

    def _run(self, tower: Callable[[Tensor], Tensor], inputs: Tensor) -> NDArray[np.float32]:
        # No tower takes an empty batch, so one made-up input finds the shape of the result.
        batch = inputs if len(inputs) else inputs.new_zeros((1, *inputs.shape[1:]))
        with torch.inference_mode():
            features = tower(batch)[: len(inputs)]
        array: NDArray[np.float32] = features.float().cpu().numpy()
        return array


def choose_device(device: str) -> torch.device:
    """Return a device that this machine has.

    Args:
        device: "auto", or a device as torch spells it.

    Returns:
        The device, with its number where it has one.

    Raises:
        InputError: If there is no such device here.
    """
    present = ["cpu"]
    present += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    present += ["mps"] if torch.backends.mps.is_available() else []
    if device == "auto":
        best = [name for name in present if name.startswith("cuda")] or present[-1:]
        return torch.device(best[0])
    name = "cuda:0" if device == "cuda" else device
    if name not in present:
        raise InputError(
            f'there is no device "{device}" here; there is {", ".join(present)}, or "auto"'
        )
    return torch.device(name)


def choose_precision(precision: str, device: torch.device) -> str:
    """Return the number format to compute in.

    Args:
        precision: "auto", "fp32", "bf16" or "fp16".
        device: Where the computation runs.

    Returns:
        "fp32", "bf16" or "fp16".

    Raises:
        InputError: If precision is another word.
    """
    if precision == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if has_bf16 else "fp32"
    if precision not in DTYPES:
        raise InputError(f'precision must be auto, {", ".join(DTYPES)}; got "{precision}"')
    return precision
