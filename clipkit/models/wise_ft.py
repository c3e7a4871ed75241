"""Interpolation of weights between a base model and its fine-tuned version (WiSE-FT)."""

from collections.abc import Mapping

from clipkit.errors import CheckpointError, InputError, MissingExtraError

try:
    from torch import Tensor
except ImportError as error:
    raise MissingExtraError("torch", "Averaging weights") from error


def average_state(
    start: Mapping[str, Tensor], end: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """Return weights between those before and those after a fine-tuning.

    Args:
        start: Every tensor before, by name; of the zero-shot model.
        end: The same after.
        alpha: In [0, 1]; 0 gives the numbers of start and 1 those of end, bit for bit.

    Returns:
        (1 - alpha) start + alpha end for every tensor of floats, running statistics included, in
        float32 and on end's device. Counters and other integers are those of end.

    Raises:
        InputError: If alpha is out of range.
        CheckpointError: If the two have different names, shapes or kinds of numbers.

    Source:
        WiSE-FT, Wortsman et al. 2022 (arXiv 2109.01903), equation 1.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha must be 0 (the start) to 1 (the end), got {alpha}")
    _check_match(start, end)
    return {
        name: _average(start[name].detach().to(tensor.device), tensor.detach(), alpha)
        for name, tensor in end.items()
    }


def _average(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    if not end.is_floating_point():
        return end.clone()
    first, second = start.float(), end.float()
    if alpha in (0, 1):  # 0 times infinity is no number
        return (second if alpha else first).clone()
    return (1 - alpha) * first + alpha * second


def _check_match(start: Mapping[str, Tensor], end: Mapping[str, Tensor]) -> None:
    problems = [f"{name} is only in the start" for name in start if name not in end]
    problems += [f"{name} is only in the end" for name in end if name not in start]
    for name in (name for name in end if name in start):
        first, second = start[name], end[name]
        if first.shape != second.shape:
            problems.append(f"{name} is {tuple(first.shape)} and then {tuple(second.shape)}")
        elif first.is_floating_point() != second.is_floating_point():
            problems.append(f"{name} is {first.dtype} and then {second.dtype}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"only weights of one architecture can be averaged: {'; '.join(problems[:3])}{more}"
        )
