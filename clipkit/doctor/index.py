"""The diagnosis of a folder's indexes: records, vectors, model, files, and rows computed again."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.doctor.health import Diagnosis, HealthCheck, Verdict, has_problem
from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.encoder.encoder import Encoder
from clipkit.errors import (
    CheckpointError,
    InputError,
    LibraryError,
    MissingExtraError,
)
from clipkit.files import is_draft
from clipkit.inputs.folders import INDEX_FOLDER
from clipkit.progress import Progress
from clipkit.search.indexes import places_of_all
from clipkit.search.location import LibraryPlace, existing_location, has_index
from clipkit.search.status import read_status
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.crop_file import used_names
from clipkit.search.store.local.schema import SCHEMA_VERSION, rebuild_command
from clipkit.search.store.local.store import CATALOG_NAME, LocalSnapshot
from clipkit.search.store.local.vectors import NORM_ERROR, crops_name, vectors_files
from clipkit.search.store.records import CatalogMeta, IndexedFile

_SAMPLE = 16  # images that are embedded again
_BLOCK = 4096  # rows read at a time
# As the gate of int8, the coarsest precision that an index may be made in.
_LEAST_MEAN, _LEAST_COSINE = 0.99, 0.97
_CLOSE_COSINE = 0.999


def index_places(path: Path) -> list[LibraryPlace]:
    """Return the indexes that a path means, one for each model that a folder is indexed with.

    Args:
        path: A folder of images, or the directory of an index.

    Returns:
        The places; none if it is neither.
    """
    if not path.is_dir():
        return []
    if (path / CATALOG_NAME).is_file():
        folder = _folder_of(path)
        return [LibraryPlace(folder, path)]
    location = existing_location(path)
    return list(places_of_all(LibraryPlace(path, location))) if has_index(location) else []


def diagnose_index(
    places: Sequence[LibraryPlace],
    load_named: Callable[[str], Encoder],
    *,
    wanted: Encoder | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Check the indexes of a folder; nothing is changed.

    Args:
        places: One for each model that it is indexed with.
        load_named: Returns a model by its name: that of the one that made an index.
        wanted: The model that an index shall be of: the others are then left out; None: each is
            compared with the model that made it.
        progress: Called while rows are read.

    Returns:
        The diagnosis.
    """
    checks: list[HealthCheck] = []
    for place in _of_model(places, wanted):
        failing = "records"
        try:
            records = list(_record_checks(place))
            checks += records
            failing = "vectors"
            if not has_problem(records):
                checks += _content_checks(place, load_named, wanted, progress)
        except LibraryError as error:
            checks.append(HealthCheck(failing, str(place.location), str(error), "problem"))
    return Diagnosis(str(places[0].folder), "index", tuple(checks))


def _folder_of(location: Path) -> Path:
    """Return the folder that an index is of; the directory itself where it is damaged.

    One inside its folder moves with it, and says where the folder was when it was made.
    """
    holder = next((each for each in (location, location.parent) if each.name == INDEX_FOLDER), None)
    if holder is not None:
        return holder.parent
    try:
        meta = LibraryPlace(location, location).store.meta()
    except LibraryError:
        meta = None
    return location if meta is None else Path(meta.folder)


def _of_model(places: Sequence[LibraryPlace], wanted: Encoder | None) -> Sequence[LibraryPlace]:
    """Return the indexes of one model; all of them if there is none of it, or none is wanted."""
    own = []
    for place in places if wanted is not None else ():
        with suppress(LibraryError):
            meta = place.store.meta()
            if meta is not None and wanted is not None and meta.space_id == wanted.space_id:
                own.append(place)
    return own or places


def _record_checks(place: LibraryPlace) -> Iterator[HealthCheck]:
    where = str(place.catalog_path)
    catalog = Catalog.open(place.catalog_path, place.folder)
    if catalog is None:
        yield HealthCheck("records", where, "the catalog is empty", "problem", _again(place))
        return
    with catalog:
        damage = catalog.damage()
        meta = catalog.meta()
        rows = np.empty(0, np.int64) if damage or meta is None else catalog.rows()
    if damage:
        figure = f"SQLite finds {len(damage)} faults, the first: {damage[0].splitlines()[-1]}"
        yield HealthCheck("records", where, figure, "problem", _again(place, meta))
    elif meta is None:
        yield HealthCheck("records", where, "nothing was ever committed", "problem", _again(place))
    elif len(rows) and rows[-1] >= meta.num_rows:
        figure = f"an image has row {rows[-1]} of {meta.num_rows} rows of vectors"
        yield HealthCheck("records", where, figure, "problem", _again(place, meta))
    else:
        figure = (
            f"whole, schema {SCHEMA_VERSION}, {len(rows):,} images, by clipkit "
            f"{meta.clipkit_version}, in {place.location}"
        )
        yield HealthCheck("records", where, figure)


