"""A compiled bundle with its image tower on OpenVINO, and its text tower on ONNX Runtime.

OpenVINO has kernels in bf16 and faster ones in 8 bits, and takes longer to be ready: a second for
ViT-B/16. So it is used where time goes: an index embeds images by the thousand. A query starts as
fast as ever, one by an image in 8 bits too.

Shapes: B inputs, S image size, D dimensions of the shared space.
"""

import queue
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import CheckpointError, InputError, MissingExtraError
from clipkit.progress import usable_cores
from clipkit.runtime.bundle import Bundle, graph_name
from clipkit.runtime.onnx_runtime import FEW_IMAGES, OnnxRuntime

if TYPE_CHECKING:
    from openvino import InferRequest

OPENVINO_PRECISIONS = ("fp32", "bf16", "int8")
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}  # int8: of what is between its products
_REPORTS = "openvino_telemetry"
_IMPORTING = threading.Lock()


class OpenVinoRuntime(OnnxRuntime):
    """A compiled bundle on the CPU, whose images OpenVINO embeds.

    Any number of threads may call at once.

    Args:
        directory: A compiled bundle.
        precision: Of the image tower: "fp32", "bf16", or "int8" where the bundle has it. Texts are
            in 8 bits where the bundle has those and they are close, else in float32.

    Raises:
        CheckpointError: If the directory is no whole bundle.
        InputError: If the bundle does not have the precision.
        MissingExtraError: If OpenVINO is not installed; raised with the first image.
    """

    engine = "openvino"

    def __init__(self, directory: Path, precision: str = "bf16") -> None:
        bundle = Bundle.read(directory)
        if precision not in OPENVINO_PRECISIONS:
            raise InputError(
                f"the openvino engine computes in {', '.join(OPENVINO_PRECISIONS)}, "
                f"got {precision!r}"
            )
        int8 = bundle.precisions.get("int8")
        super().__init__(
            directory, "int8" if precision == "int8" or (int8 and int8.is_close) else "fp32"
        )
        self.precision = precision
        kind = "int8.fixed" if precision == "int8" else "fp32"
        self._image_graph = directory / graph_name("image", kind)
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[InferRequest] | None = None

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return image features of any norm, shape (B, D), for pixel values (B, 3, S, S)."""
        if len(pixel_values) == 0:
            return np.zeros((0, self.embed_dim), np.float32)
        if self._requests is None and self.precision == "int8" and len(pixel_values) <= FEW_IMAGES:
            return super().image_features(pixel_values)  # in 8 bits too, and sooner ready
        self._make_ready()
        parts = np.array_split(pixel_values, min(len(pixel_values), usable_cores()))
        return np.concatenate(list(self._pool.map(self._infer, parts)))

    @property
    def images_a_thread(self) -> int:
        """How many images such a call should have: alone they take a fifth more."""
        return 4

    def features_in_one_thread(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return image features of any norm, shape (B, D), for pixel values (B, 3, S, S), B > 0."""
        self._make_ready()
        return self._infer(pixel_values)

    def _make_ready(self) -> None:
        with self._lock:
            if self._requests is None:
                self._requests = self._open()

    def _infer(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        assert self._requests is not None
        request = self._requests.get()
        try:
            (features,) = request.infer([np.ascontiguousarray(pixel_values)]).values()
            return np.array(features, dtype=np.float32)  # its own memory is written to again
        finally:
            self._requests.put(request)

    def _open(self) -> "queue.SimpleQueue[InferRequest]":
        """Return a request for each core: what one thread computes at a time."""
        openvino = import_openvino()
        cores = usable_cores()
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
            "INFERENCE_NUM_THREADS": cores,
            "NUM_STREAMS": cores,
            "ENABLE_CPU_PINNING": False,  # the cores are decoding images as well
        }
        try:
            model = openvino.Core().compile_model(self._image_graph, "CPU", settings)
        except Exception as error:  # a RuntimeError of its own wording
            raise CheckpointError(
                f"OpenVINO cannot load {self._image_graph}: {str(error).strip()}"
            ) from error
        requests: queue.SimpleQueue[InferRequest] = queue.SimpleQueue()
        for _ in range(cores):
            requests.put(model.create_infer_request())
        # The first call fills in what OpenVINO's bindings know of NumPy, under a lock of its own:
        # two threads that are the first wait for each other for ever, one with that lock and the
        # other with the interpreter's (seen with 2026.4).
        first = requests.get()
        first.infer([np.zeros((1, 3, *self.bundle.image_size), np.float32)])
        requests.put(first)
        return requests


def import_openvino() -> Any:
    """Import OpenVINO without the report to its makers, over the network, that each import sends.

    The reports are a package of their own that OpenVINO does without where it is missing.

    Returns:
        The package.

    Raises:
        MissingExtraError: If it is not installed.
    """
    with _IMPORTING:
        reports = sys.modules.get(_REPORTS)
        # None marks what is not there, and the import of it fails.
        sys.modules[_REPORTS] = None  # type: ignore[assignment]
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError("openvino", "The openvino engine") from error
        finally:
            del sys.modules[_REPORTS]
            if reports is not None:
                sys.modules[_REPORTS] = reports
    return openvino
