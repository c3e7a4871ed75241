"""clipkit's own version, as installed. Reading it takes 15 ms: import this where it is needed."""

from importlib import metadata


def _installed_version() -> str:
    try:
        return metadata.version("clipkit")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


__version__ = _installed_version()
"""The installed version, as in "0.2.0"; "unknown" in a checkout that is not installed."""
