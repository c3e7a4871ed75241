"""The pages in docs say what the code says."""

import runpy

from tests.conftest import ROOT


def test_the_table_of_settings_is_that_of_the_config() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "write_settings.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    source = script["SOURCE"].read_text(encoding="utf-8")
    assert "| `lr` |" in page
    assert page == script["settings_page"](page, source), "run python docs/write_settings.py"
