"""The pages in docs say what the code says."""

import re
import runpy
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
