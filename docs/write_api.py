"""Writes docs/api.md and clipkit/__init__.pyi from clipkit's public names and their docstrings.

Run as  python docs/write_api.py  after a public name or its first line changed; a test looks
whether that was done.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import clipkit

ROOT = Path(__file__).parents[1]
PAGE, STUB = ROOT / "docs" / "api.md", ROOT / "clipkit" / "__init__.pyi"
ERRORS = "Errors and warnings"
# Which modules' names stand under a heading; of several the longest beginning decides.
GROUPS = {
    "Models": ("clipkit.encoder.loading", "clipkit.encoder.spec", "clipkit.models"),
    "Encoding images and text": ("clipkit.encoder", "clipkit.inputs", "clipkit.runtime"),
    "Embedding large collections into files": ("clipkit.bulk_embedding",),
    "Arithmetic on embeddings": ("clipkit.embeddings", "clipkit.quantizer"),
    "Zero-shot classification": ("clipkit.zero_shot",),
    "Adapting a model to labels of your own": ("clipkit.adaptation", "clipkit.runs.adapt"),
    "Evaluating a model": ("clipkit.evaluation", "clipkit.metrics"),
    "What is silently wrong": (
        "clipkit.doctor",
        "clipkit.runtime.autotune",
        "clipkit.runtime.bundle",
    ),
    "Heat maps of a text over an image": ("clipkit.explanation",),
    "Taught concepts": ("clipkit.adaptation.concept", "clipkit.adaptation.teaching"),
    "Searching a folder of images": ("clipkit.search", "clipkit.data.image_texts"),
    "Duplicates": ("clipkit.search.duplicates",),
    "A folder as a map": ("clipkit.mapping",),
    "Training": ("clipkit.training", "clipkit.runs", "clipkit.data"),
    "Progress and version": ("clipkit.progress", "clipkit.version"),
    ERRORS: ("clipkit.errors",),
}
# Made by load() and by methods of PhotoLibrary: what their constructors take is no concern.
MADE_BY_CLIPKIT = {"EmbeddingFiles", "Encoder", "IndexedFiles", "PhotoLibrary", "ThumbnailCache"}
HEAD = """\
# Public names

All that `import clipkit` offers, each with the first line of its docstring (`help(clipkit.load)`
says more: shapes, ranges, errors). Names that are not here may change at any time. Embeddings are
float32 arrays of shape (N, D) with rows of norm 1. Made by `python docs/write_api.py`.
"""


def api_page() -> str:
    """Return the page: each public name with the first line of its docstring, under a heading."""
    grouped: dict[str, list[str]] = {title: [] for title in GROUPS}
    for name in clipkit.__all__:
        grouped[_group(name)].append(name)
    lines = [HEAD]
    for title, names in grouped.items():
        lines += [f"## {title}", "", "| | |", "|---|---|"]
        # What is called comes before what it takes and returns.
        for name in sorted(names, key=lambda name: (name[0].isupper(), name)):
            lines += _rows(name)
        lines.append("")
    return "\n".join(lines)


def stub() -> str:
    """Return what type checkers and editors read in place of clipkit/__init__.py."""
    lines = ['"""Made by docs/write_api.py from clipkit/__init__.py."""', ""]
    for module, names in clipkit._PUBLIC.items():
        lines += [f"from {module} import {name} as {name}" for name in names]
    return "\n".join([*lines, "", "__all__: list[str]", ""])


def _group(name: str) -> str:
    if name.endswith(("Error", "Warning")):
        return ERRORS
    module = clipkit._MODULE_OF[name]
    known = {prefix: title for title, prefixes in GROUPS.items() for prefix in prefixes}
    return known[max((prefix for prefix in known if module.startswith(prefix)), key=len)]


def _rows(name: str) -> Iterator[str]:
    """Yield the rows of a name and of the public methods and properties of a class."""
    value = getattr(clipkit, name)
    if inspect.isfunction(value):
        yield _row(name + _parameters(value), value.__doc__)
    elif not inspect.isclass(value):
        yield _row(name, _text_below(name))
    elif issubclass(value, Exception):
        yield _row(name, value.__doc__)
    else:
        fields = [field for field in getattr(value, "__annotations__", ()) if field[0] != "_"]
        if fields:
            listed = ", ".join(f"`{field}`" for field in fields)
            yield _row(name, value.__doc__, f" Fields: {listed}.")
        else:
            yield _row(
                name if name in MADE_BY_CLIPKIT else name + _parameters(value), value.__doc__
            )
        for member, docstring in _members(value):
            if member.partition("(")[0] not in fields:
                yield _row(f".{member}", docstring, start="&nbsp;&nbsp;")


def _members(cls: type) -> Iterator[tuple[str, str | None]]:
    """Yield the public methods and properties of a class, with their docstrings."""
    ours = [base for base in reversed(cls.__mro__) if base.__module__.startswith("clipkit")]
    for name, member in {name: it for base in ours for name, it in vars(base).items()}.items():
        function = getattr(member, "__func__", member)
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            yield name, member.__doc__
        elif inspect.isfunction(function):
            yield name + _parameters(function), function.__doc__


def _parameters(function: Callable[..., object]) -> str:
    """Return the parameters of a call without their types, and without defaults that are long."""
    if getattr(function, "_is_protocol", False):
        return ""
    shown = []
    for parameter in inspect.signature(function).parameters.values():
        default = parameter.default
        if default is not parameter.empty and not isinstance(default, str | int | float | None):
            default = () if default == () else _Elided()
        if parameter.name not in ("self", "cls"):
            shown.append(parameter.replace(annotation=parameter.empty, default=default))
    return str(inspect.Signature(shown))


class _Elided:
    def __repr__(self) -> str:
        return "..."


def _text_below(name: str) -> str:
    """Return the string below an assignment in the module that a name comes from."""
    module = importlib.import_module(clipkit._MODULE_OF[name])
    body = ast.parse(inspect.getsource(module)).body
    for node, below in pairwise(body):
        target = getattr(node, "target", None) or getattr(node, "targets", [None])[0]
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if getattr(target, "id", None) == name and is_text:
            return str(below.value.value)  # type: ignore[attr-defined]
    raise SystemExit(f"{name} has no docstring: put a string below its assignment")


def _row(name: str, docstring: str | None, more: str = "", *, start: str = "") -> str:
    sentence = " ".join((docstring or "").strip().partition("\n\n")[0].split())
    sentence = re.sub(r":\w+:`([^`]*)`", r"`\1`", sentence).replace("``", "`").replace("|", "\\|")
    return f"| {start}`{name}` | {sentence}{more} |"


if __name__ == "__main__":
    PAGE.write_text(api_page(), encoding="utf-8")
    STUB.write_text(stub(), encoding="utf-8")
