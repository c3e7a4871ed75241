"""The diagnosis of a calibration: whose it is, of what, and whether its scale can be right."""

from collections.abc import Callable, Iterator
from pathlib import Path

from clipkit.doctor.health import Diagnosis, HealthCheck
from clipkit.encoder.encoder import Encoder
from clipkit.errors import CheckpointError, InputError, MissingExtraError
from clipkit.zero_shot.calibration import Calibration, identify_prompts
from clipkit.zero_shot.labels import filled_prompts
from clipkit.zero_shot.templates import TEMPLATE_SETS

CALIBRATION_MARK = "clipkit_calibration"
# The fitted scale is drawn to the checkpoint's own; a factor of 4 off is rare and worth a look.
_LARGEST_FACTOR = 4.0
_FEW_IMAGES = 9  # fewer give no label sets with a coverage of 0.9


def diagnose_calibration(path: Path, load_named: Callable[[str], Encoder]) -> Diagnosis:
    """Check a calibration file against the model it is used with.

    Args:
        path: The file.
        load_named: Returns the model to compare with, given the name of the one that made it.

    Returns:
        The diagnosis.
    """
    try:
        calibration = Calibration.load(path)
    except InputError as error:
        broken = HealthCheck("calibration file", str(path), str(error), "problem")
        return Diagnosis(str(path), "calibration", (broken,))
    checks = [
        HealthCheck(
            "calibration file",
            str(path),
            f"{calibration.num_images} labelled images, {len(calibration.class_names)} labels",
        ),
        _check_amount(calibration, str(path)),
        _check_templates(calibration, str(path)),
    ]
    try:
        encoder = load_named(calibration.model)
    except (CheckpointError, MissingExtraError) as error:
        checks.append(
            HealthCheck(
                "model of the calibration",
                calibration.model,
                f"not compared, it cannot be loaded: {error}",
                "remark",
                "name the model with --model",
            )
        )
    else:
        checks += _model_checks(calibration, encoder, path)
    return Diagnosis(str(path), "calibration", tuple(checks))


def _model_checks(calibration: Calibration, encoder: Encoder, path: Path) -> Iterator[HealthCheck]:
    figure = f"space {calibration.space_id} of {calibration.model}"
    if encoder.space_id != calibration.space_id:
        yield HealthCheck(
            "model of the calibration",
            str(path),
            f"{figure}, and {encoder.name} is of space {encoder.space_id}",
            "problem",
            "it is of another model: calibrate this one with  clipkit evaluate --calibrate",
        )
        return
    yield HealthCheck("model of the calibration", str(path), figure)
    scale, own = calibration.scoring.logit_scale, encoder.logit_scale
    factor = max(scale / own, own / scale)
    figure = f"cosines times {scale:.4g}, {own:.4g} in the model"
    if factor <= _LARGEST_FACTOR:
        yield HealthCheck("scale", str(path), figure)
        return
    yield HealthCheck(
        "scale",
        str(path),
        f"{figure}: a factor of {factor:.3g}",
        "remark",
        "look whether the labels of the images are right, and calibrate again",
    )


def _check_amount(calibration: Calibration, where: str) -> HealthCheck:
    count = calibration.num_images
    figure = f"label sets with a coverage of up to {count / (count + 1):.3g}"
    if count >= _FEW_IMAGES:
        return HealthCheck("label sets", where, figure)
    return HealthCheck("label sets", where, figure, "remark", "0.9 needs 9 labelled images")


def _check_templates(calibration: Calibration, where: str) -> HealthCheck:
    names = calibration.class_names
    for title, templates in TEMPLATE_SETS.items():
        prompts = filled_prompts(names, templates, None)
        if identify_prompts(names, prompts) == calibration.prompts_id:
            return HealthCheck("prompts", where, f"those of the templates {title}")
    figure = "of other templates, of a domain or of the user's own"
    return HealthCheck("prompts", where, figure)
