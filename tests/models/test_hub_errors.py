"""What goes wrong between this machine and the hub: each case has its own reason and remedy."""

import errno
import os
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from clipkit.errors import CheckpointError, OfflineError
from clipkit.models import hub_download
from clipkit.models.hub_cache import repo_directory
from clipkit.models.hub_errors import describe_failure
from clipkit.models.locate import fetch_source, locate
from clipkit.models.sources import resolve_source
from tests.full_disk import full_disk
from tests.models.hub_server import Hub

NAME = "hf-hub:org/tiny@v9"
CONFIG = "open_clip_config.json"
START = f"{CONFIG} of org/tiny cannot be fetched: "
LAION = "ViT-B-32/laion2b_s34b_b79k"
LAION_REPO = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away a token that the environment may hold."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))


@pytest.mark.parametrize(
    ("refusal", "without_token", "with_token"),
    [
        (
            (403, "GatedRepo"),
            "org/tiny is gated, and the hub was asked without a token; accept its conditions at "
            'URL/org/tiny and log in with  "hf auth login"',
            "org/tiny is gated and the hub refuses it to the token that is used here (403); accept "
            "its conditions at URL/org/tiny with the account of that token; if that is done, wait "
            "for its owners, or let the token read gated repositories",
        ),
        (
            (403, ""),
            'the hub answers 403, and was asked without a token; log in with  "hf auth login", and '
            "accept the conditions at URL/org/tiny if there are any",
            "the hub refuses org/tiny to the token that is used here (403); let that token read "
            "org/tiny, or use one that may: URL/settings/tokens",
        ),
        (
            (401, ""),
            'the hub answers 401, and was asked without a token; log in with  "hf auth login", and '
            "accept the conditions at URL/org/tiny if there are any",
            "the hub does not accept the token that is used here (401): it may have ended; make a "
            'new one at URL/settings/tokens; HF_TOKEN or  "hf auth login"  sets it',
        ),
        (
            (404, "RepoNotFound"),
            "the hub has no org/tiny that may be seen without a token; check the name; if it is "
            'private, log in with  "hf auth login"',
            "the hub has no org/tiny that the token used here may see; check the name; if it is "
            "private, its owner has to let that account in",
        ),
        (
            (404, "RevisionNotFound"),
            "org/tiny on the hub has no revision v9; URL/org/tiny shows its branches and tags, "
            "beside its files",
            None,
        ),
        (
            (429, ""),
            "the hub answers 429: it was asked too often of late; try again later; the limit is "
            'higher with a token: run  "hf auth login"',
            "the hub answers 429: it was asked too often of late; try again later",
        ),
        (
            (503, ""),
            "the hub, or a proxy before it, answers 503, which is an error of its own; try again "
            "later",
            None,
        ),
        (
            (418, ""),
            "the hub answers 418; see whether URL/org/tiny opens in a browser",
            None,
        ),
    ],
)
@pytest.mark.parametrize("has_token", [False, True])
def test_each_refusal_has_its_own_reason_and_remedy(
    hub_server: Hub,
    monkeypatch: pytest.MonkeyPatch,
    refusal: tuple[int, str],
    without_token: str,
    with_token: str | None,
    has_token: bool,
) -> None:
    if has_token:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub_server.refusal = refusal
    for get in (fetch_source, locate):
        with pytest.raises(CheckpointError) as caught:
            get(resolve_source(NAME))
        expected = with_token if has_token and with_token else without_token
        assert str(caught.value) == START + expected.replace("URL", hub_server.url)
        assert not isinstance(caught.value, OfflineError), "the network is not the reason"
        assert "hf_secret" not in str(caught.value)
    assert hub_server.asked == [f"HEAD {CONFIG}"] * 2, "one short question each, without a retry"


def test_a_refusal_of_the_download_itself_is_told_too(hub_server: Hub, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"tensors")
    hub_server.files = {WEIGHTS: tmp_path / WEIGHTS}
    hub_server.refusal, hub_server.refuses_downloads = (502, ""), True
    with pytest.raises(CheckpointError, match="or a proxy before it, answers 502, which"):
        fetch_source(resolve_source(LAION))


def test_a_name_that_no_repository_can_have_is_refused() -> None:
    for get in (fetch_source, locate):
        with pytest.raises(CheckpointError, match=r"cannot be fetched: .*org--x/tiny'; check the"):
            get(resolve_source("hf-hub:org--x/tiny"))


