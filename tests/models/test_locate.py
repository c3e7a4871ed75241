"""Located files and what goes with them: QuickGELU and preprocess, whatever names the weights."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from clipkit.errors import CheckpointError
from clipkit.models.checkpoint import load_towers
from clipkit.models.known_models import known_architectures
from clipkit.models.locate import locate, newest_epoch
from clipkit.models.open_clip_config import DEFAULT_PREPROCESS
from clipkit.models.sources import FileSource, resolve_source
from clipkit.models.towers import Towers
from tests.models.conftest import (
    Family,
    largest_difference,
    make_open_clip,
    tiny_config,
    write_directory,
)

PutInHubCache = Callable[[str, str, Path], None]
OPENAI_REPO = "timm/vit_base_patch32_clip_224.openai"


def _activations(towers: Towers) -> list[nn.Module]:
    """Return the activation of every block of both native towers."""
    blocks = [*towers.model.visual.transformer.resblocks, *towers.model.transformer.resblocks]
    return [block.mlp.gelu for block in blocks]


def _is_quick(activation: nn.Module) -> bool:
    """Return whether a module computes x * sigmoid(1.702 x), the definition in CLIP's code."""
    x = torch.linspace(-4, 4, 101)
    quick = torch.allclose(activation(x), x * torch.sigmoid(1.702 * x), atol=1e-6)
    plain = torch.allclose(activation(x), x * (1 + torch.erf(x / 2**0.5)) / 2, atol=1e-6)
    assert quick != plain
    return quick


@pytest.mark.slow
def test_openai_weights_by_tag_compute_with_quick_gelu(
    family: Callable[[str], Family], put_in_hub_cache: PutInHubCache
) -> None:
    case = family("ViT-B-32-quickgelu")  # the architecture that OpenAI's weights belong to
    weights = case.directory / "open_clip_model.safetensors"
    put_in_hub_cache(OPENAI_REPO, weights.name, weights)

    towers = load_towers(resolve_source("ViT-B/32"))

    assert len(_activations(towers)) == 24
    assert all(_is_quick(activation) for activation in _activations(towers))
    with torch.inference_mode():
        text = towers.text_features(case.token_ids)
        image = towers.image_features(case.pixel_values)
        assert largest_difference(text, case.model.encode_text(case.token_ids)) <= 1e-5
        assert largest_difference(image, case.model.encode_image(case.pixel_values)) <= 1e-5


def test_every_tag_gets_the_activation_and_preprocess_open_clip_publishes(
    put_in_hub_cache: PutInHubCache, tmp_path: Path
) -> None:
    from open_clip import get_model_config, get_pretrained_cfg

    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    done = set()
    for name, architecture in known_architectures().items():
        config = get_model_config(name)
        if "hf_tokenizer_name" in config["text_cfg"] or name.endswith("-quickgelu"):
            continue  # these need more files, or are another spelling
        for tag, entry in architecture.tags.items():
            if entry.repo not in done:
                put_in_hub_cache(entry.repo, entry.filename or "open_clip_model.safetensors", empty)
                done.add(entry.repo)
            files = locate(resolve_source(f"{name}/{tag}"))
            published = get_pretrained_cfg(name, tag)
            expected = {**config, "quick_gelu": published.get("quick_gelu", False)}
            assert {"quick_gelu": False, **files.model_cfg} == expected
            for key in ("mean", "std", "interpolation", "resize_mode"):
                value = published[key]
                assert files.preprocess_cfg[key] == (
                    list(value) if isinstance(value, tuple) else value
                )
    assert len(done) > 90


def test_a_tag_whose_only_architecture_is_a_quick_gelu_one_keeps_it() -> None:
    entry = known_architectures()["roberta-ViT-B-32"].tags["laion2b_s12b_b32k"]
    assert entry.is_quick_gelu, "open_clip's config says so, its tag does not"


