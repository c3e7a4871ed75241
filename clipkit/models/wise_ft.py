"""WiSE-FT: interpolating between the weights of a base model and of its fine-tuned version.

Source:
    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (WiSE-FT, arXiv 2109.01903).
"""

from collections.abc import Mapping

from clipkit.errors import CheckpointError, InputError, MissingExtraError

try:
    from torch import Tensor
except ImportError as error:
    raise MissingExtraError("torch", "Interpolating weights") from error

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
PUBLISHED_ALPHA = 0.5  # the paper's own, where nothing can be measured


def alphas_to_measure(*, is_scored: bool) -> tuple[float, ...]:
    """Return the alphas between 0 and 1 that are worth measuring, rising.

    Args:
        is_scored: Whether there are validation pairs; without them the published one is aimed at.

    Returns:
        Alphas, without the ends.
    """
    if is_scored:
        return ALPHAS[1:-1]
    return (*(alpha for alpha in ALPHAS[1:] if alpha < PUBLISHED_ALPHA), PUBLISHED_ALPHA)


def interpolate_state(
    base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """Return weights between those of a base model and those after fine-tuning it.

    Args:
        base: Every tensor of the base model, by name.
        tuned: The same after fine-tuning.
        alpha: In [0, 1]; 0 gives the numbers of base and 1 those of tuned, bit for bit.

    Returns:
        (1 - alpha) base + alpha tuned for every tensor of floats, running statistics included, in
        float32 and on the device of tuned. Counters and other integers are those of tuned.

    Raises:
        InputError: If alpha is out of range.
        CheckpointError: If the two have different names, shapes or kinds of numbers.

    Source:
        WiSE-FT, equation 1.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha must be 0 (the base model) to 1 (the fine-tuned one), got {alpha}")
    _check_match(base, tuned)
    return {
        name: _interpolate(base[name].detach().to(tensor.device), tensor.detach(), alpha)
        for name, tensor in tuned.items()
    }


def _interpolate(base: Tensor, tuned: Tensor, alpha: float) -> Tensor:
    if not tuned.is_floating_point():
        return tuned.clone()
    first, second = base.float(), tuned.float()
    if alpha in (0, 1):  # 0 times infinity is no number
        return (second if alpha else first).clone()
    return (1 - alpha) * first + alpha * second


def _check_match(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor]) -> None:
    problems = [f"{name} is only in the base model" for name in base if name not in tuned]
    problems += [f"{name} is only in the fine-tuned one" for name in tuned if name not in base]
    for name in (name for name in tuned if name in base):
        first, second = base[name], tuned[name]
        if first.shape != second.shape:
            problems.append(f"{name} is {tuple(first.shape)} and then {tuple(second.shape)}")
        elif first.is_floating_point() != second.is_floating_point():
            problems.append(f"{name} is {first.dtype} and then {second.dtype}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"only weights of one architecture can be interpolated: {'; '.join(problems[:3])}{more}"
        )
