"""The pages in docs say what the code says."""

import os
import re
import runpy
import shlex
import shutil
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
@pytest.mark.parametrize(
    "page",
    ["classify.md", "foundation-model.md", "models.md", "pairs.md", "search.md", "tutorial.md"],
)
def test_all_that_a_page_shows_runs_in_order(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both kinds of blocks: what is Python makes the files that the commands are given."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").replace("/tmp/", f"{tmp_path}/")
    blocks = re.findall(r"```(python|shell)\n(.*?)```", text, re.DOTALL)
    assert blocks
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


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_every_link_in_it_holds(tmp_path: Path) -> None:
    pytest.importorskip("zensical", reason="the extra docs is not installed")
    script = runpy.run_path(str(ROOT / "docs" / "build_site.py"))
    assert script["build"](tmp_path) == []
    assert (tmp_path / "site" / "docs" / "foundation-model.html").is_file()


def test_what_a_site_lacks_or_loads_from_elsewhere_is_found(tmp_path: Path) -> None:
    faults = runpy.run_path(str(ROOT / "docs" / "build_site.py"))["faults"]
    (tmp_path / "there.html").write_text('<a href="#top">top</a><a href="https://a.example">a</a>')
    (tmp_path / "page.html").write_text(
        '<script src="https://cdn.example/x.js"></script><img src="none.png">'
        '<link rel="stylesheet" href="//cdn.example/x.css"><a href="there.html#a">here</a>'
        '<a href="gone.html">gone</a>'
    )
    assert sorted(faults(tmp_path)) == [
        "page.html leads to gone.html, which is not there",
        "page.html leads to none.png, which is not there",
        "page.html loads //cdn.example/x.css",
        "page.html loads https://cdn.example/x.js",
    ]


def test_the_page_of_commands_and_the_manual_are_those_of_the_parsers() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "write_commands.py"))
    page, manual = script["commands_page"](), script["manual"]()
    for file, text in ((script["PAGE"], page), (script["MANUAL"], manual)):
        assert file.read_text(encoding="utf-8") == text, "run python docs/write_commands.py"
    assert "| `--top K, -t K` |" in page
    for name, (_, parser) in script["commands"]().items():
        assert f"\n## clipkit {name}\n" in page
        assert f"\n.SH CLIPKIT {name.upper()}\n" in manual
        assert (parser.epilog or "").strip() in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_nothing_to_say_of_the_manual() -> None:
    manual = ROOT / "docs" / "clipkit.1"
    command = ["groff", "-man", "-Tutf8", "-ww", "-z", str(manual)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_table_of_settings_is_that_of_the_config() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "write_settings.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    source = script["settings_source"]()
    assert "| `lr` |" in page
    assert page == script["settings_page"](page, source), "run python docs/write_settings.py"


def test_the_reference_and_the_stub_name_what_is_public() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "write_api.py"))
    for file, text in ((script["PAGE"], script["api_page"]()), (script["STUB"], script["stub"]())):
        assert file.read_text(encoding="utf-8") == text, "run python docs/write_api.py"
    page = script["api_page"]()
    assert "| `load(name='starter', *, device='auto'," in page
    assert "| &nbsp;&nbsp;`.encode_images(images, *, batch_size=None," in page
