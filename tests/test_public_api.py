"""The public names, and that demo and notebooks use nothing else."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import clipkit
from tests.conftest import ROOT

CALLERS = sorted([*(ROOT / "demo").glob("**/*.py"), *(ROOT / "notebooks").glob("**/*.py")])


def test_all_is_sorted_and_complete() -> None:
    constants = [name for name in clipkit.__all__ if name.isupper()]
    others = [name for name in clipkit.__all__ if not name.isupper()]
    classes = [name for name in others if name[0].isupper()]
    assert clipkit.__all__ == [*constants, *sorted(classes), *sorted(set(others) - set(classes))]
    assert set(clipkit.__all__) == set(clipkit._HOME)
    assert dir(clipkit) == sorted(clipkit.__all__)


@pytest.mark.parametrize("name", clipkit.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(clipkit, name)
    assert value is getattr(sys.modules[clipkit._HOME[name]], name)
    if callable(value):
        assert value.__doc__


def test_an_unknown_name_raises() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = clipkit.lod


def run_python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_importing_clipkit_imports_no_torch() -> None:
    run_python("import clipkit, sys; assert 'torch' not in sys.modules")


def test_importing_clipkit_imports_next_to_nothing() -> None:
    run_python(
        "import sys; before = set(sys.modules); import clipkit; "
        "new = {name.split('.')[0] for name in set(sys.modules) - before}; "
        "assert 'numpy' not in new and 'PIL' not in new and 'onnxruntime' not in new, new"
    )


@pytest.mark.slow
def test_searching_and_classifying_with_the_starter_imports_no_torch() -> None:
    run_python(
        "import sys; from clipkit.cli.main import main; "
        "status = main(['classify', 'demo/samples/cat.jpg', '--labels', 'cat,dog', '--json']); "
        "heavy = {'torch', 'open_clip', 'transformers', 'timm', 'gradio'} & set(sys.modules); "
        "assert status == 0 and not heavy, (status, heavy)"
    )


def test_there_are_callers() -> None:
    assert len(CALLERS) >= 3


@pytest.mark.parametrize("path", CALLERS, ids=lambda path: path.name)
def test_demo_and_notebooks_use_only_public_names(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("clipkit"):
            assert node.module == "clipkit", f"line {node.lineno}: import it from clipkit"
            assert {alias.name for alias in node.names} <= set(clipkit.__all__)
        if isinstance(node, ast.Import):
            deep = [alias.name for alias in node.names if alias.name.startswith("clipkit.")]
            assert not deep, f"line {node.lineno}: {deep}"
        is_attribute = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if is_attribute and node.value.id == "clipkit":  # type: ignore[attr-defined]
            assert node.attr in clipkit.__all__, f"line {node.lineno}"  # type: ignore[attr-defined]
