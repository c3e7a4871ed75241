"""Autotuning of towers on torch: bf16 against float32 on this CPU, timed once and remembered."""

import copy
import functools

import numpy as np

from clipkit.errors import MissingExtraError
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models.towers import Towers
from clipkit.runtime.autotune import Trial, choose_fastest, trial_key
from clipkit.runtime.parity import compare, embed, reference_images, reference_texts
from clipkit.runtime.torch_device import DTYPES
from clipkit.runtime.torch_runtime import TorchRuntime

try:
    import torch
    from torch import nn
except ImportError as error:
    raise MissingExtraError("torch", "Running a model in torch") from error


_BATCH = 4  # images a call: as many as show the difference, few enough for a large tower


def autotune_torch_precision(
    towers: Towers, preprocess: Preprocess, tokenizer: Tokenizer, *, space_id: str
) -> Trial:
    """Time the image tower in bf16 against float32 on this CPU, or remember that it was done.

    The first time it takes up to half a minute (two busy cores, ViT-B-32), and for that long one
    and a half times the memory of the weights. The towers stay in float32, unrounded: bf16 is
    tried on a copy.

    Args:
        towers: The towers, in float32.
        preprocess: Images to pixel values.
        tokenizer: Texts to token ids.
        space_id: Identity of the space.

    Returns:
        The trial; "bf16" is chosen if it is faster and its embeddings of the reference images
        and texts pass the gate of a float32 graph, else "fp32".

    Raises:
        CheckpointError: If clipkit was installed without the reference images.
    """

    @functools.cache
    def runtime(precision: str) -> TorchRuntime:
        tried = towers if precision == "fp32" else cast_copy(towers, DTYPES[precision])
        return TorchRuntime(tried, device="cpu", precision=precision, space_id=space_id)

    def check(precision: str) -> str | None:
        pixel_values = np.stack([preprocess.pixel_values(path) for path in reference_images()])
        token_ids = tokenizer(reference_texts())
        original, other = (
            embed(runtime(name), pixel_values, token_ids) for name in ("fp32", precision)
        )
        parity = compare(original, other)
        return None if parity.passes("fp32") else str(parity)

    noise = np.random.default_rng(0).standard_normal(
        (_BATCH, 3, *towers.image_size), dtype=np.float32
    )
    return choose_fastest(
        {
            "fp32": lambda: runtime("fp32").image_features(noise),
            "bf16": lambda: runtime("bf16").image_features(noise),
        },
        key=trial_key(
            "precision",
            space_id,
            f"torch {torch.__version__}, {torch.get_num_threads()} threads",
        ),
        check=check,
    )


def cast_copy(towers: Towers, dtype: torch.dtype) -> Towers:
    """Return a copy of towers with the weights cast, made without a second copy in between."""

    def cast(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to(dtype if tensor.is_floating_point() else tensor.dtype, copy=True)

    # What stands in the memo is taken for copied already.
    memo: dict[int, object] = {
        id(parameter): nn.Parameter(cast(parameter), requires_grad=parameter.requires_grad)
        for parameter in towers.parameters()
    }
    memo |= {id(buffer): cast(buffer) for buffer in towers.buffers()}
    return copy.deepcopy(towers, memo)
