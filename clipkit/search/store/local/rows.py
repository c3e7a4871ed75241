"""Adding and removing single rows of a catalog, inside a transaction.

An image that leaves its path keeps its row of the vectors file for a while, in the table absent:
either its file is expected to be back (it is *missing*), or it was removed, and a later file of the
same content need not be encoded again.
"""

import sqlite3

from clipkit.search.store.local.schema import PATH_ERRORS
from clipkit.search.store.records import ImageRow, SkippedFile

COLUMNS = ", ".join(ImageRow._fields)

_NOW = "CAST(strftime('%s', 'now') AS INTEGER)"


def put_image(connection: sqlite3.Connection, image: ImageRow) -> None:
    """Write an image as the only record of its path and of its row."""
    put_aside(connection, image.path, is_removed=True)
    connection.execute("DELETE FROM absent WHERE row = ?", (image.row,))
    connection.execute(
        f"INSERT OR REPLACE INTO images ({COLUMNS})"
        " VALUES (CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (encode_text(image.path), *image[1:]),
    )


def put_skipped(connection: sqlite3.Connection, file: SkippedFile) -> None:
    """Write an unreadable file as the only record of its path."""
    put_aside(connection, file.path, is_removed=True)
    connection.execute(
        "INSERT INTO skipped (path, size, mtime_ns, reason, is_settled)"
        " VALUES (CAST(? AS TEXT), ?, ?, CAST(? AS TEXT), ?)",
        (
            encode_text(file.path),
            file.size,
            file.mtime_ns,
            encode_text(file.reason),
            file.is_settled,
        ),
    )


def put_aside(connection: sqlite3.Connection, path: str, *, is_removed: bool) -> None:
    """Delete the record of a path; the row of its image stays in use, as absent.

    Args:
        connection: Inside a transaction.
        path: The path; an unknown one is ignored.
        is_removed: Whether the image is gone for good; else its file is expected to be back.
    """
    name = (encode_text(path),)
    here = "WHERE path = CAST(? AS TEXT)"
    left = f"{is_removed:d}, {_NOW}"
    connection.execute(
        f"INSERT INTO absent ({COLUMNS}, is_removed, left_at)"
        f" SELECT {COLUMNS}, {left} FROM images {here}",
        name,
    )
    connection.execute(f"DELETE FROM images {here}", name)
    connection.execute(f"DELETE FROM skipped {here}", name)
    if is_removed:
        connection.execute(
            f"UPDATE absent SET (is_removed, left_at) = ({left}) {here} AND NOT is_removed", name
        )


def drop_removed(connection: sqlite3.Connection, max_seconds: int, min_rows: int) -> None:
    """Free the rows of removed images, as `Catalog.forget_removed` says."""
    connection.execute(
        f"DELETE FROM absent WHERE is_removed AND (left_at < {_NOW} - ? OR digest IS NULL"
        " OR EXISTS (SELECT 1 FROM images WHERE digest = absent.digest))",
        (max_seconds,),
    )
    connection.execute(
        "DELETE FROM absent WHERE row IN ("
        "SELECT row FROM absent WHERE is_removed ORDER BY left_at DESC, row"
        " LIMIT -1 OFFSET max(?, (SELECT count(*) FROM images)))",
        (min_rows,),
    )


def encode_text(text: str) -> bytes:
    """Return the bytes SQLite keeps; undecodable file names keep the bytes they have on disk."""
    return text.encode("utf-8", PATH_ERRORS)
