"""The check that a file is of a model: calibrations, heads and concepts are of one each."""

from collections.abc import Callable

from clipkit.doctor.health import HealthCheck
from clipkit.encoder.encoder import Encoder
from clipkit.errors import CheckpointError, MissingExtraError

LoadNamed = Callable[[str], Encoder]
"""Returns the model to compare with, given the name of the one that made a file."""


def check_maker(
    noun: str, model: str, space_id: str, load_named: LoadNamed, *, where: str, remedy: str
) -> tuple[HealthCheck, Encoder | None]:
    """Check whose a file is.

    Args:
        noun: What the file holds, such as "calibration".
        model: The name of the model that made it.
        space_id: Of that model.
        load_named: Returns the model to compare with.
        where: The file.
        remedy: What to do for another model, as in "calibrate this one".

    Returns:
        The check; and the model, None if it cannot be loaded or is another one.
    """
    name = f"model of the {noun}"
    try:
        encoder = load_named(model)
    except (CheckpointError, MissingExtraError) as error:
        figure = f"not compared, it cannot be loaded: {error}"
        return HealthCheck(name, model, figure, "remark", "name the model with --model"), None
    figure = f"space {space_id} of {model}"
    if encoder.space_id == space_id:
        return HealthCheck(name, where, figure), encoder
    figure += f", and {encoder.name} is of space {encoder.space_id}"
    advice = f"it is of another model, or of other weights of that name: {remedy}"
    return HealthCheck(name, where, figure, "problem", advice), None


def check_dimensions(noun: str, dim: int, encoder: Encoder, where: str) -> HealthCheck:
    """Check that a file has as many dimensions as the embeddings of its model."""
    figure = f"{dim}, and the embeddings of {encoder.name} have {encoder.embed_dim}"
    if dim == encoder.embed_dim:
        return HealthCheck("dimensions", where, figure)
    return HealthCheck("dimensions", where, figure, "problem", f"the {noun} cannot be used with it")
