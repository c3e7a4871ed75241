"""The hub: what is here is used without a network, and what is not is said in one sentence."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors as hub_errors

from clipkit.errors import CheckpointError, OfflineError
from clipkit.models import hub
from clipkit.models.checkpoint import load_towers, save_towers
from clipkit.models.known_models import known_architectures
from clipkit.models.listing import list_models
from clipkit.models.locate import fetch_source, locate
from clipkit.models.sources import CONFIG_NAME, resolve_source, starter_directory
from tests.models.conftest import Family

PutInHubCache = Callable[[str, str, Path], None]
LAION = "ViT-B-32/laion2b_s34b_b79k"
LAION_REPO = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def put_checkpoint(
    family: Callable[[str], Family], put_in_hub_cache: PutInHubCache, tmp_path: Path
) -> Callable[..., Path]:
    """Return a function that puts the tiny checkpoint with a Hugging Face text tower on the hub."""

    def put(repo: str, *, without: str = "") -> Path:
        directory = tmp_path / "saved"
        save_towers(load_towers(resolve_source(family("hf-text").directory)), directory)
        for path in directory.iterdir():
            if path.name != without:
                put_in_hub_cache(repo, path.name, path)
        return directory

    return put


def _answer(monkeypatch: pytest.MonkeyPatch, files: dict[str, Path], *, error: Any = None) -> None:
    """Let the hub have some files, and put one in the cache when it is asked for."""

    def metadata(url: str, **_: Any) -> None:
        if error is not None:
            raise error
        if url.rpartition("/")[2] not in files:
            raise hub_errors.RemoteEntryNotFoundError("404", response=_response(404))

    def download(repo: str, name: str, **_: Any) -> str:
        return str(files[name])

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)


def _response(status: int) -> Any:
    return Mock(status_code=status, headers={})


def test_a_hub_checkpoint_in_the_cache_loads_without_a_network(
    family: Callable[[str], Family], put_checkpoint: Callable[..., Path], no_network: list[str]
) -> None:
    put_checkpoint("org/tiny")
    case = family("hf-text")

    for name in ("hf-hub:org/tiny", "hf-hub:org/tiny@main", "hf-hub:org/tiny@0123abcd"):
        towers = load_towers(resolve_source(name))
        with torch.inference_mode():
            features = towers.text_features(case.token_ids)
            assert torch.equal(features, case.model.encode_text(case.token_ids))
        assert (towers.tokenizer_source / "tokenizer.json").is_file()
    assert no_network == []


def test_a_cache_directory_given_by_hand_wins(
    put_checkpoint: Callable[..., Path], hub_cache: Path
) -> None:
    put_checkpoint("org/tiny")
    elsewhere = hub_cache.with_name("elsewhere")
    hub_cache.rename(elsewhere)

    with pytest.raises(OfflineError):
        locate(resolve_source("hf-hub:org/tiny"))
    assert locate(resolve_source("hf-hub:org/tiny"), cache_dir=elsewhere).weights
    assert fetch_source(resolve_source("hf-hub:org/tiny"), cache_dir=elsewhere)


def test_weights_that_open_clip_downloaded_by_url_are_found(hub_cache: Path) -> None:
    source = resolve_source("ViT-B-32/laion400m_e32")
    name = "vit_b_32-quickgelu-laion400m_e32-46683a32.pt"
    place = hub_cache.parent / ".cache" / "clip" / name  # the home of this test
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")

    files = locate(source)

    assert files.weights == place
    assert files.model_cfg["quick_gelu"] is True


@pytest.mark.parametrize("is_forbidden", [True, False])
def test_without_a_network_one_sentence_says_what_is_missing_and_what_to_run(
    put_in_hub_cache: PutInHubCache,
    tmp_path: Path,
    hub_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_forbidden: bool,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", is_forbidden)
    (tmp_path / "weights").write_bytes(b"")
    put_in_hub_cache(LAION_REPO, WEIGHTS, tmp_path / "weights")
    starter = "starter, " if (starter_directory() / CONFIG_NAME).is_file() else ""

    started = time.monotonic()
    with pytest.raises(OfflineError) as caught:
        load_towers(resolve_source("ViT-B/32"))

    assert time.monotonic() - started < 5
    assert str(caught.value) == (
        "ViT-B-32/openai is not all on this machine, and the hub does not answer: "
        "open_clip_model.safetensors of timm/vit_base_patch32_clip_224.openai is missing "
        f"(what loads here: {starter}{LAION}); "
        'run  clipkit fetch "ViT-B-32/openai"  on a machine with network '
        f"and copy its cache to {hub_cache}"
    )


def test_a_network_that_swallows_questions_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_REPLY_SECONDS", -0.9)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: time.sleep(5))

    started = time.monotonic()
    with pytest.raises(OfflineError, match="and the hub does not answer"):
        locate(resolve_source("ViT-B/32"))

    assert time.monotonic() - started < 3


def test_the_sentence_names_the_parts_that_are_here(put_checkpoint: Callable[..., Path]) -> None:
    put_checkpoint("org/tiny", without=WEIGHTS)
    with pytest.raises(
        OfflineError, match=f"{CONFIG_NAME}, config.json, tokenizer.json, .* of it is"
    ):
        load_towers(resolve_source("hf-hub:org/tiny"))


def test_a_tokenizer_without_its_settings_is_not_complete(
    put_checkpoint: Callable[..., Path],
) -> None:
    put_checkpoint("org/tiny", without="tokenizer_config.json")
    with pytest.raises(OfflineError, match=r"tokenizer_config\.json of org/tiny is missing"):
        load_towers(resolve_source("hf-hub:org/tiny"))


def test_a_local_directory_never_asks_the_network(
    family: Callable[[str], Family], tmp_path: Path, no_network: list[str]
) -> None:
    directory = tmp_path / "saved"
    save_towers(load_towers(resolve_source(family("hf-text").directory)), directory)
    (directory / "config.json").unlink()
    text = (directory / CONFIG_NAME).read_text()
    (directory / CONFIG_NAME).write_text(
        text.replace('"hf_model_name": "."', '"hf_model_name": "roberta-base"')
    )

    with pytest.raises(
        OfflineError,
        match=r"and loading it uses no network: config\.json of roberta-base is missing",
    ):
        load_towers(resolve_source(directory))
    assert no_network == []
    with pytest.raises(OfflineError, match="and the hub does not answer"):
        fetch_source(resolve_source(directory))
    assert no_network, "fetching is what the network is for"


def test_fetching_asks_for_the_small_files_first_and_returns_the_weights_last(
    put_checkpoint: Callable[..., Path], hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = put_checkpoint("other/tiny")
    _answer(monkeypatch, {path.name: path for path in directory.iterdir()})

    paths = fetch_source(resolve_source("hf-hub:org/tiny"))

    names = [path.name for path in paths]
    assert names[0] == CONFIG_NAME
    assert names[-1] == WEIGHTS
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} < set(names)


def test_a_torch_file_is_taken_where_the_repo_has_no_safetensors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "open_clip_pytorch_model.bin"
    _answer(monkeypatch, {file.name: file})
    assert fetch_source(resolve_source(LAION)) == [file]


def test_answers_of_the_hub_are_checkpoint_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def message(error: Any) -> str:
        _answer(monkeypatch, {}, error=error)
        with pytest.raises(CheckpointError) as caught:
            fetch_source(resolve_source("hf-hub:org/tiny@v9"))
        return f"{type(caught.value).__name__}: {caught.value}"

    missing = hub_errors.RepositoryNotFoundError("404", response=_response(404))
    assert message(missing).startswith("CheckpointError: the hub has no org/tiny for this user")
    revision = hub_errors.RevisionNotFoundError("404", response=_response(404))
    assert message(revision) == "CheckpointError: org/tiny on the hub has no revision v9"
    assert message(None) == f"CheckpointError: org/tiny on the hub has no {CONFIG_NAME}"
    assert message(TimeoutError("slow")).startswith("OfflineError: hf-hub:org/tiny@v9 is not")
    assert "and the hub answers 503: " in message(
        hub_errors.HfHubHTTPError("503", response=_response(503))
    )
    local = hub_errors.LocalEntryNotFoundError("offline")
    assert message(local).startswith("OfflineError: ")


def test_a_cached_repo_with_another_text_tower_is_refused(
    put_checkpoint: Callable[..., Path], put_in_hub_cache: PutInHubCache, tmp_path: Path
) -> None:
    put_checkpoint("org/tiny", without="config.json")
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    put_in_hub_cache("org/tiny", "config.json", tmp_path / "config.json")
    with pytest.raises(CheckpointError, match="its model_type must be one of roberta, xlm-roberta"):
        load_towers(resolve_source("hf-hub:org/tiny"))


def test_weight_names_of_tags_prefer_safetensors() -> None:
    tags = known_architectures()["ViTamin-S"].tags
    assert hub.weight_names(tags["datacomp1b"]) == (
        "pytorch_model.safetensors",
        "pytorch_model.bin",
    )
    tags = known_architectures()["ViT-B-32"].tags
    assert hub.weight_names(tags["openai"]) == (WEIGHTS, "open_clip_pytorch_model.bin")


def test_the_list_has_names_sizes_accuracy_and_what_is_here(
    put_checkpoint: Callable[..., Path], put_in_hub_cache: PutInHubCache, tmp_path: Path
) -> None:
    put_checkpoint("org/tiny")
    (tmp_path / "weights").write_bytes(b"")
    put_in_hub_cache(LAION_REPO, WEIGHTS, tmp_path / "weights")

    models = {listing.name: listing for listing in list_models()}

    assert len(models) > 150
    assert models[LAION].parameters == 151_277_313
    assert models[LAION].image_size == 224
    assert models[LAION].imagenet_top1 == 0.6656
    assert models[LAION].is_here
    assert models["hf-hub:org/tiny"].is_here
    assert models["hf-hub:org/tiny"].imagenet_top1 is None
    assert not models["RN50/openai"].is_here
    places = [listing.is_here for listing in models.values()]
    assert places == sorted(places, reverse=True), "what is here comes first"
    assert not any("-quickgelu/" in name for name in models)


@pytest.mark.slow
def test_the_environment_says_where_the_cache_is(
    put_checkpoint: Callable[..., Path], hub_cache: Path
) -> None:
    put_checkpoint("org/tiny")
    code = (
        "from clipkit.models.listing import list_models\n"
        "assert 'hf-hub:org/tiny' in {listing.name for listing in list_models()}"
    )
    for variables in (
        {"HF_HUB_CACHE": str(hub_cache)},
        {"HF_HOME": str(hub_cache.parent), "HF_HUB_CACHE": ""},
    ):
        environment = {**os.environ, **variables}
        environment = {name: value for name, value in environment.items() if value}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
