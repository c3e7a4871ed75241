"""The hub: what is here is used without a network, and what is not is said in one sentence."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from clipkit.errors import CheckpointError, OfflineError
from clipkit.models import hub, hub_download
from clipkit.models.checkpoint import load_towers, save_towers
from clipkit.models.known_models import known_architectures
from clipkit.models.locate import fetch_source, locate
from clipkit.models.sources import CONFIG_NAME, resolve_source, starter_directory
from tests.models.conftest import Family
from tests.models.hub_server import Hub

PutInHubCache = Callable[[str, str, Path], None]


LAION = "ViT-B-32/laion2b_s34b_b79k"


LAION_REPO = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"


WEIGHTS = "open_clip_model.safetensors"


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
    no_network: list[str],
    is_forbidden: bool,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", is_forbidden)
    (tmp_path / "weights").write_bytes(b"")
    put_in_hub_cache(LAION_REPO, WEIGHTS, tmp_path / "weights")
    starter = "starter, " if (starter_directory() / CONFIG_NAME).is_file() else ""

    with pytest.raises(OfflineError) as caught:
        load_towers(resolve_source("ViT-B/32"))

    assert len(no_network) == (0 if is_forbidden else 1), "nothing is tried again"
    reason = "huggingface.co cannot be reached (there is no network in this test)"
    remedy = (
        'run  clipkit fetch "ViT-B-32/openai"  on a machine with network '
        f"and copy its cache to {hub_cache}"
    )
    if is_forbidden:
        reason = "HF_HUB_OFFLINE is set, so the hub may not be asked"
        remedy = "unset HF_HUB_OFFLINE, and it is fetched"
    assert str(caught.value) == (
        f"ViT-B-32/openai is not all on this machine, and {reason}: "
        "open_clip_model.safetensors of timm/vit_base_patch32_clip_224.openai is missing "
        f"(what loads here: {starter}{LAION}); {remedy}"
    )


def test_a_hub_that_does_not_answer_is_given_up_on(
    hub_server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_download, "_REPLY_SECONDS", 0.05)
    monkeypatch.setattr(hub_download, "_WAIT_SECONDS", 60.0)
    hub_server.may_answer.clear()
    with pytest.raises(OfflineError, match=r"and \S+ does not answer in time: "):
        locate(resolve_source("ViT-B/32"))
    assert hub_server.was_asked.is_set()
    assert not hub_server.may_answer.is_set(), "it is still silent"
    assert hub_server.asked == [f"HEAD {WEIGHTS}"], "and it is asked once"


def test_a_name_server_that_does_not_answer_is_given_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def look_up(*_: Any, **__: Any) -> None:
        asked.set()
        may_answer.wait()
        raise OSError("the name server is silent")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(hub_download, "_WAIT_SECONDS", 0.05)
    try:
        with pytest.raises(OfflineError, match=r"and \S+ does not answer in time: "):
            locate(resolve_source("ViT-B/32"))
    finally:
        may_answer.set()


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
    with pytest.raises(OfflineError, match=r"cannot be reached .*; connect this machine to the"):
        fetch_source(resolve_source(directory))
    assert no_network, "fetching is what the network is for"


def test_fetching_asks_for_the_small_files_first_and_returns_the_weights_last(
    family: Callable[[str], Family], hub_server: Hub, tmp_path: Path
) -> None:
    directory = tmp_path / "saved"
    save_towers(load_towers(resolve_source(family("hf-text").directory)), directory)
    hub_server.files = {path.name: path for path in directory.iterdir()}
    source = resolve_source("hf-hub:org/tiny")

    paths = fetch_source(source)

    names = [path.name for path in paths]
    assert names[0] == CONFIG_NAME
    assert names[-1] == WEIGHTS
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} < set(names)
    assert {path.name: path.read_bytes() for path in paths} == {
        name: hub_server.files[name].read_bytes() for name in names
    }
    downloads = [line for line in hub_server.asked if line.startswith("GET")]
    assert downloads == [f"GET {name}" for name in names]
    hub_server.asked.clear()
    assert fetch_source(source) == paths
    assert not any(line.startswith("GET") for line in hub_server.asked), "nothing has changed"
    hub_server.asked.clear()
    assert locate(source).weights == paths[-1]
    assert hub_server.asked == [], "what is here is not asked for"


def test_a_torch_file_is_taken_where_the_repo_has_no_safetensors(
    hub_server: Hub, tmp_path: Path
) -> None:
    file = tmp_path / "open_clip_pytorch_model.bin"
    file.write_bytes(b"tensors")
    hub_server.files = {file.name: file}
    (place,) = fetch_source(resolve_source(LAION))
    assert (place.name, place.read_bytes()) == (file.name, b"tensors")
    assert hub_server.asked[0] == f"HEAD {WEIGHTS}"


def test_a_repo_without_a_model_is_a_checkpoint_error(hub_server: Hub) -> None:
    with pytest.raises(
        CheckpointError, match=f"org/tiny on the hub has no {CONFIG_NAME}"
    ) as caught:
        fetch_source(resolve_source("hf-hub:org/tiny@v9"))
    assert not isinstance(caught.value, OfflineError)
    # A repo may be in transformers' layout, or sentence-transformers'.
    names = (CONFIG_NAME, "config.json", "0_CLIPModel/config.json")
    assert hub_server.asked == [f"HEAD {name}" for name in names]
    assert hub_server.revisions == ["v9"] * 3


def test_a_download_that_finds_no_file_is_an_offline_error(
    hub_server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's client calls a file that it can neither find nor fetch an entry not found."""
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", Mock(side_effect=LocalEntryNotFoundError("offline"))
    )
    hub_server.files = {CONFIG_NAME: starter_directory() / CONFIG_NAME}
    with pytest.raises(OfflineError):
        fetch_source(resolve_source("hf-hub:org/tiny"))


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
