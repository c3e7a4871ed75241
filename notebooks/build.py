"""Make the .ipynb files from their sources, with outputs. Run by ``make notebooks``."""

import os
import tempfile
from pathlib import Path

import jupytext
import nbclient
import nbformat

FOLDER = Path(__file__).parent


def build(source: Path) -> nbformat.NotebookNode:
    """Return a notebook, executed, with cell ids that do not change from one build to the next.

    Args:
        source: A file in percent format.

    Returns:
        The notebook with the outputs of its cells.
    """
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02}"
    notebook.metadata.pop("jupytext", None)
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(source.parent)}}
    )
    # tqdm would warn that bars are not drawn as widgets, and name its own path on this machine.
    client.execute(env=os.environ | {"PYTHONWARNINGS": "ignore:IProgress not found"})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
    return notebook


def main() -> None:
    """Build every notebook, with an index of its own."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["CLIPKIT_HOME"] = home
        for source in sorted(FOLDER.glob("[0-9]*.py")):
            nbformat.write(build(source), source.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
