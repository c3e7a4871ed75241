"""Names: every spelling to one source, and every refusal."""

import json
import subprocess
import sys
from importlib import metadata
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from clipkit.errors import CheckpointError, OfflineError
from clipkit.models import known_models
from clipkit.models.locate import locate
from clipkit.models.lora_info import LORA_NAME, LoraInfo
from clipkit.models.sources import (
    CONFIG_NAME,
    AdapterSource,
    DirectorySource,
    FileSource,
    HubSource,
    PretrainedSource,
    resolve_source,
    starter_directory,
)
from clipkit.models.tensor_file import TensorFileKind

LAION = "ViT-B-32/laion2b_s34b_b79k"
SPELLINGS = {
    "ViT-B-32/laion2b_s34b_b79k": LAION,
    "ViT-B-32:laion2b_s34b_b79k": LAION,
    "ViT-B-32,laion2b_s34b_b79k": LAION,
    "ViT-B-32 laion2b_s34b_b79k": LAION,
    "vit-b-32/LAION2B-s34B-b79K": LAION,
    " ViT-B/32/laion2b_s34b_b79k ": LAION,
    "open_clip:ViT-B-32/laion2b_s34b_b79k": LAION,
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": LAION,
    "ViT-B-32/openai": "ViT-B-32/openai",
    "ViT-B-32-quickgelu/openai": "ViT-B-32/openai",
    "ViT-B/32": "ViT-B-32/openai",
    "vit-l/14": "ViT-L-14/openai",
    "ViT-L/14@336px": "ViT-L-14-336/openai",
    "clip-ViT-B-32": "ViT-B-32/openai",
    "sentence-transformers/clip-ViT-B-32": "ViT-B-32/openai",
    "openai/clip-vit-base-patch32": "ViT-B-32/openai",
    "RN50:openai": "RN50/openai",
    "ViT-B-16-SigLIP": "ViT-B-16-SigLIP/webli",
    "ViT-B-32-256/datacomp": "ViT-B-32-256/datacomp_s34b_b86k",
    "ViT-B-32/datacomp_xl": "ViT-B-32/datacomp_xl_s13b_b90k",
    "ViT-H-14-378-quickgelu/dfn5b": "ViT-H-14-378/dfn5b",
    "xlm-roberta-base-ViT-B-32": "xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k",
}


@pytest.mark.parametrize(("spelling", "name"), SPELLINGS.items())
def test_spellings_of_published_weights_resolve_to_one_name(spelling: str, name: str) -> None:
    source = resolve_source(spelling)

    assert isinstance(source, PretrainedSource)
    assert source.name == name
    assert resolve_source(source.name) == source


def test_every_architecture_with_every_tag_and_separator_resolves_to_itself() -> None:
    count = 0
    for name, architecture in known_models.known_architectures().items():
        for tag in architecture.tags:
            for separator in "/:, -":
                source = resolve_source(f"{name}{separator}{tag}")
                assert isinstance(source, PretrainedSource)
                assert source.architecture == name.removesuffix("-quickgelu")
                assert source.tag == tag
                count += 1
    assert count > 900


def test_the_table_is_the_installed_open_clips() -> None:
    content = json.loads(known_models._TABLE.read_text())
    without_counts = {
        name: {**entry, "parameters": None} for name, entry in content["architectures"].items()
    }

    assert content["open_clip_version"] == version("open_clip_torch"), (
        "open_clip changed: make known_models.json again from read_open_clip_table()"
    )
    assert without_counts == json.loads(json.dumps(known_models.read_open_clip_table()))


def test_names_of_a_newer_open_clip_resolve_by_its_own_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known_models.installed_architectures.cache_clear()
    monkeypatch.setattr(metadata, "version", lambda _: "99.0")
    table = {"ViT-X-1": {**known_models.read_open_clip_table()["ViT-B-16"], "quick_gelu": False}}
    monkeypatch.setattr(known_models, "read_open_clip_table", lambda: table)

    assert resolve_source("vit-x-1/openai").name == "ViT-X-1/openai"
    known_models.installed_architectures.cache_clear()


def test_configs_that_are_no_dual_encoders_are_left_out_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from open_clip import factory

    vision_cfg, text_cfg = {"image_size": 96, "layers": 2, "width": 8}, {"layers": 2}
    folder = tmp_path / "model_configs"
    folder.mkdir()
    for name, config in {
        "ViT-X-1": {"embed_dim": 8, "vision_cfg": vision_cfg, "text_cfg": text_cfg},
        "CoCa-X": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}, "multimodal_cfg": {}},
        "text-alone": {"embed_dim": 8, "text_cfg": text_cfg},
        "image-alone": {"embed_dim": 8, "vision_cfg": vision_cfg},
        "audio": {"embed_dim": 8, "audio_cfg": {}, "text_cfg": text_cfg},
        "decoder": {"model_type": "decoder", "vision_cfg": vision_cfg, "text_cfg": None},
        "list": [],
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    # The versions so far leave such configs out themselves, so they are read as they lie there.
    configs = {path.stem: json.loads(path.read_text()) for path in sorted(folder.iterdir())}
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", configs)

    table = known_models.read_open_clip_table()

    assert table == {
        "CoCa-X": {"parameters": None, "image_size": 224, "quick_gelu": False, "tags": {}},
        "ViT-X-1": {"parameters": None, "image_size": 96, "quick_gelu": False, "tags": {}},
    }


