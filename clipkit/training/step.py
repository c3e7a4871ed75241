"""One training step's gradient over the global batch, in chunks that fit memory (GradCache).

Shapes: B pairs of one rank, of which C <= B are computed at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clipkit.training.batch import Batch
from clipkit.training.distributed import unwrap, without_sync
from clipkit.training.losses import ContrastiveLoss
from clipkit.training.trained_towers import Representations, TrainedTowers


class ContrastiveStep:
    """Adds the gradient of a batch's loss to the parameters, at once or with GradCache.

    Gradient accumulation over small batches is not the same for a contrastive loss: each pair has
    the negatives of its own small batch only. GradCache (Gao et al. 2021, arXiv 2101.06983) is
    exact: all chunks go forward without gradient; the loss is taken once, over all of them, and
    differentiated as far as the features; then each chunk goes forward again, from the random state
    of the first time, and the rest of the gradient goes through it. The gradient is that of the
    whole batch at once, also with dropout, and the logit scale's is counted once. A chunk costs one
    more forward pass, and memory grows with C, not B.

    Batch norm in training mode takes its mean over a chunk, not over the batch: nothing else could
    be computed in chunks. Its running statistics move once for each chunk.

    Args:
        module: :class:`TrainedTowers`, or what :func:`.distributed.wrap` made of it.
        loss: What is minimised.
        chunk_size: C, how many pairs are computed at once; 0: all.
        autocast_dtype: What the towers compute in by autocast; None: as their weights are.
        scale_loss: Multiplies the loss that is differentiated, see :func:`.loss_scaler`: features
            may be float16, and so are their gradients.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: ContrastiveLoss,
        *,
        chunk_size: int = 0,
        autocast_dtype: torch.dtype | None = None,
        scale_loss: Callable[[Tensor], Tensor] = lambda loss: loss,
    ) -> None:
        self._module = module
        self._towers: TrainedTowers = unwrap(module)
        self._loss = loss
        self._chunk_size = chunk_size
        self._autocast_dtype = autocast_dtype
        self._scale_loss = scale_loss

    def backward(
        self, batch: Batch, *, share: float = 1.0, is_last: bool = True
    ) -> dict[str, Tensor]:
        """Add the gradient of a batch's loss to the parameters.

        The random state afterwards is that of one forward pass, chunk by chunk: the last chunk's
        second one ends where its first one did.

        Args:
            batch: This rank's pairs, as many as the others'.
            share: What the gradient is multiplied by, 1/n where it is the mean of n batches.
            is_last: Whether the ranks exchange the gradients that have been added up by now.

        Returns:
            The loss and its parts over the global batch, and "logit_scale" (a natural log);
            shape (), without gradient.
        """
        if 0 < self._chunk_size < len(batch):
            losses, logit_scale = self._backward_in_chunks(batch, share, is_last=is_last)
        else:
            with nullcontext() if is_last else without_sync(self._module):
                found = self._forward(batch)
                losses, logit_scale = self._loss(found, batch), found.logit_scale
                torch.autograd.backward(self._scale_loss(losses["loss"] * share))
        means = self._loss.ranks.all_reduce_mean(torch.stack(list(losses.values())))
        return {**dict(zip(losses, means, strict=True)), "logit_scale": logit_scale.detach()}

    def _backward_in_chunks(
        self, batch: Batch, share: float, *, is_last: bool
    ) -> tuple[dict[str, Tensor], Tensor]:
        chunks = batch.chunks(self._chunk_size)
        random_states, parts = [], []
        with torch.no_grad(), without_sync(self._module):
            for chunk in chunks:
                random_states.append(_RandomState.capture(batch.device))
                parts.append(self._forward(chunk))
        whole = _concatenate(parts)
        losses = self._loss(whole, batch)
        torch.autograd.backward(self._scale_loss(losses["loss"] * share))
        for number, (chunk, part) in enumerate(zip(chunks, parts, strict=True)):
            is_last_chunk = number == len(chunks) - 1
            with nullcontext() if is_last and is_last_chunk else without_sync(self._module):
                random_states[number].restore()
                with _constant_running_statistics(self._module):
                    again = self._forward(self._with_constant_features(chunk, part))
                start = number * self._chunk_size
                gradients = _gradients(whole, start, start + len(chunk), is_last=is_last_chunk)
                _backward_from(again, gradients)
        return losses, whole.logit_scale

    def _forward(self, batch: Batch) -> Representations:
        dtype = self._autocast_dtype
        with torch.autocast(batch.device.type, dtype=dtype, enabled=dtype is not None):
            representations: Representations = self._module(batch)
        return representations

    def _with_constant_features(self, chunk: Batch, part: Representations) -> Batch:
        """Return a chunk with the features of frozen towers, which need no second forward pass."""
        if self._towers.is_image_fixed:
            chunk = replace(chunk, images=None, image_features=part.image_features)
        if self._towers.is_text_fixed:
            chunk = replace(chunk, token_ids=None, text_features=part.text_features)
        return chunk


def _concatenate(parts: list[Representations]) -> Representations:
    """Return the representations of all chunks as one, each a leaf that gradients end in."""
    joined: list[Tensor | None] = []
    for first, *others in zip(*parts, strict=True):
        if first is None:
            joined.append(None)
        else:  # the scale and the bias have no rows: they are the same in each chunk
            whole = torch.cat([first, *others]) if first.ndim else first
            joined.append(whole.detach().requires_grad_())
    return Representations(*joined)  # type: ignore[arg-type]


def _gradients(
    whole: Representations, start: int, stop: int, *, is_last: bool
) -> list[Tensor | None]:
    """Return the gradients of a chunk's representations; the last has those of scale and bias."""
    gradients: list[Tensor | None] = []
    for leaf in whole:
        gradient = None if leaf is None else leaf.grad
        if gradient is not None and gradient.ndim:
            gradient = gradient[start:stop]
        elif not is_last:
            gradient = None
        gradients.append(gradient)
    return gradients


def _backward_from(representations: Representations, gradients: list[Tensor | None]) -> None:
    """Send gradients from representations into the parameters."""
    roots = [
        (tensor, gradient)
        for tensor, gradient in zip(representations, gradients, strict=True)
        if tensor is not None and gradient is not None and tensor.requires_grad
    ]
    if roots:
        tensors, grad_tensors = zip(*roots, strict=True)
        torch.autograd.backward(tensors, grad_tensors)


@dataclass(frozen=True)
class _RandomState:
    """The state of the random generators that a forward pass draws from."""

    cpu: Tensor
    device: torch.device
    accelerator: Tensor | None  # the device's, if that is not the CPU

    @classmethod
    def capture(cls, device: torch.device) -> "_RandomState":
        """Return the present random state."""
        if device.type == "cpu":
            return cls(torch.get_rng_state(), device, None)
        accelerator = torch.get_device_module(device).get_rng_state(*_device_argument(device))
        return cls(torch.get_rng_state(), device, accelerator)

    def restore(self) -> None:
        """Set the random generators back to this state."""
        torch.set_rng_state(self.cpu)
        if self.accelerator is not None:
            module = torch.get_device_module(self.device)
            module.set_rng_state(self.accelerator, *_device_argument(self.device))


def _device_argument(device: torch.device) -> tuple[torch.device, ...]:
    """Return the device argument of torch's random-state functions; MPS takes none."""
    return (device,) if device.type == "cuda" else ()


@contextmanager
def _constant_running_statistics(module: nn.Module) -> Iterator[None]:
    """Keep batch norm's running statistics as they are: the first pass has updated them."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
