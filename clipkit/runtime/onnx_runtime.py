"""The two towers on ONNX Runtime: on the CPU, without torch, ready in a fraction of a second.

Shapes: B inputs, S image size, L context length, D dimensions of the shared space.
"""

import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import CheckpointError, InputError
from clipkit.progress import usable_cores
from clipkit.runtime.base import Scoring, trim_padding
from clipkit.runtime.bundle import Bundle, graph_name

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from onnxruntime import InferenceSession

_Inputs = NDArray[Any]  # float32 or int64

# Up to so many inputs a session for small calls is the better one, if there is no other yet.
FEW_IMAGES = 1
_FEW_TEXTS = 8
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
    image_batch = 8  # 4 to 16 take the same time an image, and memory grows with them

    def __init__(self, directory: Path, precision: str = "fp32") -> None:
        self._bundle = Bundle.read(directory)
        self.precision = precision
        self._is_int8 = precision == "int8"
        if precision not in self._bundle.precisions:
            refused = self._bundle.refused.get(precision)
            raise InputError(
                f"{self._bundle.name} is not compiled for {precision}, only for "
                f"{', '.join(self._bundle.precisions)}{f': {refused.reason}' if refused else ''}"
            )
        self._towers = {
            tower: _Tower(directory / graph_name(tower, precision), is_read_as_it_is=is_plain)
            for tower, is_plain in (("image", False), ("text", not self._is_int8))
        }

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
    def may_weights_change(self) -> bool:
        """Never: nobody gets hold of a compiled model's weights."""
        return False

    def have_weights_changed(self) -> bool:
        """Return False."""
        return False

    @property
    def bundle(self) -> Bundle:
        """What the bundle's manifest says."""
        return self._bundle

    @property
    def image_workers(self) -> int:
        """How many threads may call image_features at once with a gain: one for each core."""
        return usable_cores()

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return image features of any norm, shape (B, D), for pixel values (B, 3, S, S)."""
        return self._features("image", "pixel_values", pixel_values, FEW_IMAGES)

    @property
    def images_a_thread(self) -> int:
        """How many images a call of features_in_one_thread should have.

        Alone they take 37 % more in ViT-B/32 in float32, in eights as long as in fours. In 8 bits
        all of a call would share one range of numbers.
        """
        return 1 if self._is_int8 else 4

    def features_in_one_thread(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return image features of any norm, shape (B, D), for pixel values (B, 3, S, S), B > 0."""
        # The session for batches, also for one image: that for small calls adds up otherwise.
        session = self._towers["image"].session(is_small=False)
        return _run(session, "pixel_values", pixel_values)

    def text_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return text features of any norm, shape (B, D), for token ids (B, L)."""
        return self._features("text", "token_ids", token_ids, _FEW_TEXTS)

    def _features(self, tower: str, name: str, inputs: _Inputs, few: int) -> NDArray[np.float32]:
        """Cut a batch into parts, each computed by one thread, unless it is a small one.

        Two threads with a part each are faster than both on one part. In 8 bits every input is a
        part: all that a call computes shares one range of numbers there, and an embedding must not
        depend on its neighbours (it moved by up to .001 of a cosine; alone, images take 6 % more
        in ViT-B/32).
        """
        num_parts = len(inputs) if self._is_int8 else usable_cores()
        parts: list[_Inputs] = np.array_split(inputs, max(1, min(len(inputs), num_parts)))
        if tower == "text":
            parts = [trim_padding(part, self._bundle.padding_id) for part in parts]
        session = self._towers[tower].session(is_small=len(inputs) <= few)
        run = functools.partial(_run, session, name)
        if len(inputs) <= few:  # all cores work on each part
            return np.concatenate(list(map(run, parts)))
        return np.concatenate(list(self._pool.map(run, parts)))

    @functools.cached_property
    def _pool(self) -> "ThreadPoolExecutor":
        from concurrent.futures import ThreadPoolExecutor  # only here: one text needs no threads

        return ThreadPoolExecutor(usable_cores(), thread_name_prefix="features")


class _Tower:
    """One graph, and the session it runs in: one at a time, because weights are large.

    Until there was a batch, the session is one for small calls: ready soon, all cores for each. The
    first batch brings one that takes longer to be ready and runs in as many threads as call it.

    Args:
        graph: The graph's file.
        is_read_as_it_is: Whether the session for small calls leaves the graph as it is. In 8 bits
            what is fused moves embeddings by .001 of a cosine, so both sessions fuse the same.
    """

    def __init__(self, graph: Path, *, is_read_as_it_is: bool) -> None:
        self._graph = graph
        self._is_read_as_it_is = is_read_as_it_is
        self._lock = threading.Lock()
        self._session: InferenceSession | None = None
        self._is_for_batches = False

    def session(self, *, is_small: bool) -> "InferenceSession":
        """Return the session for a call of a few inputs, or of many."""
        with self._lock:
            if self._session is None or not (is_small or self._is_for_batches):
                self._session = None  # before the next one is there
                self._session = self._open(is_for_batches=not is_small)
                self._is_for_batches = not is_small
            return self._session

    def _open(self, *, is_for_batches: bool) -> "InferenceSession":
        import onnxruntime  # only here: a query whose texts are cached needs none of its 20 ms

        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = 1 if is_for_batches else usable_cores()
        if not is_for_batches:
            # Weights are read where they lie and not packed first. ViT-B/32's text tower is ready
            # 150 ms sooner, and a query takes 8 ms longer; for the image tower 330 and 20 ms.
            options.add_session_config_entry("session.disable_prepacking", "1")
            if self._is_read_as_it_is:
                # The starter's text tower is ready in 13 ms instead of 49, with 34 MB less, and one
                # text takes as long: its weights are widened one after another, and given back.
                level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
                options.graph_optimization_level = level
        # Waiting threads must not spin: the cores they would hold are decoding images meanwhile.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return onnxruntime.InferenceSession(
                str(self._graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no other base class
            raise CheckpointError(f"{self._graph} cannot be loaded: {error}") from error


def _run(session: "InferenceSession", name: str, inputs: _Inputs) -> NDArray[np.float32]:
    (features,) = session.run(None, {name: inputs})
    return np.asarray(features, dtype=np.float32)
