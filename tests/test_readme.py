"""Everything the README shows is run; everything it names is there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from clipkit.cli.main import COMMANDS
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = [
    line
    for block in re.findall(r"```shell\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


def test_there_is_something_to_run() -> None:
    assert len(PYTHON) >= 2
    assert len(SHELL) >= 6


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all lines, so that the samples are indexed once."""
    return tmp_path_factory.mktemp("home")


def elsewhere(text: str, folder: Path) -> str:
    """Point what the README writes below /tmp into `folder`: /tmp may hold another clone's run."""
    return text.replace("/tmp/", f"{folder}/")


# The samples are few to train on.
@pytest.mark.filterwarnings("ignore::clipkit.errors.ClipkitWarning")
def test_the_python_snippets_run_one_after_the_other(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    for snippet in PYTHON:
        exec(compile(elsewhere(snippet, home), "README.md", "exec"), names)


@pytest.mark.parametrize("line", SHELL)
def test_the_shell_lines_run(line: str, home: Path) -> None:
    program, *words = shlex.split(elsewhere(line, home))
    assert program == "clipkit"
    done = subprocess.run(
        [sys.executable, "-m", "clipkit", *words],
        cwd=ROOT,
        env={**os.environ, "CLIPKIT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).strip()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"clipkit {command}" in README


def test_every_make_target_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    texts = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|    )make ([a-z-]+)", texts))
    assert {"try", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_commit_hooks_are_the_linters_and_none_is_fetched() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"repo: (.*)", hooks)) == {"local"}
    assert set(re.findall(r"language: (.*)", hooks)) == {"system"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nlint:")[2].partition("\n\n")[0]
    linters = set(re.findall(r"\$\(BIN\)/([a-z-]+)", recipe))
    assert linters == set(re.findall(r"\.venv/bin/([a-z-]+)", hooks))


def test_the_tree_names_what_is_there() -> None:
    (tree,) = re.findall(r"## The tree\n.*?```\n(.*?)```", README, re.DOTALL)
    folder = Path()
    for line in tree.splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            folder = ROOT / name
            assert folder.is_dir(), name
        else:
            assert (folder / name).exists(), name


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