def test_published_accuracy_is_of_known_names_and_is_a_fraction() -> None:
    accuracy = known_models.published_accuracy()

    assert accuracy["ViT-B-32/openai"] == 0.6332
    for name, value in accuracy.items():
        assert resolve_source(name).name == name
        assert 0.3 < value < 0.9


def test_starter_resolves_to_its_directory() -> None:
    source = resolve_source("starter")

    assert source == DirectorySource("starter", starter_directory())
    assert starter_directory().parts[-2:] == ("weights", "starter")


def test_hub_names_resolve_with_and_without_revision() -> None:
    assert resolve_source("hf-hub:org/repo") == HubSource("hf-hub:org/repo", "org/repo")
    assert resolve_source("hf-hub:org/re.po@v1") == HubSource(
        "hf-hub:org/re.po@v1", "org/re.po", "v1"
    )


def test_directories_resolve_by_prefix_path_and_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "ViT-B-32" / "openai"
    directory.mkdir(parents=True)
    (directory / CONFIG_NAME).write_text("{}")
    monkeypatch.chdir(tmp_path)
    expected = DirectorySource(f"local-dir:{directory}", directory)

    assert resolve_source(f"local-dir:{directory}") == expected
    assert resolve_source("local-dir:ViT-B-32/openai") == expected
    assert resolve_source(directory) == expected
    assert resolve_source(str(directory)) == expected
    assert resolve_source("ViT-B-32/openai") == expected, "a checkpoint directory comes first"
    assert isinstance(resolve_source("ViT-B-32:openai"), PretrainedSource)


def test_files_resolve_with_their_architecture_or_the_config_beside_them(tmp_path: Path) -> None:
    file = tmp_path / "epoch=3.pt"
    file.write_bytes(b"")

    named = resolve_source(f"vit-b-32-QuickGELU={file}")
    (tmp_path / CONFIG_NAME).write_text("{}")
    beside = resolve_source(file)

    assert named == FileSource(f"ViT-B-32-quickgelu={file}", "ViT-B-32-quickgelu", file)
    assert beside == DirectorySource(str(file), tmp_path, weights=file)
    assert resolve_source(str(file)) == beside


ERRORS = {
    "ViT-B-32": '"ViT-B-32" has 22 sets of weights: add one of ViT-B-32/openai, ',
    "ViT-B-32/laion2b": "add one of ViT-B-32/laion2b_e16, ViT-B-32/laion2b_s34b_b79k",
    "ViT-B-32-quickgelu/laion2b_s34b_b79k": (
        'the weights "laion2b_s34b_b79k" were trained with GELU, not QuickGELU: '
        'write "ViT-B-32/laion2b_s34b_b79k"'
    ),
    "ViT-B-32/openaii": 'no model is called "ViT-B-32/openaii"; near it: ViT-B-32/openai, ',
    "xyz": 'no model is called "xyz"; "clipkit models" lists the names',
    "": 'no model is called ""',
    "ViT-e-14": (
        'open_clip publishes no weights for "ViT-e-14": load a file of yours with "ViT-e-14=FILE"'
    ),
    "hf-hub:repo": '"hf-hub:repo" must be hf-hub:ORG/REPO or hf-hub:ORG/REPO@REVISION',
    "hf-hub:org/repo@": '"hf-hub:org/repo@" must be hf-hub:ORG/REPO',
    "./nothing": "there is no file or directory ",
    "nothing.safetensors": "there is no file or directory ",
    "local-dir:nothing": "there is no file or directory ",
    "ViT-B-32=nothing.pt": "there is no file ",
    "ViT-B-32=~nobody-here/a.pt": "there is no file ",
    "local-dir:~nobody-here/a": "there is no file or directory ",
    "~nobody-here/a": "~nobody-here/a",
}


@pytest.mark.parametrize(("name", "message"), ERRORS.items())
def test_other_names_are_refused_with_what_would_be_right(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        resolve_source(name)
    assert message in str(caught.value)


def test_paths_without_a_model_are_refused_with_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"")

    with pytest.raises(CheckpointError, match=f"{tmp_path} is not a checkpoint: it holds no open_"):
        resolve_source(tmp_path)
    with pytest.raises(CheckpointError, match=f'write "ARCHITECTURE={file}", for example "ViT-B-'):
        resolve_source(str(file))
    with pytest.raises(CheckpointError, match='no architecture "ViT-B-33"; near it: ViT-B-32'):
        resolve_source(f"ViT-B-33={file}")


