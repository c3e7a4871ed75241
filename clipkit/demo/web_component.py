"""Gradio components of our own, each of three files beside this one: markup, style and script."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

# How events are bound: each click counts, also while an earlier one is answered.
QUIET: dict[str, Any] = {
    "show_progress": "hidden", "trigger_mode": "multiple", "api_visibility": "private"
}  # fmt: skip

_HERE = Path(__file__).parent


def web_component(
    name: str, value: Any = None, *, elem_id: str, more: Sequence[str] = (), **props: Any
) -> gr.HTML:
    """Return a component whose script shows its value.

    Scripts set values as text of the page. Gradio's templates must not: they take ``${...}`` in a
    value for code, and names and labels are not ours.

    Args:
        name: Of the files, without their endings; one without a .css looks as the page does.
        value: What JSON has.
        elem_id: The id of its element.
        more: Names of further scripts, which follow the first and see what it defines.
        **props: What the script is told besides.

    Returns:
        The component. The events are those that the script triggers.
    """
    return gr.HTML(
        value,
        html_template=_read(f"{name}.html"),
        css_template=_read(f"{name}.css"),
        js_on_load="".join(_read(f"{script}.js") for script in (name, *more)),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes="bare",
        **props,
    )


def _read(name: str) -> str:
    file = _HERE / name
    return file.read_text(encoding="utf-8") if file.is_file() else ""
