"""clipkit's own version."""

import tomllib
from importlib import metadata

import pytest

import clipkit
from clipkit.version import _installed_version
from tests.conftest import ROOT


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert clipkit.__version__ == project["version"]


def test_a_checkout_that_is_not_installed_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_found)
    assert _installed_version() == "unknown"
