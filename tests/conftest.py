"""What several tests share: the embedded model, the sample images, and a home of their own."""

import json
import os
from pathlib import Path

import hypothesis
import pytest

import clipkit

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "demo" / "samples"

# No example is timed: machines are shared. CI says the same twice about the same code; elsewhere
# every run looks at new examples.
hypothesis.settings.register_profile("clipkit", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("clipkit")


@pytest.fixture(autouse=True)
def own_home(
    tmp_path: Path,  # before monkeypatch: pytest removes it when os is no longer patched
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No test reads or writes the user's own indexes, and none asks the hub."""
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


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
