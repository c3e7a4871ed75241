"""The pages in docs say what the code says."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        "adaptation.md",
        "audit.md",
        "card.md",
        "checkpoints.md",
        "coming_from.md",
        "context.md",
        "concepts.md",
        "doctor.md",
        "embeddings.md",
        "explain.md",
        "training.md",
    ],
)
def test_the_python_on_a_page_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert snippets
    names: dict[str, object] = {"__name__": "a page"}  # a pool's block is tested with the pool
    monkeypatch.chdir(ROOT)
    for snippet in snippets:
        exec(compile(snippet.replace("/tmp/", f"{tmp_path}/"), page, "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["foundation-model.md"])
def test_all_that_a_page_shows_runs_in_order(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both kinds of blocks: what is Python makes the files that the commands are given."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").replace("/tmp/", f"{tmp_path}/")
    blocks = re.findall(r"```(python|shell)\n(.*?)```", text, re.DOTALL)
    assert {kind for kind, _ in blocks} == {"python", "shell"}
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    names: dict[str, object] = {}
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, page, "exec"), names)
            continue
        for line in block.splitlines():
            program, *words = shlex.split(line, comments=True)
            assert program == "clipkit"
            command = [sys.executable, "-m", "clipkit", *words]
            done = subprocess.run(command, env=os.environ, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_the_glossary_is_in_order_and_each_term_leads_to_a_page() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("- ")]
    terms = [re.match(r"- \*\*`?(.+?)\*\*: .*\.( \[[^]]+\]\([^)]+\),?)+$", line) for line in lines]
    assert len(terms) > 50
    assert all(terms), [line for line, term in zip(lines, terms, strict=True) if not term]
    names = [term[1].lower() for term in terms if term]
    assert names == sorted(set(names))


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_table_of_settings_is_that_of_the_config() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "write_settings.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    source = script["SOURCE"].read_text(encoding="utf-8")
    assert "| `lr` |" in page
    assert page == script["settings_page"](page, source), "run python docs/write_settings.py"


def test_the_reference_and_the_stub_name_what_is_public() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "write_api.py"))
    for file, text in ((script["PAGE"], script["api_page"]()), (script["STUB"], script["stub"]())):
        assert file.read_text(encoding="utf-8") == text, "run python docs/write_api.py"
    page = script["api_page"]()
    assert "| `load(name='starter', *, device='auto'," in page
    assert "| &nbsp;&nbsp;`.encode_images(images, *, batch_size=None," in page
