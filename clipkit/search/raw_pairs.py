"""A camera's RAW file beside the JPEG of the same shot: one picture in two files."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from clipkit.inputs.raw import RAW_EXTENSIONS

_DEVELOPED = {".jpg", ".jpeg", ".heic", ".heif", ".hif"}  # what cameras write beside a RAW file


def raw_files(paths: Iterable[str], shown: Iterable[str] = ()) -> Mapping[str, str]:
    """Return which RAW files another file stands for.

    That is one in the same folder, of the same name but for its ending, in upper or lower case.

    Args:
        paths: Candidates, as the catalog writes them, best first.
        shown: Further files that RAW files may belong to, such as a query's own.

    Returns:
        The file that stands for it, by the RAW file's path.
    """
    candidates = list(paths)
    developed = {
        _shot(path): path for path in (*reversed(candidates), *shown) if _ending(path) in _DEVELOPED
    }
    return {
        path: developed[_shot(path)]
        for path in candidates
        if _ending(path) in RAW_EXTENSIONS and _shot(path) in developed
    }


def _ending(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _shot(path: str) -> str:
    """Return what the files of one shot have in common."""
    place = PurePosixPath(path)
    return str(place.with_name(place.stem.lower()))
