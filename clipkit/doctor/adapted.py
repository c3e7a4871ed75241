"""The diagnosis of what was made of a user's images: heads and concepts, one file each."""

from collections.abc import Iterator
from pathlib import Path

from clipkit.adaptation.concept import Concept
from clipkit.adaptation.head import Head
from clipkit.doctor.health import Diagnosis, HealthCheck, broken_file
from clipkit.doctor.made_by import LoadNamed, check_dimensions, check_maker
from clipkit.errors import InputError


def diagnose_head(path: Path, load_named: LoadNamed) -> Diagnosis:
    """Check a head file, and whether it fits the model that it is used with.

    Args:
        path: The file.
        load_named: Returns the model to compare with, given the name of the one that made it.

    Returns:
        The diagnosis.
    """
    try:
        head = Head.load(path)
    except InputError as error:
        return broken_file("head", path, error)
    count = head.details.get("num_images")
    images = "" if count is None else f", fitted on {count} images"
    figure = f"whole: {len(head.class_names)} classes by {head.method}{images}"
    checks = [
        HealthCheck("head file", str(path), figure),
        *_of_model(
            "head",
            path,
            load_named,
            made=(head.model, head.space_id, head.classifier.weights.shape[1]),
            remedy="fit one on this model with  clipkit adapt",
        ),
    ]
    return Diagnosis(str(path), "head", tuple(checks))


def diagnose_concept(path: Path, load_named: LoadNamed) -> Diagnosis:
    """Check a concept file, and whether it fits the model that it is used with.

    Args:
        path: The file.
        load_named: Returns the model to compare with, given the name of the one that made it.

    Returns:
        The diagnosis.
    """
    try:
        concept = Concept.load(path)
    except InputError as error:
        return broken_file("concept", path, error)
    kind = "" if concept.kind is None else f', "{concept.kind}"'
    figure = (
        f"whole: {concept.name}{kind}, taught from {concept.num_images} images and "
        f"{concept.num_negatives} of other things on {concept.created[:10]}"
    )
    checks = [
        HealthCheck("concept file", str(path), figure),
        *_of_model(
            "concept",
            path,
            load_named,
            made=(concept.model, concept.space_id, len(concept.embedding)),
            remedy="teach it with this model too, with  clipkit teach",
        ),
    ]
    return Diagnosis(str(path), "concept", tuple(checks))


def _of_model(
    noun: str, path: Path, load_named: LoadNamed, *, made: tuple[str, str, int], remedy: str
) -> Iterator[HealthCheck]:
    """Yield the checks of a model's name, its space and its number of dimensions."""
    model, space_id, dim = made
    where = str(path)
    check, encoder = check_maker(noun, model, space_id, load_named, where=where, remedy=remedy)
    yield check
    if encoder is not None:
        yield check_dimensions(noun, dim, encoder, where)
