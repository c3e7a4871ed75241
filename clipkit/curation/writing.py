"""The pairs to keep as a table (.csv, .tsv, .jsonl) that opens as image-text pairs again."""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

from clipkit.curation.filtering import KeptPair
from clipkit.data.pair import Pair, PairDataset
from clipkit.errors import ImageReadError, InputError

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = ".jsonl"
_COLUMNS = ("filepath", "title")


def check_is_table(path: Path) -> None:
    """Raise unless a path ends like a table that can be written.

    Args:
        path: The table to be written.

    Raises:
        InputError: If it does not end in .csv, .tsv or .jsonl.
    """
    if path.suffix.lower() not in (*_DELIMITERS, _JSON_LINES):
        raise InputError(f"a table ends in .csv, .tsv or .jsonl, got {path}")


def check_has_files(source: PairDataset) -> None:
    """Raise if the images of pairs are no files, which a table could not name.

    Args:
        source: The pairs; the first readable one stands for all.

    Raises:
        InputError: If they lie in shards.
    """
    for row in range(len(source)):
        try:
            pair = source[row]
        except ImageReadError:
            continue
        _file(pair)
        return


def table_text(path: Path, source: PairDataset, kept: Sequence[KeptPair]) -> str:
    """Return a table of pairs, as open_pairs reads it.

    Images are named relative to the table's folder, so that both can move together. Of several
    captions a .csv or .tsv has one line each, a .jsonl has a list.

    Args:
        path: The table to be written; its extension gives the format.
        source: Where the pairs come from.
        kept: Which pairs, and which of their captions.

    Returns:
        The content of the file.

    Raises:
        InputError: If an image is no file.
    """
    check_is_table(path)
    files = [(_relative(_file(source[pair.row]), path.parent), pair.captions) for pair in kept]
    if path.suffix.lower() == _JSON_LINES:
        # ASCII: an odd byte of a file name is written as an escape that comes back as it was.
        return "".join(
            json.dumps(dict(zip(_COLUMNS, (file, list(captions)), strict=True))) + "\n"
            for file, captions in files
        )
    text = io.StringIO()
    delimiter = _DELIMITERS[path.suffix.lower()]
    plain = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    quoting = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(_COLUMNS)
    for file, captions in files:
        for caption in captions:
            # Before Python 3.13 a carriage return alone got no quotation marks, and ended the row.
            rows = quoting if "\r" in file + caption else plain
            rows.writerow((file, caption))
    return text.getvalue()


def _file(pair: Pair) -> Path:
    if not isinstance(pair.image, str | Path):
        raise InputError(
            f"the image of {pair.name} is no file by itself, so a table cannot name it: unpack "
            "it into a folder first, or see what would be dropped with --dry-run"
        )
    return Path(pair.image)


def _relative(file: Path, folder: Path) -> str:
    # Links resolved: ".." leads out of where a folder really is.
    real = file.parent.resolve() / file.name
    try:
        return Path(os.path.relpath(real, folder.resolve())).as_posix()
    except ValueError:  # another drive on Windows
        return str(real)
