"""Notebooks run from top to bottom, and the .ipynb files are made of the reviewed sources."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

SOURCES = sorted((ROOT / "notebooks").glob("[0-9]*.py"))


def cells(notebook: Any) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_there_is_one_to_begin_with() -> None:
    assert SOURCES


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_notebook_is_made_of_its_source(source: Path) -> None:
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert cells(notebook) == cells(jupytext.read(source)), "run  make notebooks"
    outputs = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    assert len(outputs) > 5
    content = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert str(ROOT) not in content
    assert "/root/" not in content
    assert "/home/" not in content


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the Jupyter client's own
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_notebook_runs_and_prints_what_it_printed(source: Path) -> None:
    spec = importlib.util.spec_from_file_location("build", ROOT / "notebooks" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    fresh = builder.build(source)
    kept = nbformat.read(source.with_suffix(".ipynb"), as_version=4)

    texts, numbers = zip(printed(fresh), printed(kept), strict=True)
    assert texts[0] == texts[1], "run  make notebooks"
    # Scores are printed with two decimals; another processor may round the last one otherwise.
    assert numbers[0] == pytest.approx(numbers[1], abs=0.011), "run  make notebooks"


def printed(notebook: Any) -> tuple[str, list[float]]:
    """Return what a notebook printed: the words, and the numbers apart from them."""
    text = "".join(
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout"
    )
    number = r"-?\d+\.\d+"
    return re.sub(number, "#", text), [float(value) for value in re.findall(number, text)]
