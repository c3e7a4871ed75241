"""The two towers on torch: any device, any precision.

Shapes: B inputs, S image size, L context length, D dimensions of the shared space, P patches,
W width of a tower.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import InputError, MissingExtraError
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models.checkpoint import Layout, save_towers
from clipkit.models.open_clip_towers import Inputs, OpenClipTowers, open_clip_towers
from clipkit.models.own_settings import split_own
from clipkit.models.towers import Towers
from clipkit.runtime.base import Scoring, trim_padding
from clipkit.runtime.torch_device import (
    DTYPES,
    ThreadStreams,
    choose_device,
    choose_precision,
    image_layout,
)

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise MissingExtraError("torch", "Running a model in torch") from error


def own_inputs(towers: Towers) -> Inputs:
    """Return clipkit's preprocess and tokenizer, in the form of open_clip's.

    Args:
        towers: The checkpoint that they are of, which asks for what open_clip does not have.

    Returns:
        What makes torch's tensors of images and texts, on the CPU.
    """
    preprocess = Preprocess.from_config(towers.preprocess_cfg, towers.image_size)
    tokenizer = Tokenizer.from_config(towers.model_cfg["text_cfg"], towers.tokenizer_source)

    def to_pixel_values(image: ImageInput) -> Tensor:
        return torch.from_numpy(preprocess(image))

    def to_token_ids(texts: str | list[str]) -> Tensor:
        return torch.from_numpy(tokenizer([texts] if isinstance(texts, str) else texts))

    return Inputs(to_token_ids, to_pixel_values)


class TorchRuntime:
    """Towers on a device, as functions from arrays to arrays.

    Any number of threads may call at once.

    Args:
        towers: The towers; they are moved to the device and cast in place.
        device: "auto" takes CUDA, else Apple's MPS, else the CPU; or a device as torch spells it.
        precision: "auto" takes bf16 on a CUDA device that has it, else fp32; or "fp32", "bf16",
            "fp16".
        space_id: Identity of the space, as the caller computed it from the towers in float32.
        compile: Whether torch.compile makes the image tower faster, which takes a minute or so at
            the first batch of a size; it pays for many thousand images.
    """

    def __init__(
        self,
        towers: Towers,
        *,
        device: str = "auto",
        precision: str = "auto",
        space_id: str,
        compile: bool = False,
    ) -> None:
        self._device = choose_device(device)
        self._precision = choose_precision(precision, self._device)
        self._scoring = Scoring(towers.logit_scale, towers.logit_bias)
        self._space_id = space_id
        self._dtype = DTYPES[self._precision]
        # Weights are cast once: autocast casts them again in every call.
        self._towers = towers.eval().to(self._device, self._dtype)
        self._layout = image_layout(towers.model.visual, self._device)
        towers.model.visual.to(memory_format=self._layout)
        self._streams = ThreadStreams(self._device)
        self._handed_out: dict[str, list[int]] | None = None  # their checksums then
        self._compiled = torch.compile(towers.image_features, dynamic=False) if compile else None

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
    def image_batch(self) -> int:
        """How many images a call of image_features should have, of a stream of them."""
        return 64 if self._device.type == "cuda" else 8

    @property
    def image_workers(self) -> int:
        """How many threads may call image_features at once with a gain.

        On CUDA one sends a batch while another's is computed on. On a CPU a call has all cores.
        """
        return 2 if self._device.type == "cuda" else 1

    @property
    def scoring(self) -> Scoring:
        """How cosines become logits."""
        return self._scoring

    @property
    def may_weights_change(self) -> bool:
        """Whether :meth:`open_clip_towers` was called: who has the modules may train them."""
        return self._handed_out is not None

    def have_weights_changed(self) -> bool:
        """Return whether the weights are others than when they were handed out.

        It reads all of them, in a tenth of a second for a ViT-B.
        """
        return self._handed_out is not None and self._handed_out != self._towers.checksums()

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return image features of any norm.

        Args:
            pixel_values: Shape (B, 3, S, S).

        Returns:
            float32, shape (B, D).

        Raises:
            InputError: If the shape is another.
        """
        pixel_values = self._checked_pixels(pixel_values)
        if self._compiled is None:
            return self._run(self._towers.image_features, pixel_values)
        # torch.compile compiles each batch size anew: batches are padded to powers of two.
        rows = 1 << max(len(pixel_values) - 1, 0).bit_length()
        padded = np.zeros((rows, *pixel_values.shape[1:]), dtype=np.float32)
        padded[: len(pixel_values)] = pixel_values
        return self._run(self._compiled, padded)[: len(pixel_values)]

    def text_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return text features of any norm.

        The tower runs at the length of the longest text, where its padding changes nothing.

        Args:
            token_ids: Shape (B, L).

        Returns:
            float32, shape (B, D).

        Raises:
            InputError: If the shape is another.
        """
        token_ids = trim_padding(self._checked_tokens(token_ids), self._towers.padding_id)
        return self._run(self._towers.text_features, token_ids)

    def token_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the text tower's last layer, one vector a token, after its final layer norm.

        Args:
            token_ids: Shape (B, L).

        Returns:
            float32, shape (B, L, W).

        Raises:
            InputError: If the shape is another.
        """
        return self._run(self._towers.token_features, self._checked_tokens(token_ids))

    def patch_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the image tower's last layer, one vector a patch, in reading order.

        Args:
            pixel_values: Shape (B, 3, S, S).

        Returns:
            float32, shape (B, P, W).

        Raises:
            InputError: If the shape is another.
        """
        return self._run(self._towers.patch_features, self._checked_pixels(pixel_values))

    def open_clip_towers(self) -> OpenClipTowers:
        """Return open_clip's own modules, those that it computes with, the same at every call."""
        if self._handed_out is None:
            self._handed_out = self._towers.checksums()
        return self._open_clip_towers

    def save(self, directory: Path, *, tokenizer_json: str, layout: Layout = "open_clip") -> None:
        """Write the towers as a checkpoint directory that appears whole or not at all.

        Args:
            directory: Where to; a checkpoint that is there is replaced.
            tokenizer_json: The vocabulary, written where the checkpoint brings no file of its own.
            layout: Whose files.

        Raises:
            InputError: If the weights were cast to half precision when they were loaded.
            CheckpointError: If something else lies there, or writing fails.
        """
        if self._precision != "fp32":
            raise InputError(
                f"the weights were rounded to {self._precision} when they were loaded; "
                'load the model with precision="fp32" to save it'
            )
        space_id = self._space_id
        if self.have_weights_changed():
            text_cfg, vocabulary = self._towers.model_cfg["text_cfg"], self._towers.tokenizer_source
            space_id = self._towers.space_id(Tokenizer.from_config(text_cfg, vocabulary).digest())
        brings_vocabulary = self._towers.tokenizer_source.is_dir()
        save_towers(
            self._towers,
            directory,
            tokenizer_json=None if brings_vocabulary else tokenizer_json,
            space_id=space_id,
            layout=layout,
        )

    @functools.cached_property
    def _open_clip_towers(self) -> OpenClipTowers:
        _, own = split_own(self._towers.config)
        return open_clip_towers(self._towers, own_inputs(self._towers) if own else None)

    def _checked_pixels(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = self._towers.image_size
        if pixel_values.ndim != 4 or pixel_values.shape[1:] != (3, height, width):
            raise InputError(
                f"pixel values must have shape (B, 3, {height}, {width}), got {pixel_values.shape}"
            )
        return pixel_values

    def _checked_tokens(self, token_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        length = self._towers.context_length
        if token_ids.ndim != 2 or token_ids.shape[1] != length:
            raise InputError(f"token ids must have shape (B, {length}), got {token_ids.shape}")
        return token_ids.astype(np.int64, copy=False)

    def _run(
        self, tower: Callable[[Tensor], Tensor], inputs: NDArray[np.float32] | NDArray[np.int64]
    ) -> NDArray[np.float32]:
        # No tower takes an empty batch, so one made-up input finds the shape of the result.
        some = inputs if len(inputs) else np.zeros((1, *inputs.shape[1:]), inputs.dtype)
        with self._streams.stream(), torch.inference_mode():
            batch = self._streams.send(some)
            if batch.is_floating_point():
                batch = batch.to(self._dtype, memory_format=self._layout)
            features = tower(batch)[: len(inputs)]
            # Waits for this thread's stream only, and lets other threads run meanwhile.
            array: NDArray[np.float32] = features.float().cpu().numpy()
        return array
