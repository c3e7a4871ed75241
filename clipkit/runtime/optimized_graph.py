"""Graphs rewritten as ONNX Runtime rewrites them whenever it starts: fused, constants computed.

A text tower of 1 200 nodes becomes one of 570, and its session is ready in 12 ms instead of 42.
Only what does not depend on the machine is done in advance.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime
from onnx import TensorProto

from clipkit.runtime.onnx_runtime import ERRORS_ONLY

_LARGE = 1 << 20  # bytes: smaller tensors are written into the graph's own file
_NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def optimize_graph(path: Path) -> bool:
    """Rewrite a graph in place; its weights stay in the files that it borrows them from.

    Args:
        path: The graph, which computes the same afterwards, to the last bit.

    Returns:
        False, and the graph is left as it was, if weights would have to be stored anew: those in
        half precision, which are widened when the engine starts, or large ones that it computes.
    """
    borrowed = {
        tensor.name: tensor
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
        if tensor.external_data
    }
    if any(tensor.data_type in _NARROW for tensor in borrowed.values()):
        return False
    with TemporaryDirectory(prefix=".optimize-", dir=path.parent) as temporary:
        draft = Path(temporary) / path.name
        _write_optimized(path, draft)
        model = onnx.load(draft, load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.name in borrowed and tensor.dims == borrowed[tensor.name].dims:
            tensor.CopyFrom(borrowed[tensor.name])
        elif tensor.external_data:
            return False
    used = {node.domain for node in model.graph.node}
    imports = [each for each in model.opset_import if each.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    path.write_bytes(model.SerializeToString())
    return True


def _write_optimized(path: Path, target: Path) -> None:
    """Write what ONNX Runtime makes of a graph, with copies of its large weights beside it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    # The level above lays data out for the processor of this machine.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    prefix = "session.optimized_model_external_initializers"
    options.add_session_config_entry(f"{prefix}_file_name", f"{target.name}.bin")
    options.add_session_config_entry(f"{prefix}_min_size_in_bytes", str(_LARGE))
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
