"""Calibration: probabilities and label sets that hold, from a handful of labelled images.

Shapes: N images, G labels.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import quoted
from clipkit.errors import InputError, MissingExtraError
from clipkit.files import read_json_object, write_text
from clipkit.runtime.base import Scoring
from clipkit.zero_shot.probabilities import label_log_losses

# How far a fitted scale is expected from the checkpoint's own, as a factor e to this power: few
# images alone would choose any. Of .15 to .5 it lowers the log loss most, as a mean over 5 to 50
# images of two sets by the starter and two by ViT-B/32 (benchmarks/probabilities.py --fit).
SCALE_SPREAD = 0.25
# The same of a sigmoid's bias, in logits. No set of images by such a model was large enough to
# choose it on.
BIAS_SPREAD = 1.0

_FORMAT = 1
_HUGE = 1e300  # no number in a file is that large


@dataclass(frozen=True)
class Calibration:
    """What labelled images say of a model's probabilities for some labels.

    The scale turns cosines into probabilities for any labels. The log losses are what label sets
    with a guarantee stand on, for the labels and prompts that they were measured with.
    """

    model: str  # its name
    space_id: str
    scoring: Scoring  # fitted: what cosines are multiplied by, and a sigmoid's bias
    class_names: tuple[str, ...]  # the labels of the images
    prompts_id: str  # identity of the labels with their prompts, in any order
    # Of each image's right label under the checkpoint's own scale, ascending. The fitted scale has
    # seen these images, so it would make their losses too low for a guarantee.
    log_losses: tuple[float, ...]

    @property
    def num_images(self) -> int:
        """How many labelled images there were."""
        return len(self.log_losses)

    def threshold(self, coverage: float) -> float:
        """Return the log loss up to which labels belong to a set: split conformal prediction.

        Of a new image that is drawn as the N labelled ones were, the right label's log loss is as
        likely to have any of the N + 1 ranks among them. So it is at most the one of rank
        ceil((N + 1) coverage) with at least that probability, whatever the model is like.

        Args:
            coverage: The share of the sets that shall hold the right label, above 0 and below 1.

        Returns:
            A log loss. It has the order of 1 - probability, by which such sets are usually told.

        Raises:
            InputError: If it is no such share, or there are too few images for it.

        Source:
            Vovk et al. 2005; the score is that of Sadinle et al. 2019 (arXiv 1609.00451).
        """
        rank = conformal_rank(self.num_images, coverage)
        if rank > self.num_images:
            share = _as_written(coverage)
            raise InputError(
                f"a coverage of {coverage} needs {math.ceil(share / (1 - share))} labelled images "
                f"or more, and this calibration is of {self.num_images}: calibrate with more, or "
                "ask for a lower coverage"
            )
        return self.log_losses[rank - 1]

    def check_same_labels(
        self, class_names: Sequence[str], prompts: Sequence[Sequence[str]]
    ) -> None:
        """Refuse labels that label sets by this calibration would not hold for.

        Args:
            class_names: The labels.
            prompts: Those of each.

        Raises:
            InputError: If labels or prompts are others; their order does not matter.
        """
        if differing := sorted({*self.class_names} ^ {*class_names}):
            raise InputError(
                f"label sets need a calibration of the same labels: it has {len(self.class_names)}"
                f", {len(class_names)} were given, and these are not in both: {quoted(differing)}"
            )
        if self.prompts_id != identify_prompts(class_names, prompts):
            raise InputError(
                "label sets need a calibration of the same prompts, and these labels have others: "
                "give the templates that it was made with, or calibrate with these"
            )

    def to_text(self) -> str:
        """Return the text of a file of it: JSON in one line, also where a label is no Unicode."""
        values = {
            "clipkit_calibration": _FORMAT,
            "model": self.model,
            "space_id": self.space_id,
            "logit_scale": self.scoring.logit_scale,
            "logit_bias": self.scoring.logit_bias,
            "num_images": self.num_images,
            "class_names": self.class_names,
            "prompts_id": self.prompts_id,
            "log_losses": self.log_losses,
        }
        text = json.dumps(values, ensure_ascii=False) + "\n"
        # Odd bytes of a folder's name, as Python has them, become JSON's own \udcff.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    def save(self, path: Path | str) -> None:
        """Write the calibration as JSON; what is there is replaced.

        Args:
            path: The file; its directory must exist.

        Raises:
            OSError: If it cannot be written.
        """
        write_text(Path(path), self.to_text())

    @classmethod
    def load(cls, path: Path | str) -> "Calibration":
        """Return the calibration that a file holds.

        Args:
            path: The file.

        Returns:
            The calibration.

        Raises:
            InputError: If it cannot be read, or is no such file.
        """
        path = Path(path)
        values = read_json_object(path, InputError)
        if values.get("clipkit_calibration") != _FORMAT:
            raise InputError(
                f"{path} is no calibration of this version of clipkit, which has "
                f'"clipkit_calibration": {_FORMAT}: write one with clipkit evaluate --calibrate'
            )
        if wrong := _first_wrong(values):
            raise InputError(
                f"{path} is a damaged calibration: {wrong}; write it again with "
                "clipkit evaluate --calibrate"
            )
        return cls(
            model=values["model"],
            space_id=values["space_id"],
            scoring=Scoring(math.log(values["logit_scale"]), values["logit_bias"]),
            class_names=tuple(values["class_names"]),
            prompts_id=values["prompts_id"],
            log_losses=tuple(map(float, values["log_losses"])),
        )


def conformal_rank(num_images: int, coverage: float) -> int:
    """Return which of the N ascending scores is the threshold of a conformal set, from 1.

    Args:
        num_images: N.
        coverage: Above 0 and below 1.

    Returns:
        ceil((N + 1) coverage); above N there are too few images.

    Raises:
        InputError: If the coverage is out of range.

    Example:
        >>> conformal_rank(9, 0.9), conformal_rank(8, 0.9)
        (9, 9)
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage must be above 0 and below 1, got {coverage}")
    return math.ceil((num_images + 1) * _as_written(coverage))


