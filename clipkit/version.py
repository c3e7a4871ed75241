"""Installed versions, of clipkit and others. Reading takes 15 ms: import this where needed."""

import platform
from collections.abc import Iterable
from importlib import metadata


def _installed_version() -> str:
    try:
        return metadata.version("clipkit")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


__version__ = _installed_version()
"""The installed version, as in "0.2.0"; "unknown" in a checkout that is not installed."""


def environment(packages: Iterable[str]) -> str:
    """Return what something was made with: Python, machine, and those packages that are here.

    Args:
        packages: Names as on PyPI.

    Returns:
        One line.
    """
    found = []
    for package in packages:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    machine = f"{platform.system()} {platform.machine()}"
    return f"Python {platform.python_version()} on {machine}; {', '.join(found)}"