def _content_checks(
    place: LibraryPlace,
    load_named: Callable[[str], Encoder],
    wanted: Encoder | None,
    progress: Progress | None,
) -> Iterator[HealthCheck]:
    with place.store.snapshot() as snapshot:
        vectors = _check_vectors(place, snapshot, progress)
        yield vectors
        yield _check_leftovers(place, snapshot.meta)
        yield _check_files(place, snapshot.meta)
        try:
            encoder = wanted or load_named(snapshot.meta.model)
        except (CheckpointError, MissingExtraError) as error:
            figure = f"not compared, {snapshot.meta.model} cannot be loaded: {error}"
            advice = "name the model with --model"
            yield HealthCheck("model of the index", str(place.location), figure, "remark", advice)
            return
        model = _check_model(place, snapshot.meta, encoder)
        yield model
        if model.verdict == vectors.verdict == "ok":
            yield from _check_rows_again(place, snapshot, encoder)


def _check_vectors(
    place: LibraryPlace, snapshot: LocalSnapshot, progress: Progress | None
) -> HealthCheck:
    """Return whether the vectors of all images, and of their crops, are numbers and of norm 1."""
    meta = snapshot.meta
    path = place.location / meta.vectors_file
    rows = snapshot.catalog.rows()
    num_rows, num_broken, num_other, largest = 0, 0, 0, 0.0
    are_wholes_broken = False
    for start in range(0, len(rows), _BLOCK):
        views = _stored_rows(snapshot, rows[start : start + _BLOCK])
        with np.errstate(all="ignore"):  # of what is no number
            norms = np.linalg.norm(views, axis=2)
            are_wholes_broken |= not (np.abs(norms[:, 0] - 1) <= NORM_ERROR).all()
        num_rows += norms.size
        is_number = np.isfinite(norms)
        errors = np.abs(norms[is_number] - 1)
        num_broken += int(np.count_nonzero(~is_number))
        num_other += int(np.count_nonzero(errors > NORM_ERROR))
        largest = max(largest, float(errors.max(initial=0)))
        if progress:
            progress(min(start + _BLOCK, len(rows)), len(rows))
    figure = (
        f"{num_rows:,} rows of {snapshot.embed_dim} dimensions, norms within {largest:.2g} of 1"
    )
    if meta.crops > 1:
        figure += f", {meta.crops} rows an image"
    if not (num_broken or num_other):
        return HealthCheck("vectors", str(path), figure)
    figure = f"of {num_rows:,} rows {num_broken} hold NaN, {num_other} are not of norm 1"
    remedy = _again(place, meta)
    if not are_wholes_broken:
        path = path.with_name(crops_name(meta.vectors_file))
        command = f"clipkit index {_named(place, meta)} --crops"
        remedy = f"run  {command} 1  and then  {command} {meta.crops}"
    return HealthCheck("vectors", str(path), figure, "problem", remedy)


def _stored_rows(snapshot: LocalSnapshot, rows: NDArray[np.int64]) -> Embeddings:
    """Return images and their crops as they are on the disk, whatever that is: (K, R, D)."""
    wholes = snapshot.vector_file.take(rows)
    if snapshot.crop_file is None:
        return wholes[:, None]
    return snapshot.crop_file.take(wholes, rows)


def _check_leftovers(place: LibraryPlace, meta: CatalogMeta) -> HealthCheck:
    """Return which files of a killed process lie beside the index."""
    used = used_names(meta)
    left = [path for path in vectors_files(place.location) if path.name not in used]
    left += [path for path in place.location.iterdir() if is_draft(path)]
    if not left:
        return HealthCheck("leftover files", str(place.location), "none")
    size = sum(path.stat().st_size for path in left if path.is_file())
    names = ", ".join(sorted(path.name for path in left)[:3])
    figure = f"{len(left)} of a process that was killed, {size:,} bytes: {names}"
    advice = "they do no harm and may be deleted while nothing is indexing"
    return HealthCheck("leftover files", str(place.location), figure, "remark", advice)


