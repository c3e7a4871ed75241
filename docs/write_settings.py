"""Writes the table of settings in training.md from the comments of the settings' dataclasses.

Run as  python docs/write_settings.py  after a setting changed; a test looks whether that was done.
"""

import ast
import io
import tokenize
from pathlib import Path

DOCS = Path(__file__).parent
SOURCES = [
    DOCS.parent / "clipkit" / "training" / name
    for name in ("config.py", "model_config.py", "data_config.py")
]
PAGE = DOCS / "training.md"
BEGIN, END = "<!-- settings, by docs/write_settings.py -->", "<!-- end of settings -->"


def settings_source() -> str:
    """Return the modules of settings as if they were one."""
    return "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)


def settings_page(page: str, source: str) -> str:
    """Return the page with a table of settings for each section between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{_tables(source)}\n{END}{after}"


def _tables(source: str) -> str:
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    comments = _comments(source)
    sections = [("", classes["RunConfig"])]
    for field in _fields(classes["RunConfig"]):
        name = ast.unparse(field.annotation)
        if name in classes:
            sections.append((field.target.id, classes[name]))  # type: ignore[union-attr]
    lines = []
    for section, node in sections:
        rows = []
        for field in _fields(node):
            if ast.unparse(field.annotation) in classes:
                continue
            default = "" if field.value is None else f"`{ast.unparse(field.value)}`"
            text = comments.get(field.lineno, (0, ""))[1] or _above(comments, field.lineno)
            rows.append(f"| `{field.target.id}` | {default} | {text} |")  # type: ignore[union-attr]
        if rows:
            title = f"`[{section}]`" if section else "top level"
            lines += [f"| {title} | default | |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    return [item for item in node.body if isinstance(item, ast.AnnAssign)]


def _comments(source: str) -> dict[int, tuple[bool, str]]:
    """Return comments by line, and whether each has the line for itself."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: (token.line.lstrip().startswith("#"), token.string.lstrip("# "))
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _above(comments: dict[int, tuple[bool, str]], line: int) -> str:
    """Return the comment that ends right above a line."""
    parts: list[str] = []
    while comments.get(line := line - 1, (False, ""))[0]:
        parts.insert(0, comments[line][1])
    return " ".join(parts)


if __name__ == "__main__":
    PAGE.write_text(
        settings_page(PAGE.read_text(encoding="utf-8"), settings_source()), encoding="utf-8"
    )
