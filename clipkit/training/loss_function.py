"""A contrastive loss of one's own, given from Python in the place of InfoNCE.

Shapes: N pairs of all ranks, D dimensions of a space.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from clipkit.arguments import check_callable
from clipkit.errors import InputError

# Names of metrics that a run logs itself.
_TAKEN = {
    "contrastive_loss",
    "data_seconds",
    "epoch",
    "feature_loss",
    "gradient_norm",
    "kind",
    "logit_loss",
    "logit_scale",
    "loss_scale",
    "lr",
    "score",
    "skipped_steps",
    "step",
    "step_seconds",
    "validation_loss",
}


class LossFunction(Protocol):
    """A contrastive loss of one's own: a function, or a module with nothing to train.

    It is called with the whole batch, the pairs of all processes, whatever chunks these were
    computed in (``compute.chunk_size``); each process calls it, and the gradient is that of one
    process with all the pairs. It must depend on its arguments only, or a run that is resumed is
    another one.
    """

    def __call__(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor,
        positives: Tensor,
        /,
    ) -> Tensor | Mapping[str, Tensor]:
        """Return the loss of a batch of N pairs.

        Args:
            image_features: Embeddings, shape (N, D), float32, norm 1, with gradient.
            text_features: Those of the texts, likewise; row i belongs to image i.
            logit_scale: The multiplier of cosines (1 / temperature) that is learnt, shape ().
            positives: Which image (row) and text (column) are no negatives of each other, shape
                (N, N), bool: the diagonal, equal captions, equal images, images of one class.

        Returns:
            Shape (); or a dict with it as "loss", and with other numbers to be logged.
        """


def check_loss_function(function: LossFunction) -> None:
    """Raise if a loss cannot be called, or would have to be trained itself.

    Args:
        function: The loss.

    Raises:
        InputError: If it is no function, or has parameters.
    """
    arguments = ("image_features", "text_features", "logit_scale", "positives")
    if isinstance(function, type):
        name = function.__name__
        raise InputError(f"the loss is the class {name}: give an object, as {name}() makes one")
    # The call of a module takes anything, what it passes on to does not.
    called = function.forward if isinstance(function, nn.Module) else function
    check_callable(called, "loss", *arguments)
    if not isinstance(function, nn.Module):
        return
    names = [name for name, weight in function.named_parameters() if weight.requires_grad]
    if names:
        raise InputError(
            f"the loss has parameters to train ({', '.join(names[:3])}), and only the encoders and "
            "their logit_scale are trained: make them constants by requires_grad_(False), or "
            "leave them out"
        )


def call_loss_function(
    function: LossFunction, images: Tensor, texts: Tensor, scale: Tensor, positives: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a loss of one's own, and the other numbers that it returns.

    Args:
        function: The loss.
        images: Embeddings, shape (N, D).
        texts: Those of the texts.
        scale: Multiplier of cosines, shape ().
        positives: Shape (N, N), bool.

    Returns:
        The loss, shape (); and numbers by name, sorted, of its dtype, without gradient.

    Raises:
        InputError: If it returns anything else.
    """
    found = function(images, texts, scale, positives)
    parts = dict(found) if isinstance(found, Mapping) else {"loss": found}
    loss = parts.pop("loss", None)
    if (
        not isinstance(loss, Tensor)
        or loss.numel() != 1
        or loss.is_complex()
        or not loss.requires_grad
    ):
        raise InputError(
            "the loss that is given must return a tensor of shape () with a gradient, or a dict "
            f'with one as "loss", got {_described(found if loss is None else loss)}'
        )
    for name in parts:
        if not isinstance(name, str):
            raise InputError(
                f"the loss that is given must return numbers by name, got the name {name!r}: give "
                "a text"
            )
    if taken := sorted(_TAKEN & parts.keys()):
        raise InputError(
            f'the loss that is given returns "{taken[0]}", which is logged by that name already: '
            "choose another"
        )
    numbers = {}
    for name in sorted(parts):  # in the same order on each rank
        number = torch.as_tensor(parts[name], dtype=loss.dtype, device=loss.device).detach()
        if number.numel() != 1:
            raise InputError(
                f'the loss that is given must return numbers, "{name}" is {_described(number)}'
            )
        numbers[name] = number.reshape(())
    return loss.reshape(()), numbers


def _described(value: object) -> str:
    """Return what a value is, for messages."""
    if isinstance(value, Tensor):
        lack = "" if value.requires_grad else " without gradient"
        kind = f" of {value.dtype}".replace("torch.", "") if value.is_complex() else ""
        return f"a tensor of shape {tuple(value.shape)}{kind}{lack}"
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(repr, value)) or 'nothing'}"
    return "None" if value is None else f"a {type(value).__name__}"
