"""Computing with the other activation: QuickGELU in place of GELU, or the other way round."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clipkit.errors import MissingExtraError

try:
    from torch import nn
except ImportError as error:
    raise MissingExtraError("torch", "Comparing activations") from error

_PLACE = "gelu"  # what open_clip's own blocks call their activation


@contextmanager
def other_activation(model: Any) -> Iterator[None]:
    """Compute with the other activation in open_clip's own blocks for as long as the block runs.

    Args:
        model: open_clip's model. Encoders of timm's and transformers' stay as they are.
    """
    from open_clip.transformer import QuickGELU

    places = [
        (module, module.gelu)
        for module in model.modules()
        if isinstance(getattr(module, _PLACE, None), nn.GELU | QuickGELU)
    ]
    try:
        for module, activation in places:
            setattr(module, _PLACE, nn.GELU() if isinstance(activation, QuickGELU) else QuickGELU())
        yield
    finally:
        for module, activation in places:
            setattr(module, _PLACE, activation)