@pytest.mark.parametrize("architecture", ["ViT-B-32", "ViT-B-32-quickgelu"])
def test_a_file_computes_with_the_activation_of_its_architecture(
    architecture: str, tmp_path: Path
) -> None:
    file = tmp_path / "epoch_1.pt"
    file.write_bytes(b"mine")

    files = locate(resolve_source(f"{architecture}={file}"))

    assert files.model_cfg.get("quick_gelu", False) is architecture.endswith("quickgelu")


@pytest.mark.parametrize("is_whole", [False, True])
def test_a_file_has_the_architecture_that_a_json_file_describes(
    family: Callable[[str], Family], is_whole: bool, tmp_path: Path
) -> None:
    """As --model NAME and --pretrained epoch_K.pt of an architecture of one's own."""
    case = family("ViT-B-32-quickgelu")
    config = {"model_cfg": case.model_cfg, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}
    (tmp_path / "mine.json").write_text(json.dumps(config if is_whole else case.model_cfg))
    state = {f"module.{name}": value for name, value in case.model.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "epoch_3.pt")
    source = resolve_source(f"{tmp_path}/mine.json={tmp_path}/epoch_3.pt")

    files, towers = locate(source), load_towers(source)

    assert source.name == f"{tmp_path}/mine.json={tmp_path}/epoch_3.pt"
    assert files.preprocess_cfg["mean"] == ([0.5] * 3 if is_whole else DEFAULT_PREPROCESS["mean"])
    with torch.inference_mode():
        image = towers.image_features(case.pixel_values)
        assert largest_difference(image, case.model.encode_image(case.pixel_values)) <= 1e-5


def test_a_described_text_tower_has_its_folder_or_that_of_the_json_file(
    family: Callable[[str], Family], tmp_path: Path
) -> None:
    case = family("hf-text")
    torch.save({"state_dict": case.model.state_dict()}, tmp_path / "epoch_0.pt")
    named = {"hf_model_name": str(case.directory), "hf_tokenizer_name": str(case.directory)}
    model_cfg = {**case.model_cfg, "text_cfg": {**case.model_cfg["text_cfg"], **named}}
    (tmp_path / "mine.json").write_text(json.dumps(model_cfg))
    apart = locate(resolve_source(f"{tmp_path}/mine.json={tmp_path}/epoch_0.pt"))
    assert apart.tokenizer == apart.text_config == case.directory

    shutil.copyfile(tmp_path / "mine.json", case.directory / "mine.json")
    beside = locate(resolve_source(f"{case.directory}/mine.json={tmp_path}/epoch_0.pt"))
    assert beside.tokenizer == beside.text_config == case.directory


def test_a_json_file_that_is_no_architecture_is_named(tmp_path: Path) -> None:
    (tmp_path / "epoch_3.pt").touch()
    with pytest.raises(CheckpointError, match=r"there is no file .*/mine.json"):
        resolve_source(f"{tmp_path}/mine.json={tmp_path}/epoch_3.pt")
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r'mine.json has no valid "embed_dim"'):
        locate(resolve_source(f"{tmp_path}/mine.json={tmp_path}/epoch_3.pt"))


def test_a_published_file_gets_its_tags_activation_whatever_the_name_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hash = tmp_path / "renamed.pt"
    by_hash.write_bytes(b"published")
    by_name = tmp_path / "b32_400m.pt"  # MetaCLIP's URL carries no hash
    by_name.write_bytes(b"published too")
    start_of_url = "46683a32"  # of vit_b_32-quickgelu-laion400m_e32
    real = hashlib.sha256(by_hash.read_bytes()).hexdigest()

    assert "quick_gelu" not in locate(resolve_source(f"ViT-B-32={by_hash}")).model_cfg
    assert locate(resolve_source(f"ViT-B-32={by_name}")).model_cfg["quick_gelu"] is True

    def sha256(path: Path) -> str:
        digest = real if path != by_hash else start_of_url + real[8:]
        return digest

    monkeypatch.setattr("clipkit.models.known_models.file_sha256", sha256)
    assert locate(resolve_source(f"ViT-B-32={by_hash}")).model_cfg["quick_gelu"] is True


