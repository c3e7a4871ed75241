"""The public names, and that demo and notebooks use nothing else."""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import PIL.Image  # noqa: F401 - hints name its class, which has to be there by then
import pytest

import clipkit
from tests.conftest import ROOT

CALLERS = sorted(
    [*(ROOT / "clipkit" / "demo").glob("**/*.py"), *(ROOT / "notebooks").glob("**/*.py")]
)


def test_all_is_sorted_and_complete() -> None:
    assert clipkit.__all__ == sorted(set(clipkit.__all__)) == dir(clipkit)


@pytest.mark.parametrize("name", clipkit.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(clipkit, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__


def test_an_unknown_name_raises() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = clipkit.lod  # type: ignore[attr-defined] # as a type checker says, too


# Made by load and PhotoLibrary's methods: nobody else needs what their constructors take.
MADE_BY_CLIPKIT = {"EmbeddingFiles", "Encoder", "PhotoLibrary", "IndexedFiles", "ThumbnailCache"}


def test_every_type_of_a_public_call_is_public() -> None:
    public = {name: getattr(clipkit, name) for name in clipkit.__all__}
    missing: dict[str, str] = {}
    waiting, seen = list(public.values()), set[type]()
    while waiting:
        for cls, place in types_of(waiting.pop()):
            if cls.__module__.startswith("clipkit") and cls not in seen:
                seen.add(cls)
                waiting.append(cls)  # what a missing type takes is missing as well
                if cls not in public.values() and not stands_for_one_of(cls, public.values()):
                    missing[cls.__name__] = place
    assert missing == {}


def stands_for_one_of(cls: type, others: Iterable[object]) -> bool:
    """Return whether a class is a protocol, against an import cycle, of one of the others."""
    members = {name for name in vars(cls) if not name.startswith("_")}
    is_protocol = getattr(cls, "_is_protocol", False)
    return is_protocol and any(inspect.isclass(one) and members <= {*dir(one)} for one in others)


def types_of(value: object) -> Iterator[tuple[type, str]]:
    """Yield the classes in the annotations of a function, or of a class's public members."""
    if inspect.isclass(value):
        for name, annotation in hints(value).items():
            yield from ((cls, f"{value.__name__}.{name}") for cls in classes_in(annotation))
        for name, method in methods(value):
            place = f"{value.__name__}.{name}"
            yield from ((cls, place) for cls in classes_in([*hints(method).values()]))
    elif inspect.isfunction(value):
        place = value.__name__
        yield from ((cls, place) for cls in classes_in([*hints(value).values()]))


def methods(cls: type) -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield the public methods, properties and constructor of a class, inherited ones too."""
    members = {
        name: member for base in reversed(cls.__mro__) for name, member in vars(base).items()
    }
    for name, member in members.items():
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        is_public = name == "__init__" and cls.__name__ not in MADE_BY_CLIPKIT
        if inspect.isfunction(function) and (is_public or not name.startswith("_")):
            yield name, function


def hints(value: Any) -> dict[str, object]:
    """Return the public annotations of a class or function, names of TYPE_CHECKING resolved."""
    if not value.__module__.startswith("clipkit"):
        return {}
    module = sys.modules[value.__module__]
    found = get_type_hints(value, localns=names_for_type_checkers(module), include_extras=True)
    return {name: hint for name, hint in found.items() if not name.startswith("_")}


def names_for_type_checkers(module: ModuleType) -> dict[str, object]:
    """Return what a module imports from clipkit and Pillow, also for type checkers only."""
    names: dict[str, object] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("clipkit", "PIL")):
            home = importlib.import_module(node.module or "")
            names |= {item.asname or item.name: getattr(home, item.name) for item in node.names}
    return names


def classes_in(annotation: object) -> Iterator[type]:
    """Yield the classes that an annotation is made of."""
    if isinstance(annotation, type):
        yield annotation
    parts = annotation if isinstance(annotation, list | tuple) else get_args(annotation)
    for part in parts:
        yield from classes_in(part)


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
            if (node.module or "").startswith(("clipkit.demo", "clipkit.web")):
                continue  # one file of the page and another, and what it shares with the API
            assert node.module == "clipkit", f"line {node.lineno}: import it from clipkit"
            assert {alias.name for alias in node.names} <= set(clipkit.__all__)
        if isinstance(node, ast.Import):
            deep = [alias.name for alias in node.names if alias.name.startswith("clipkit.")]
            assert not deep, f"line {node.lineno}: {deep}"
        is_attribute = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if is_attribute and node.value.id == "clipkit":  # type: ignore[attr-defined]
            assert node.attr in clipkit.__all__, f"line {node.lineno}"  # type: ignore[attr-defined]