def test_what_is_no_hub_is_told_from_one(
    hub_server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A network that wants a log-in answers every question."""
    (tmp_path / CONFIG).write_text("<html>please log in</html>")
    hub_server.files = {CONFIG: tmp_path / CONFIG}
    hub_server.commit = ""
    with pytest.raises(
        CheckpointError, match=r"is not the hub: it names no commit; see in a brows"
    ):
        fetch_source(resolve_source(NAME))


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_mode_names_the_variable_that_is_set(
    monkeypatch: pytest.MonkeyPatch, no_network: list[str], variable: str
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for get in (fetch_source, locate):
        with pytest.raises(OfflineError) as caught:
            get(resolve_source(NAME))
        assert f"and {variable} is set, so the hub may not be asked: " in str(caught.value)
        assert str(caught.value).endswith(f"; unset {variable}, and it is fetched")
    assert no_network == []


def test_a_host_that_has_no_address_is_told(
    monkeypatch: pytest.MonkeyPatch, hub_cache: Path
) -> None:
    def look_up(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(OfflineError) as caught:
        fetch_source(resolve_source(NAME))
    message = str(caught.value)
    assert "and the name huggingface.co cannot be looked up: " in message
    assert "clipkit fetch" not in message, "that is what was just run"
    assert message.endswith(
        "; connect this machine to the network, or do this on one that is connected and copy its "
        f"cache to {hub_cache}"
    )
    with pytest.raises(OfflineError, match=f'run  clipkit fetch "{NAME}"  on a machine with netw'):
        locate(resolve_source(NAME))


def test_a_file_that_may_not_grow_is_told_and_what_arrived_is_kept(
    hub_server: Hub, tmp_path: Path
) -> None:
    content = os.urandom(400_000)
    (tmp_path / WEIGHTS).write_bytes(content)
    hub_server.files = {WEIGHTS: tmp_path / WEIGHTS}
    with full_disk(100_000), pytest.raises(CheckpointError) as caught:
        fetch_source(resolve_source(LAION))
    partial = repo_directory(LAION_REPO) / "blobs" / f"{hub_server.etag(WEIGHTS)}.incomplete"
    assert not isinstance(caught.value, OfflineError)
    assert str(caught.value) == (
        f"{WEIGHTS} of {LAION_REPO} cannot be fetched: {partial} may not become larger "
        f"({os.strerror(errno.EFBIG)}); raise the limit of this process or this disk, or set "
        "HF_HUB_CACHE to a directory on another disk; what has arrived is kept, and the next try "
        "resumes from there"
    )
    assert partial.read_bytes() == content[: partial.stat().st_size]
    assert partial.stat().st_size <= 100_000
    (path,) = fetch_source(resolve_source(LAION))
    assert path.read_bytes() == content
    assert hub_server.ranges[-1].startswith("bytes=")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_told_from_a_limit_of_size(
    hub_server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"tensors")
    hub_server.files = {WEIGHTS: tmp_path / WEIGHTS}
    file = Mock()
    file.write.side_effect = OSError(number, os.strerror(number))
    monkeypatch.setattr(hub_download, "_opened", lambda *_: nullcontext(file))
    with pytest.raises(
        CheckpointError, match=r"the disk has no room for .*\.incomplete \("
    ) as caught:
        fetch_source(resolve_source(LAION))
    assert "; make room: what has arrived is kept, and the next try resumes" in str(caught.value)


def test_a_cache_that_cannot_be_written_is_told(
    hub_server: Hub, hub_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is simulated: root may write everywhere."""

    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    (tmp_path / WEIGHTS).write_bytes(b"tensors")
    hub_server.files = {WEIGHTS: tmp_path / WEIGHTS}
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(CheckpointError) as caught:
        fetch_source(resolve_source(LAION))
    assert not isinstance(caught.value, OfflineError)
    assert f"cannot be fetched: {hub_cache}" in str(caught.value)
    assert "cannot be written (Permission denied); make the cache's directory writable, or" in str(
        caught.value
    )


def test_a_fault_of_a_program_stays_what_it_is(
    hub_server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr(hub_download, "_call_within", fail)
    with pytest.raises(KeyError, match="a fault"):
        fetch_source(resolve_source(NAME))
    assert describe_failure(KeyError("a fault"), "org/tiny", None) is None
