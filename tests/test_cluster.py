"""The files for clusters in docs/cluster are what their tools accept, and say what the docs say."""

import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "cluster"


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.sbatch")), ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    program = Path(sys.executable).with_name("shellcheck")

    found = subprocess.run([program, script], capture_output=True, text=True)

    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_kubernetes_would_take_each_object(file: Path) -> None:
    objects = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))

    assert objects
    for each in objects:
        kubernetes_validate.validate(each, "1.33", strict=True)