def _check_files(place: LibraryPlace, meta: CatalogMeta) -> HealthCheck:
    try:
        status = read_status(place)
    except InputError as error:
        return HealthCheck("images", str(place.folder), str(error), "remark")
    lag = {
        "new": status.num_new,
        "changed": status.num_changed,
        "gone": status.num_removed,
        "missing": status.num_missing,
    }
    figure = f"{status.num_unchanged:,} as they were indexed"
    behind = [f"{count:,} {word}" for word, count in lag.items() if count]
    if not behind:
        return HealthCheck("images", str(place.folder), f"{figure}, none new, changed or gone")
    advice = f"run  clipkit index {_named(place, meta)}"
    if status.num_missing:
        advice += "  (with --prune if the missing ones are gone and not on another disk)"
    return HealthCheck(
        "images", str(place.folder), f"{figure}, {', '.join(behind)}", "remark", advice
    )


def _check_model(place: LibraryPlace, meta: CatalogMeta, encoder: Encoder) -> HealthCheck:
    figure = f"space {meta.space_id} of {meta.model}, {meta.precision} on {meta.engine}"
    name, where = "model of the index", str(place.location)
    if meta.space_id == encoder.space_id:
        return HealthCheck(name, where, figure)
    folder, model = shlex.quote(str(place.folder)), shlex.quote(encoder.name)
    figure += f", and {encoder.name} is of space {encoder.space_id}"
    advice = f"no search with {encoder.name} uses it: run  clipkit index {folder} --model {model}"
    if (meta.model, meta.embed_dim) == (encoder.name, encoder.embed_dim):  # the weights changed
        advice += " --rebuild"
    return HealthCheck(name, where, figure, "problem", advice)


def _check_rows_again(
    place: LibraryPlace, snapshot: LocalSnapshot, encoder: Encoder
) -> Iterator[HealthCheck]:
    """Embed a few unchanged images once more and compare them with their rows."""
    name, where = "images embedded again", str(place.folder)
    sample = _unchanged_sample(place, snapshot.catalog.images(place.prefix))
    again = encoder.encode_readable_images([place.path(file.path) for file in sample])
    for _, error in again.skipped:
        yield HealthCheck("image file", where, str(error), "remark", "copy it again, or delete it")
    if not len(again.positions):
        figure = "not compared: none is there unchanged and can be read"
        yield HealthCheck(name, where, figure, "remark")
        return
    readable = [sample[position] for position in again.positions]
    stored = normalize_rows(snapshot.vectors([file.row for file in readable]))
    cosines = np.einsum("nd,nd->n", stored, again.embeddings)
    figure = (
        f"{len(readable)} images: cosine to the stored row {cosines.mean():.5f} on average, "
        f"{cosines.min():.5f} at least ({readable[int(cosines.argmin())].path})"
    )
    if cosines.mean() >= _LEAST_MEAN and cosines.min() >= _LEAST_COSINE:
        verdict: Verdict = "ok" if cosines.mean() >= _CLOSE_COSINE else "remark"
        advice = "" if verdict == "ok" else "it was made in another precision or by another decoder"
        yield HealthCheck(name, where, figure, verdict, advice)
        return
    advice = f"the rows are wrong: {_again(place, snapshot.meta)}"
    yield HealthCheck(name, where, figure, "problem", advice)


def _unchanged_sample(place: LibraryPlace, known: Mapping[str, IndexedFile]) -> list[IndexedFile]:
    """Return some images whose files are as they were indexed, the same ones every time."""
    chosen: list[IndexedFile] = []
    paths = sorted(known)
    for number in np.random.default_rng(0).permutation(len(known)):
        path = paths[number]
        with suppress(OSError):
            status = place.path(path).stat()
            if (status.st_size, status.st_mtime_ns) == (known[path].size, known[path].mtime_ns):
                chosen.append(known[path])
        if len(chosen) == _SAMPLE:
            break
    return chosen


def _again(place: LibraryPlace, meta: CatalogMeta | None = None) -> str:
    """Return what rebuilds an index, of the model that made it where that is known."""
    if meta is None:
        return f"run  {rebuild_command(place.folder)}"
    return f"run  clipkit index --rebuild {_named(place, meta)}"


def _named(place: LibraryPlace, meta: CatalogMeta) -> str:
    folder = shlex.quote(str(place.folder))
    return folder if meta.model == "starter" else f"{folder} --model {shlex.quote(meta.model)}"
