"""clipkit.diagnose: find out what kind of thing is meant, and check it."""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from clipkit.adaptation.concept import CONCEPT_FILE
from clipkit.adaptation.head import HEAD_FILE
from clipkit.arguments import check_path
from clipkit.doctor.adapted import diagnose_concept, diagnose_head
from clipkit.doctor.calibration import CALIBRATION_MARK, diagnose_calibration
from clipkit.doctor.health import Diagnosis
from clipkit.doctor.index import diagnose_index, index_places
from clipkit.doctor.made_by import LoadNamed
from clipkit.doctor.model import diagnose_model
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.engines import Engine
from clipkit.encoder.loading import load
from clipkit.errors import CheckpointError, InputError
from clipkit.files import read_json_object
from clipkit.models.sources import resolve_source
from clipkit.paths import expand_home
from clipkit.progress import Progress
from clipkit.search.location import indexed_parents, libraries_home

_Check = Callable[[Path, LoadNamed], Diagnosis]

# Files by a key of the JSON object that they hold. Another kind of file is one more entry.
_OF_JSON: Mapping[str, _Check] = {CALIBRATION_MARK: diagnose_calibration}
# Files of tensors by what stands in their first bytes, also of one that is cut short.
_OF_TENSORS: Mapping[str, _Check] = {
    HEAD_FILE.mark: diagnose_head,
    CONCEPT_FILE.mark: diagnose_concept,
}
_NONE_OF_THESE = (
    "no calibration (clipkit evaluate --calibrate), head (clipkit adapt -o) or concept (clipkit "
    "teach)"
)
_LARGEST_JSON = 64 << 20  # bytes; one that is larger is no file of these kinds
_FIRST_BYTES = 4096


def diagnose(
    name: str | Path = "starter",
    *,
    model: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    engine: Engine = "auto",
    progress: Progress | None = None,
) -> Diagnosis:
    """Return what is wrong with a model, the index of a folder, a calibration, head or concept.

    Args:
        name: A model, as for :func:`clipkit.load`; a folder that is indexed, or the directory of an
            index; or a file that ``clipkit evaluate --calibrate``, ``clipkit adapt -o`` or
            ``clipkit teach`` wrote.
        model: The model that an index or a file shall be of; None: the one that made it.
        device: As for :func:`clipkit.load`.
        precision: As for :func:`clipkit.load`.
        engine: As for :func:`clipkit.load`.
        progress: Called while the rows of an index are read.

    Returns:
        The diagnosis; nothing is changed.

    Raises:
        InputError: If it is none of these, or device, precision or engine do not fit.
        CheckpointError: If there is no such model.
        OfflineError: If weights would have to be fetched and there is no network.
        MissingExtraError: If the model needs torch and torch is not installed.
    """

    def load_named(made_by: str) -> Encoder:
        wanted = made_by if model is None else model
        return load(wanted, device=device, precision=precision, engine=engine, cache_texts=False)

    path = expand_home(check_path(name, "the name of a model, a folder or a file"))
    diagnose_file = _file_kind(path)
    if diagnose_file is not None:
        return diagnose_file(path, load_named)
    if not _is_model(name):
        places = index_places(path)
        if places:
            wanted = None if model is None else load_named("")
            return diagnose_index(places, load_named, wanted=wanted, progress=progress)
        _refuse_other(name, path)
    if model is not None:
        raise InputError(
            f"{name} is a model, and --model says which model an index, a calibration, a head or "
            "a concept shall be of: leave it out"
        )
    return diagnose_model(name, device=device, precision=precision, engine=engine)


def _file_kind(path: Path) -> _Check | None:
    """Return what checks a file of one of the kinds; None if it is none."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(_FIRST_BYTES)
        if not head.startswith(b"{"):
            marks = (mark for mark in _OF_TENSORS if f'"{mark}"'.encode() in head)
            return next(map(_OF_TENSORS.get, marks), None)
        if path.stat().st_size > _LARGEST_JSON:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return next((check for mark, check in _OF_JSON.items() if mark in content), None)


def _is_model(name: str | Path) -> bool:
    try:
        resolve_source(name)
    except CheckpointError:
        return False
    return True


def _refuse_other(name: str | Path, path: Path) -> None:
    """Raise for what is there and is nothing that can be checked; names are resolved elsewhere."""
    if not path.exists():
        return
    if path.is_file() and not path.stat().st_size:
        raise InputError(f"{path} is empty (0 bytes): there is nothing in it to check")
    if path.suffix.lower() == ".json" and path.is_file() and not _is_model(path.parent):
        read_json_object(path, InputError)  # one that was cut short may be a calibration
        raise InputError(
            f"{path} is {_NONE_OF_THESE}: give such a file, a model, or a folder that is indexed"
        )
    try:
        resolve_source(path)
    except CheckpointError as error:
        hint = _about_index(name, path) if path.is_dir() else f"it is {_NONE_OF_THESE}"
        raise InputError(f"{error}; {hint}") from error


def _about_index(name: str | Path, path: Path) -> str:
    """Return why a folder has no index to check, and what to run."""
    parent = next(indexed_parents(path), None)
    if parent is not None:
        return (
            f"it is a part of an indexed folder: run  clipkit doctor "
            f"{shlex.quote(str(parent.indexed_folder))}"
        )
    return (
        f"nor is there an index of it, in it or in {libraries_home()}: run  clipkit index "
        f"{shlex.quote(str(name))}  (it also finds that of a folder that was renamed)"
    )
