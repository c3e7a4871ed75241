"""The diagnosis of a calibration: whose it is, of what, and whether its scale can be right."""

from pathlib import Path

from clipkit.doctor.health import Diagnosis, HealthCheck, broken_file
from clipkit.doctor.made_by import LoadNamed, check_maker
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.zero_shot.calibration import Calibration, identify_prompts
from clipkit.zero_shot.labels import filled_prompts
from clipkit.zero_shot.templates import TEMPLATE_SETS

CALIBRATION_MARK = "clipkit_calibration"
# The fitted scale is drawn to the checkpoint's own; a factor of 4 off is rare and worth a look.
_LARGEST_FACTOR = 4.0
_FEW_IMAGES = 9  # fewer give no label sets with a coverage of 0.9


def diagnose_calibration(path: Path, load_named: LoadNamed) -> Diagnosis:
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
        return broken_file("calibration", path, error)
    checks = [
        HealthCheck(
            "calibration file",
            str(path),
            f"{calibration.num_images} labelled images, {len(calibration.class_names)} labels",
        ),
        _check_amount(calibration, str(path)),
        _check_templates(calibration, str(path)),
    ]
    check, encoder = check_maker(
        "calibration",
        calibration.model,
        calibration.space_id,
        load_named,
        where=str(path),
        remedy="calibrate this one with  clipkit evaluate --calibrate",
    )
    checks.append(check)
    if encoder is not None:
        checks.append(_check_scale(calibration, encoder, str(path)))
    return Diagnosis(str(path), "calibration", tuple(checks))


def _check_scale(calibration: Calibration, encoder: Encoder, where: str) -> HealthCheck:
    scale, own = calibration.scoring.logit_scale, encoder.logit_scale
    factor = max(scale / own, own / scale)
    figure = f"cosines times {scale:.4g}, {own:.4g} in the model"
    if factor <= _LARGEST_FACTOR:
        return HealthCheck("scale", where, figure)
    return HealthCheck(
        "scale",
        where,
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
