"""Both towers on ONNX Runtime: no torch in the process, ready in a fraction of a second.

Shapes: B inputs, S image size, L context length, D dimensions of the shared space.
"""

import functools
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from clipkit.errors import CheckpointError
from clipkit.runtime.base import Scoring
from clipkit.runtime.bundle import IMAGE_TOWER, TEXT_TOWER, Bundle

ERRORS_ONLY = 3  # ONNX Runtime's log level; below it, advice about the graph reaches stderr


class OnnxRuntime:
    """A compiled bundle on the CPU, in float32.

    A tower's session is made when it is first used, so a text query never loads the image tower.

    Args:
        directory: A compiled bundle.

    Raises:
        CheckpointError: If the directory is no whole bundle.
    """

    engine = "onnx"
    device = "cpu"
    precision = "fp32"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._bundle = Bundle.read(directory)

    @property
    def space_id(self) -> str:
        """Identity of the space: a hash of weights, config, preprocess and tokenizer."""
        return self._bundle.space_id

    @property
    def embed_dim(self) -> int:
        """D, the size of the shared space."""
        return self._bundle.embed_dim

    @property
    def scoring(self) -> Scoring:
        """How cosines become logits."""
        return self._bundle.scoring

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return image features of any norm, shape (B, D), for pixel values (B, 3, S, S)."""
        (features,) = self._image_session.run(None, {"pixel_values": pixel_values})
        return np.asarray(features, dtype=np.float32)

    def text_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return text features of any norm, shape (B, D), for token ids (B, L)."""
        if self._bundle.padding_id is not None and len(token_ids):
            # What the tower masks out changes nothing but the time: 9 ms against 3.5 for 6 words.
            is_used = (token_ids != self._bundle.padding_id).any(axis=0)
            token_ids = token_ids[:, : max(int(np.flatnonzero(is_used)[-1]) + 1, 2)]
        (features,) = self._text_session.run(None, {"token_ids": token_ids})
        return np.asarray(features, dtype=np.float32)

    @functools.cached_property
    def _image_session(self) -> onnxruntime.InferenceSession:
        return self._session(IMAGE_TOWER)

    @functools.cached_property
    def _text_session(self) -> onnxruntime.InferenceSession:
        return self._session(TEXT_TOWER)

    def _session(self, name: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        # Waiting threads must not spin: the cores they would hold are decoding pictures meanwhile.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = self._directory / name
        try:
            return onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no other base class
            raise CheckpointError(f"{path} cannot be loaded: {error}") from error