def test_names_and_listing_load_no_torch() -> None:
    code = (
        "import sys, clipkit.models.listing, clipkit.models.sources as s\n"
        "s.resolve_source('ViT-B/32'); clipkit.models.listing.list_models()\n"
        "assert not {'torch', 'open_clip', 'safetensors.torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "got no JSON"),
        (b"\xef\xbb\xbf{}", "Unexpected UTF-8 BOM"),
        ("{}".encode("utf-16"), "got bytes that are not UTF-8"),
        (b"[]", "got a list"),
    ],
)
@pytest.mark.parametrize("name", [".", "model", "./model"])
def test_a_damaged_config_is_not_called_missing(
    content: bytes, reason: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / name
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_bytes(content)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(CheckpointError) as caught:
        resolve_source(name)
    assert str(caught.value).startswith(f"{directory / 'config.json'} cannot be read: ")
    assert reason in str(caught.value)


def test_a_config_is_no_model_and_its_directory_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"model_type": "clip"}')

    for name in (config, str(config), f"local-dir:{config}"):
        with pytest.raises(CheckpointError, match=f"give the directory of the model, {tmp_path}$"):
            resolve_source(name)


def test_a_name_too_long_for_a_path_is_refused() -> None:
    with pytest.raises(CheckpointError, match="cannot be read: File name too long"):
        resolve_source("x" * 5000)


def _write_adapter(folder: Path, base: str, *, is_base_local: bool = False) -> Path:
    """Write an adapter file that holds nothing, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    info = LoraInfo(base, is_base_local, "0123456789abcdef", "digest", 2, 1.0)
    save_file({"nothing": np.zeros(1)}, folder / LORA_NAME, metadata=info.to_metadata())
    return folder / LORA_NAME


def test_an_adapter_is_named_by_its_file_or_directory_and_names_its_base(tmp_path: Path) -> None:
    path = _write_adapter(tmp_path / "birds", "starter")
    base = resolve_source("starter")
    named = AdapterSource(f"local-dir:{path.parent}", path, base)
    assert resolve_source(path.parent) == named
    assert resolve_source(str(path.parent)) == named
    assert resolve_source(named.name) == named
    assert resolve_source(path) == AdapterSource(str(path), path, base)
    other = resolve_source(_write_adapter(tmp_path / "other", "ViT-B-32/openai"))
    assert isinstance(other, AdapterSource)
    assert other.base == resolve_source("ViT-B-32/openai")


def test_an_adapter_may_have_another_name(tmp_path: Path) -> None:
    path = _write_adapter(tmp_path / "birds", "starter")
    (tmp_path / "birds" / CONFIG_NAME).write_text("{}")  # as beside a whole model
    renamed = path.rename(path.with_name("birds.safetensors"))
    assert resolve_source(renamed) == AdapterSource(
        str(renamed), renamed, resolve_source("starter")
    )


def test_a_head_is_said_to_be_no_model(tmp_path: Path) -> None:
    path = tmp_path / "pets.safetensors"
    path.write_bytes(TensorFileKind("clipkit_head", "head", "").to_bytes({}, {}))
    with pytest.raises(CheckpointError, match=r"is a head of clipkit's and no model: clipkit doc"):
        resolve_source(path)


def test_a_model_beside_an_adapter_is_its_base_and_a_whole_model_needs_none(
    tmp_path: Path,
) -> None:
    path = _write_adapter(tmp_path, "local-dir:run7/final", is_base_local=True)
    message = rf"no public name, local-dir:run7/final: .* or a link to it, at {tmp_path / 'base'}"
    with pytest.raises(CheckpointError, match=message):
        resolve_source(tmp_path)
    (tmp_path / "base").symlink_to(starter_directory())
    found = resolve_source(path)
    assert isinstance(found, AdapterSource)
    assert found.base.name == f"local-dir:{tmp_path / 'base'}"
    (tmp_path / CONFIG_NAME).write_text("{}")
    assert isinstance(resolve_source(tmp_path), DirectorySource)


def test_the_base_of_an_adapter_is_fetched_only_when_it_is_asked_for(
    tmp_path: Path, no_network: list[str]
) -> None:
    path = _write_adapter(tmp_path, "ViT-B-32/openai")
    message = f'loading it uses no network: .*run  clipkit fetch "{path}"'
    with pytest.raises(OfflineError, match=message):
        locate(resolve_source(path))
    assert no_network == []


def test_a_damaged_adapter_is_refused_where_it_is_named(tmp_path: Path) -> None:
    path = _write_adapter(tmp_path, "starter")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match="is damaged or cut short"):
        resolve_source(tmp_path)
