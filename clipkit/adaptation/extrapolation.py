"""What more labels would bring: a learning curve carried on.

Shapes: P points of a curve.
"""

from collections.abc import Sequence

import numpy as np

from clipkit.adaptation.report import CurvePoint

_POINTS = 3  # of the end of a curve that are carried on; fewer show no trend
_LEAST_ERROR = 1e-3  # of an accuracy; none at all has no logarithm


def expected_accuracy(curve: Sequence[CurvePoint], num_images: int) -> float | None:
    """Return the accuracy that a learning curve leads to with more images.

    The share of errors falls as a power of the number of images, fitted to the last three points.
    Of benchmarks/ladder.py's table it foretells the accuracy with twice the images to 2.3 points
    on average (39 cases; that nothing changes is off by 4.3).

    Args:
        curve: P points, by rising number of images.
        num_images: More than the curve has; twice as many is well beyond what is known.

    Returns:
        0..1, at least that of the last point; None for fewer than three points.

    Source:
        Power laws of learning curves: Hestness et al. 2017 (arXiv 1712.00409).
    """
    if len(curve) < _POINTS:
        return None
    last = curve[-_POINTS:]
    images = np.log([point.num_images for point in last])
    errors = np.log([max(1 - point.accuracy, _LEAST_ERROR) for point in last])
    exponent = min(0.0, float(np.polyfit(images, errors, 1)[0]))
    return float(1 - np.exp(errors[-1] + exponent * (np.log(num_images) - images[-1])))