def test_files_and_directories_of_both_activations_differ(tmp_path: Path) -> None:
    towers: dict[bool, Towers] = {}
    for is_quick in (False, True):
        config = tiny_config(quick_gelu=is_quick)
        model = make_open_clip(config)  # the same seed: only the activation differs
        write_directory(tmp_path / str(is_quick), model, config)
        towers[is_quick] = load_towers(resolve_source(tmp_path / str(is_quick)))
        assert {_is_quick(activation) for activation in _activations(towers[is_quick])} == {
            is_quick
        }
    token_ids = torch.randint(1, 99, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain, quick = (towers[key].text_features(token_ids) for key in (False, True))
    assert largest_difference(plain, quick) > 1e-4
    assert towers[False].space_id("clip") != towers[True].space_id("clip")


def test_a_file_loads_with_the_architecture_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: dict[str, dict[str, Any]] = {
        "ViT-B-32": tiny_config(),
        "ViT-B-32-quickgelu": tiny_config(quick_gelu=True),
    }
    monkeypatch.setattr(
        "clipkit.models.open_clip_config.architecture_config", lambda name: configs[name]
    )
    save_file(make_open_clip(configs["ViT-B-32"]).state_dict(), tmp_path / "tiny.safetensors")

    for name in configs:
        source = FileSource("a file", name, tmp_path / "tiny.safetensors")
        quick = {_is_quick(activation) for activation in _activations(load_towers(source))}
        assert quick == {name.endswith("quickgelu")}


def _trained_directory(case: Family, directory: Path, *names: str) -> Path:
    """Return a directory as one has it after open_clip_train: a config, and weights by epoch."""
    directory.mkdir()
    for name in ("open_clip_config.json", "tokenizer.json", "tokenizer_config.json"):
        if (case.directory / name).is_file():
            shutil.copyfile(case.directory / name, directory / name)
    for name in names:
        (directory / name).write_bytes(name.encode())
    return directory


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("epoch_9.pt", "epoch_10.pt", "epoch_2.pt"), "epoch_10.pt"),
        (("epoch_3.pt",), "epoch_3.pt"),
        (("epoch_9.pt", "epoch_latest.pt"), "epoch_latest.pt"),
        (("epoch_1.pt", "tmp.pt", "epoch_2.pt.part", "best.pt"), "epoch_1.pt"),
        (("epoch_1.pt", "model.safetensors"), "model.safetensors"),
        (("epoch_1.pt", "mine.bin"), "mine.bin"),
        (("best.pt",), None),
    ],
)
def test_of_weights_by_epoch_the_newest_are_taken(
    family: Callable[[str], Family], tmp_path: Path, names: tuple[str, ...], chosen: str | None
) -> None:
    directory = _trained_directory(family("ViT-B-32"), tmp_path / "run", *names)
    found = locate(resolve_source(directory)).weights
    assert found == (None if chosen is None else directory / chosen)


def test_weights_by_epoch_are_those_that_open_clip_train_resumes_from(tmp_path: Path) -> None:
    newest_of = pytest.importorskip("open_clip_train.main").get_latest_checkpoint
    names = ["epoch_2.pt", "epoch_9.pt", "epoch_10.pt", "epoch_100.pt", "epoch_latest.pt"]
    for name in names:
        (tmp_path / name).touch()
        assert newest_epoch(tmp_path) == Path(newest_of(f"{tmp_path}/", remote=False))
        assert newest_epoch(tmp_path) == tmp_path / name


def test_the_newest_epoch_is_what_is_loaded(
    family: Callable[[str], Family], tmp_path: Path
) -> None:
    case = family("hf-text")
    directory = _trained_directory(case, tmp_path / "run")
    shutil.copyfile(case.directory / "config.json", directory / "config.json")
    state = case.model.state_dict()
    torch.save({"epoch": 10, "state_dict": state}, directory / "epoch_10.pt")
    torch.save({"epoch": 9, "state_dict": {}}, directory / "epoch_9.pt")
    towers = load_towers(resolve_source(directory))
    with torch.inference_mode():
        image = towers.image_features(case.pixel_values)
        assert largest_difference(image, case.model.encode_image(case.pixel_values)) <= 1e-5
