"""Folders to scan, and what a scan found, for the tests of scans."""

from pathlib import Path

from clipkit.inputs.folders import FolderScan, LeftOut


def fill(folder: Path, *paths: str) -> None:
    """Make files, each holding its own path."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def paths_of(scan: FolderScan) -> list[str]:
    return [entry.path for entry in scan.entries]


def reasons_of(scan: FolderScan) -> dict[str, str]:
    return {error.path: error.reason for error in scan.skipped}


def left_out_of(scan: FolderScan) -> dict[str, str]:
    """Return the reason of each, with the path that stands for it."""
    assert scan.left_out == sorted(scan.left_out)
    assert all(isinstance(item, LeftOut) for item in scan.left_out)
    return {
        item.path: f"{item.reason}: {item.same_as}" if item.same_as else item.reason
        for item in scan.left_out
    }
