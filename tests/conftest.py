"""Fixtures of all tests: the embedded model, the sample images, an empty $CLIPKIT_HOME."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis
import pytest

import clipkit

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "demo" / "samples"

# Tests compute little at a time: more threads than one wait for each other and cost twice the time,
# here and in the processes that tests start. Tests of threads set their number themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No example is timed: machines are shared. CI says the same twice about the same code; elsewhere
# every run looks at new examples.
hypothesis.settings.register_profile("clipkit", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("clipkit")


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the homes of the tests are made."""
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(autouse=True)
def own_home(request: pytest.FixtureRequest, homes: Path) -> Iterator[None]:
    """Give each test an empty $CLIPKIT_HOME and no network for the hub."""
    # Folders come before monkeypatch, so that they are removed by an `os` that no test has patched.
    if "tmp_path" in request.fixturenames:
        request.getfixturevalue("tmp_path")
    with TemporaryDirectory(dir=homes) as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPKIT_HOME", home)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(autouse=True, scope="session")
def no_openvino() -> Iterator[None]:
    """Let no trial take OpenVINO, which may be installed and fast: tests name what they are of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipkit.runtime.compiled_autotune.installed_openvino", list)
        yield


@pytest.fixture(scope="session")
def starter() -> clipkit.Encoder:
    """The embedded model on its usual engine."""
    return clipkit.load("starter", cache_texts=False)  # a session has no home of its own


@pytest.fixture(scope="session")
def samples() -> list[Path]:
    """The sample photographs."""
    return sorted(SAMPLES.glob("*.jpg"))


@pytest.fixture(scope="session")
def sample_labels() -> dict[str, str]:
    """The right label of each sample photograph, by file name."""
    labels: dict[str, str] = json.loads((SAMPLES / "labels.json").read_text())
    return labels


@pytest.fixture(scope="session")
def starter_folder() -> Path:
    """The embedded model's checkpoint directory."""
    return ROOT / "weights" / "starter"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint directory of a tiny random ViT with CLIP's own vocabulary, not compiled."""
    from tests.models.conftest import TINY_TEXT, make_open_clip, tiny_config, write_directory

    directory = tmp_path_factory.mktemp("model") / "tiny"
    config = tiny_config(text_cfg={**TINY_TEXT, "vocab_size": 49408})
    directory.mkdir()
    write_directory(directory, make_open_clip(config), config)
    return directory
