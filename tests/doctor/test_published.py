"""Settings against those of published models: by their repository, and by their structure."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from clipkit.doctor.health import HealthCheck
from clipkit.doctor.published import check_published, is_published, settings_of
from clipkit.models.known_models import architecture_config, known_architectures
from clipkit.models.locate import CheckpointFiles
from clipkit.models.open_clip_config import complete_preprocess, published_config
from clipkit.models.sources import DirectorySource, HubSource


def check(
    model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any], directory: Path
) -> list[HealthCheck]:
    files = CheckpointFiles(
        name="a model",
        model_cfg=dict(model_cfg),
        preprocess_cfg=complete_preprocess(preprocess_cfg),
        kept_dims=None,
        weights=None,
        tokenizer=directory,
        text_config=None,
    )
    return list(check_published(DirectorySource("a model", directory), files))


def config_of(architecture: str, tag: str) -> tuple[dict[str, Any], dict[str, Any]]:
    entry = known_architectures()[architecture].tags[tag]
    config = published_config(architecture, entry)
    return config["model_cfg"], complete_preprocess(config["preprocess_cfg"])


CHANGES: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "image activation": lambda model, images: model.pop("quick_gelu"),
    "mean": lambda model, images: images.update(mean=[0.5, 0.5, 0.5]),
    "std": lambda model, images: images.update(std=[0.5, 0.5, 0.5]),
    "resize mode": lambda model, images: images.update(resize_mode="squash"),
    "interpolation": lambda model, images: images.update(interpolation="bilinear"),
    "context length": lambda model, images: model["text_cfg"].update(context_length=64),
    "cleaning": lambda model, images: model["text_cfg"].update(cleaning="none"),
}


def test_a_repository_says_which_weights_these_are(tmp_path: Path) -> None:
    repo = known_architectures()["ViT-B-32"].tags["openai"].repo
    snapshot = tmp_path / f"models--{repo.replace('/', '--')}" / "snapshots" / "0123abcd"
    (same,) = check(*config_of("ViT-B-32", "openai"), snapshot)
    assert (same.verdict, same.figure) == ("ok", "those of ViT-B-32/openai")
    for name, change in CHANGES.items():
        model_cfg, preprocess_cfg = config_of("ViT-B-32", "openai")
        change(model_cfg, preprocess_cfg)
        (other,) = check(model_cfg, preprocess_cfg, snapshot)
        assert other.verdict == "problem"
        assert f"{name} is " in other.figure


def test_only_names_of_published_weights_say_so(tmp_path: Path) -> None:
    assert is_published(HubSource("", "openai/clip-vit-base-patch32"))
    assert not is_published(HubSource("", "someone/a-model"))
    assert not is_published(DirectorySource("", tmp_path))


@pytest.mark.parametrize(
    ("architecture", "tag"),
    [("ViT-B-32", "laion2b_s34b_b79k"), ("ViT-B-32", "openai"), ("ViT-B-16-SigLIP", "webli")],
)
def test_a_structure_alone_gives_remarks(architecture: str, tag: str, tmp_path: Path) -> None:
    (same,) = check(*config_of(architecture, tag), tmp_path)
    assert same.verdict == "ok"
    model_cfg, preprocess_cfg = config_of(architecture, tag)
    (other,) = check(model_cfg, {**preprocess_cfg, "mean": [0.1, 0.2, 0.3]}, tmp_path)
    assert other.verdict == "remark"
    assert "mean is 0.1, 0.2, 0.3" in other.figure


def test_siglip_that_is_cropped_gives_a_remark(tmp_path: Path) -> None:
    model_cfg, preprocess_cfg = config_of("ViT-B-16-SigLIP", "webli")
    (other,) = check(model_cfg, {**preprocess_cfg, "resize_mode": "shortest"}, tmp_path)
    assert other.verdict == "remark"
    assert "resize mode is shortest, and theirs squash" in other.figure


def test_a_structure_that_nobody_published_gives_nothing(tmp_path: Path) -> None:
    model_cfg, preprocess_cfg = config_of("ViT-B-32", "openai")
    model_cfg["vision_cfg"]["layers"] = 3
    assert check(model_cfg, preprocess_cfg, tmp_path) == []


def test_settings_are_those_of_the_config() -> None:
    config = architecture_config("ViT-B-32-quickgelu")
    settings = settings_of(config, complete_preprocess({}))
    assert settings["image activation"] == settings["text activation"] == "QuickGELU"
    assert settings["context length"] == 77
    assert settings["cleaning"] == "lower"
    json.dumps(settings)
