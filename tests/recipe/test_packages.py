"""What fetching the recipe's packages says when a registry's client cannot give one."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipe.packages import Cache, Package, RecipeError

_DEBIAN = Package("debian", "owls", "1.0-2", "owls_1.0-2_all.deb", "0" * 64, "MIT", "evaluation")


def test_an_old_package_list_is_to_be_updated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt-get knows only the versions of its lists: a security update may be missing there."""
    client = tmp_path / "apt-get"
    client.write_text(
        "#!/bin/sh\necho \"E: Version '1.0-2' for 'owls' was not found\" >&2; exit 100\n"
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(RecipeError, match=r"owls=1\.0-2 .*was not found; .*apt-get update"):
        Cache(tmp_path / "cache").fetch(_DEBIAN)


def test_a_client_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecipeError, match="apt-get is not on this machine"):
        Cache(tmp_path / "cache").fetch(_DEBIAN)
