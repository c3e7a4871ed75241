"""What a model makes of the labelled sample photographs, as it is and with another setting.

Only settings whose effect may show on so few images are tried. Of the starter with another mean and
std, resize or interpolation, 32 to 36 of the 45 are right in each of 18 combinations, and no paired
test tells its own from another (docs/doctor.md): such faults are found in the settings themselves.

Shapes: N images, G labels.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from clipkit.doctor.golden import encode_quietly
from clipkit.doctor.health import HealthCheck
from clipkit.doctor.published import is_published
from clipkit.embeddings import Embeddings
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.engines import open_encoder
from clipkit.errors import CheckpointError
from clipkit.metrics.classification import label_ranks
from clipkit.metrics.significance import chance_of_as_many
from clipkit.models.activation import image_activation
from clipkit.models.locate import CheckpointFiles
from clipkit.models.sources import DirectorySource, Source, starter_directory
from clipkit.runtime.parity import reference_directory, reference_images
from clipkit.zero_shot.probabilities import label_log_losses

_PROMPT = "a photo of a {}."
_DRAWS = 20_000
LARGEST_P = 0.001  # of a setting that is called better; two are tried for a model
_GUESSING_P = 0.01


@dataclass(frozen=True)
class PhotographAnswers:
    """What a model makes of the sample photographs."""

    right: NDArray[np.bool_]  # (N,), whether the best label is the right one
    losses: NDArray[np.float64]  # (N,), minus the log probability of the right label
    num_labels: int  # G

    @property
    def is_guessing(self) -> bool:
        """Whether guesses would be right as often."""
        num_right, count = int(self.right.sum()), len(self.right)
        return chance_of_as_many(num_right, count, 1 / self.num_labels) > _GUESSING_P


def check_behaviour(
    source: Source, files: CheckpointFiles, encoder: Encoder
) -> Iterator[HealthCheck]:
    """Yield how well photographs are classified, and whether another setting does it better.

    Args:
        source: The model.
        files: Its configs.
        encoder: It, opened from these.

    Yields:
        A remark where answers are no better than guesses, or clearly better with another setting.
    """
    images = _embedded_photographs(encoder)
    own = judged_photographs(encoder, images)
    yield _check_guessing(own, source.name)
    if is_published(source) or _is_starter(source):
        return  # every setting is known
    yield from _check_capitals(judged_photographs(encoder, images, str.upper), own, source.name)
    activation = image_activation(files.model_cfg)
    if activation in ("GELU", "QuickGELU") and find_spec("torch"):
        yield from _check_activation(source, encoder, activation)


def probability_of_better(own: PhotographAnswers, other: PhotographAnswers) -> float:
    """Return how probable it is that other answers look so much better by chance.

    Args:
        own: As configured.
        other: To the same photographs, with another setting.

    Returns:
        The one-sided p-value of the mean difference of the log losses, over random signs of the
        differences (a permutation test of pairs); at least 1 / 20 001.
    """
    gains = own.losses - other.losses
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(_DRAWS, len(gains)))
    as_large = np.count_nonzero(signs @ gains >= gains.sum() * (1 - 1e-12))
    return float((as_large + 1) / (_DRAWS + 1))


def _embedded_photographs(encoder: Encoder) -> Embeddings:
    return np.asarray(encoder.encode_images(reference_images()))


def judged_photographs(
    encoder: Encoder, images: Embeddings, write: Callable[[str], str] = str
) -> PhotographAnswers:
    """Return a model's answers to the sample photographs.

    Args:
        encoder: The model.
        images: Their embeddings, shape (N, D).
        write: Changes a prompt, as str.upper does.

    Returns:
        The answers.
    """
    names, labels = photograph_labels()
    texts = encode_quietly(encoder, [write(_PROMPT.format(name)) for name in names])
    cosines = images @ texts.T
    losses = label_log_losses(cosines, encoder.scoring)[np.arange(len(labels)), labels]
    return PhotographAnswers(label_ranks(cosines, labels) == 0, losses, len(names))


def photograph_labels() -> tuple[list[str], NDArray[np.int64]]:
    """Return the labels of the sample photographs.

    Returns:
        G names, and the number of the right one of each photograph, shape (N,).
    """
    path = reference_directory() / "labels.json"
    label_of: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    names = sorted(set(label_of.values()))
    return names, np.array([names.index(label_of[image.name]) for image in reference_images()])


def _check_guessing(own: PhotographAnswers, where: str) -> HealthCheck:
    num_right, count = int(own.right.sum()), len(own.right)
    figure = (
        f"{num_right} of {count} sample photographs are classified right among {own.num_labels} "
        f"labels, {count / own.num_labels:.1f} by guessing"
    )
    if not own.is_guessing:
        return HealthCheck("photographs", where, figure)
    return HealthCheck(
        "photographs",
        where,
        figure,
        "remark",
        "its answers to photographs and English words are no better than guesses; right only for "
        "a model of other images or another language",
    )


def _check_capitals(
    capitals: PhotographAnswers, written: PhotographAnswers, where: str
) -> Iterator[HealthCheck]:
    if np.array_equal(written.losses, capitals.losses):
        return  # the same token ids; the check of the case of texts has said so
    if written.is_guessing:
        return  # all differences are noise, and those of one text are common to all photographs
    p = probability_of_better(capitals, written)
    figure = (
        f"{int(written.right.sum())} of {len(written.right)} right with labels in lower case, "
        f"{int(capitals.right.sum())} in capitals (p = {p:.2g})"
    )
    if p > LARGEST_P:
        yield HealthCheck("labels in capitals", where, figure)
        return
    yield HealthCheck(
        "labels in capitals",
        where,
        figure,
        "remark",
        "write texts in lower case; if the model was trained on lower case alone, put "
        '"tokenizer_kwargs": {"clean": "lower"} into the text_cfg',
    )


def _check_activation(source: Source, encoder: Encoder, activation: str) -> Iterator[HealthCheck]:
    from clipkit.models.other_activation import other_activation

    other_name = "GELU" if activation == "QuickGELU" else "QuickGELU"
    try:
        # One of its own: open_clip's modules are changed for a while.
        on_torch = open_encoder(
            source,
            engine="torch",
            device="cpu",
            precision="fp32",
            cache_dir=None,
            text_cache=None,
        )
    except CheckpointError as error:
        yield HealthCheck("activation", source.name, f"not compared: {error}", "remark")
        return
    own = judged_photographs(on_torch, _embedded_photographs(on_torch))
    with other_activation(on_torch.towers.model):
        other = judged_photographs(on_torch, _embedded_photographs(on_torch))
    if own.is_guessing and other.is_guessing:
        return
    p = probability_of_better(own, other)
    figure = (
        f"{int(own.right.sum())} of {len(own.right)} right with {activation} as configured, "
        f"{int(other.right.sum())} with {other_name} (mean log loss {own.losses.mean():.3f} and "
        f"{other.losses.mean():.3f}, p = {p:.2g})"
    )
    if p > LARGEST_P or other.right.sum() < own.right.sum():
        yield HealthCheck("activation", source.name, figure)
        return
    yield HealthCheck(
        "activation",
        source.name,
        f"photographs are classified better with {other_name}: {figure}",
        "remark",
        f'if it was trained with it, put "quick_gelu": {str(other_name == "QuickGELU").lower()} '
        "into the model_cfg",
    )


def _is_starter(source: Source) -> bool:
    return isinstance(source, DirectorySource) and source.directory == starter_directory()