def _as_written(coverage: float) -> Fraction:
    """Return a share as its decimals say: in binary floats .9 / (1 - .9) is above 9."""
    return Fraction(str(float(coverage)))


def fit_scoring(
    cosines: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    scoring: Scoring,
    *,
    spread: float = SCALE_SPREAD,
) -> Scoring:
    """Return the scale, and of a sigmoid also the bias, that fit labelled images best.

    The log loss of the images is made least, with a penalty for leaving the checkpoint's own
    scale: (ln of the factor between them / spread)² / 2. With many images it does not matter.

    Args:
        cosines: Shape (N, G).
        labels: The right label of each image, shape (N,), in 0..G-1.
        scoring: The checkpoint's own.
        spread: Above 0; infinity for no penalty.

    Returns:
        The fitted scoring, with a bias if there was one.

    Raises:
        MissingExtraError: If SciPy is not installed.

    Source:
        Temperature scaling: Guo et al. 2017 (arXiv 1706.04599). The penalty: own.
    """
    try:
        from scipy.optimize import minimize  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("evaluate", "Calibrating") from error
    rows, is_right = np.arange(len(labels)), np.arange(cosines.shape[1]) == labels[:, None]
    spreads = np.array([spread] if scoring.logit_bias is None else [spread, BIAS_SPREAD])

    def moved(changes: NDArray[np.float64]) -> Scoring:
        scale, *bias = changes.tolist()
        own = scoring.logit_bias
        return Scoring(scoring.log_scale + scale, None if own is None else own + bias[0])

    def loss(changes: NDArray[np.float64]) -> float:
        tried = moved(changes)
        losses = label_log_losses(cosines, tried)
        if tried.logit_bias is None:
            total = losses[rows, labels].sum()
        else:  # of a wrong label it is that of "no", whose logit has the other sign
            logits = tried.logit_scale * cosines + tried.logit_bias
            total = np.where(is_right, losses, losses + logits).sum()
        return float(total + ((changes / spreads) ** 2).sum() / 2)

    return moved(minimize(loss, np.zeros(len(spreads)), method="L-BFGS-B").x)


def check_labels(
    labels: Sequence[int] | NDArray[np.integer[Any]], num_images: int, num_classes: int
) -> NDArray[np.integer[Any]]:
    """Return the class of each image as an array.

    Args:
        labels: In 0..C-1.
        num_images: N.
        num_classes: C.

    Returns:
        Shape (N,), N >= 1.

    Raises:
        InputError: If they are not.
    """
    numbers = np.asarray(labels)
    if numbers.shape != (num_images,) or not num_images:
        raise InputError(
            f"a calibration needs images and the label of each, got {num_images} images and "
            f"labels of shape {numbers.shape}"
        )
    if numbers.dtype.kind not in "iu" or ((numbers < 0) | (numbers >= num_classes)).any():
        raise InputError(
            f"labels must be whole numbers in 0..{num_classes - 1}, got {numbers.tolist()!s:.60}"
        )
    return numbers


def identify_prompts(class_names: Sequence[str], prompts: Sequence[Sequence[str]]) -> str:
    """Return what tells labels with their prompts from others, whatever their order."""
    pairs = sorted([name, *texts] for name, texts in zip(class_names, prompts, strict=True))
    text = json.dumps(pairs, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _first_wrong(values: dict[str, Any]) -> str:
    """Return what is wrong with the content of a file, or nothing."""
    names, losses, bias = (values.get(at) for at in ("class_names", "log_losses", "logit_bias"))
    is_right = {
        **{at: isinstance(values.get(at), str) for at in ("model", "space_id", "prompts_id")},
        "logit_scale": _is_number(values.get("logit_scale")) and values["logit_scale"] > 0,
        "logit_bias": bias is None or _is_number(bias),
        "class_names": isinstance(names, list)
        and bool(names)
        and all(isinstance(at, str) for at in names),
        "log_losses": _are_losses(losses),
        "num_images": isinstance(losses, list) and values.get("num_images") == len(losses),
    }
    wrong = next((name for name, is_it in is_right.items() if not is_it), None)
    return "" if wrong is None else f'its "{wrong}" is {values.get(wrong)!r:.60}'


def _are_losses(values: object) -> bool:
    """Return whether a value is a list of numbers of 0 or more, ascending."""
    if not isinstance(values, list) or not values or not all(map(_is_number, values)):
        return False
    is_ascending: bool = values == sorted(values) and values[0] >= 0
    return is_ascending


def _is_number(value: object) -> bool:
    # Python reads whole numbers of any size, and floats up to 1.8e308.
    return isinstance(value, int | float) and value is not True and abs(value) < _HUGE
