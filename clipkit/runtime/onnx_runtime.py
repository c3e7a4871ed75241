"""Both towers on ONNX Runtime: no torch in the process, ready in a fraction of a second.

Shapes: B inputs, S image size, L context length, D dimensions of the shared space.
"""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import CheckpointError, InputError
from clipkit.progress import usable_cores
from clipkit.runtime.base import Scoring, trim_padding
from clipkit.runtime.bundle import Bundle, graph_name

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ERRORS_ONLY = 3  # ONNX Runtime's log level; below it, advice about the graph reaches stderr


class OnnxRuntime:
    """A compiled bundle on the CPU.

    A tower's session is made when it is first used, so a text query never loads the image tower.
    Any number of threads may call at once.

    Args:
        directory: A compiled bundle.
        precision: "fp32", or "int8" where the bundle has it.

    Raises:
        CheckpointError: If the directory is no whole bundle.
        InputError: If the bundle does not have the precision.
    """

    engine = "onnx"
    device = "cpu"
    image_batch = 8  # 4 to 16 take the same time a picture, and memory grows with them

    def __init__(self, directory: Path, precision: str = "fp32") -> None:
        self._directory = directory
        self._bundle = Bundle.read(directory)
        self.precision = precision
        if precision not in self._bundle.precisions:
            refused = self._bundle.refused.get(precision)
            raise InputError(
                f"{self._bundle.name} is not compiled for {precision}, only for "
                f"{', '.join(self._bundle.precisions)}{f': {refused.reason}' if refused else ''}"
            )
        self._lock = threading.Lock()
        self._single: InferenceSession | None = None
        self._many: InferenceSession | None = None

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

    @property
    def bundle(self) -> Bundle:
        """What the bundle's manifest says."""
        return self._bundle

    @property
    def image_workers(self) -> int:
        """How many threads may call image_features at once with a gain: one for each core."""
        return usable_cores()

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return image features of any norm.

        A batch is cut into parts, each computed by one thread: two threads with a picture each are
        faster than both on one picture. A lone picture is given all cores while no batch has been
        seen. In 8 bits every picture is a part: all that a call computes shares one range of
        numbers there, and an embedding must not depend on its neighbours (it moved by up to .001
        of a cosine; alone ViT-B/32 is 6 % slower).

        Args:
            pixel_values: Shape (B, 3, S, S).

        Returns:
            float32, shape (B, D).
        """
        session = self._image_session(is_lone=len(pixel_values) == 1)
        num_parts = len(pixel_values)
        if self.precision != "int8":
            num_parts = min(num_parts, self.image_workers)
        parts = np.array_split(pixel_values, max(1, num_parts))
        run = functools.partial(_run, session, "pixel_values")
        return np.concatenate(list(self._pool.map(run, parts) if parts[1:] else map(run, parts)))

    def text_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return text features of any norm, shape (B, D), for token ids (B, L)."""
        is_alone = self.precision == "int8" and len(token_ids) > 1  # as for pictures
        parts = np.split(token_ids, len(token_ids)) if is_alone else [token_ids]
        trimmed = (trim_padding(part, self._bundle.padding_id) for part in parts)
        return np.concatenate([_run(self._text_session, "token_ids", part) for part in trimmed])

    def _image_session(self, *, is_lone: bool) -> "InferenceSession":
        """Return the session for a call. There is one at a time: weights are large."""
        with self._lock:
            if self._many is None and is_lone:
                self._single = self._single or self._session("image")
                return self._single
            self._single = None
            self._many = self._many or self._session("image", is_for_many=True)
            return self._many

    @functools.cached_property
    def _text_session(self) -> "InferenceSession":
        return self._session("text")

    @functools.cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.image_workers, thread_name_prefix="image_features")

    def _session(self, tower: str, *, is_for_many: bool = False) -> "InferenceSession":
        import onnxruntime  # only here: a query whose texts are cached needs none of its 20 ms

        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = 1 if is_for_many else usable_cores()
        if not is_for_many:
            # Weights are read where they lie and not packed first. ViT-B/32's text tower is ready
            # 150 ms sooner, and a query takes 8 ms longer; for the image tower 330 and 20 ms.
            options.add_session_config_entry("session.disable_prepacking", "1")
        # Waiting threads must not spin: the cores they would hold are decoding pictures meanwhile.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = self._directory / graph_name(tower, self.precision)
        try:
            return onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no other base class
            raise CheckpointError(f"{path} cannot be loaded: {error}") from error


def _run(
    session: "InferenceSession", name: str, inputs: NDArray[np.float32 | np.int64]
) -> NDArray[np.float32]:
    (features,) = session.run(None, {name: inputs})
    return np.asarray(features, dtype=np.float32)
