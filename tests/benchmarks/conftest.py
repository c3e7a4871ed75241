"""Modules of benchmarks, which is a folder of scripts and no package."""

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import ROOT

Load = Callable[[str], Any]


@pytest.fixture
def load_benchmark(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return a function that imports one by its name; they import each other as scripts do."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module
