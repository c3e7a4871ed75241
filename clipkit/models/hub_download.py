"""Downloading one file of the hub into its cache, resuming an interrupted download.

huggingface_hub starts anew whenever a download did not end well, so the bytes are transferred here:
through its own HTTP session, with its settings, into ``blobs/ETAG.incomplete``. That file outlives
a cut connection, a full disk and a kill. Its links to the finished file the client makes itself.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

from clipkit.files import file_sha256
from clipkit.models.hub_cache import PARTIAL_SUFFIX, cached_file, hub_cache, repo_directory
from clipkit.models.hub_errors import (
    Failure,
    FetchError,
    disk_failure,
    endpoint_host,
    is_timeout,
    is_transport_error,
    status_of,
)
from clipkit.models.hub_integrity import known_sha256, remember_verified
from clipkit.progress import Progress

_REPLY_SECONDS = 4.0  # timeout of the hub's first answer; a download takes as long as it takes
_WAIT_SECONDS = 5.0  # for that answer or its timeout: looking up a host name has none of its own
_PAUSES = (0.0, 1.0, 4.0)  # seconds before another try, after this many that brought nothing
_LOCK_SECONDS = 0.05  # to see whether a partial file is being written
_CHUNK = 1 << 16  # bytes

ProgressFor = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class RemoteFile:
    """What the hub says of a file."""

    repo: str
    name: str
    commit: str
    etag: str  # of a large file its SHA-256
    size: int | None  # bytes; None: not known


def ask_hub(repo: str, name: str, revision: str | None) -> RemoteFile:
    """Ask the hub for a file's commit, hash and size: one short request, which is not repeated.

    Args:
        repo: "org/repo".
        name: The file.
        revision: A branch, tag or commit; None: the main branch.

    Returns:
        The answer.

    Raises:
        FetchError: If what answers is not a hub; whatever the hub's client raises besides.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(repo, name, revision=revision)
    answer = _call_within(_WAIT_SECONDS, lambda: get_hf_file_metadata(url, timeout=_REPLY_SECONDS))
    if not answer.commit_hash or not answer.etag:
        raise FetchError(
            Failure(
                f"what answers at {endpoint_host()} is not the hub: it names no commit",
                "see in a browser whether this network wants a log-in, and check HF_ENDPOINT",
            )
        )
    return RemoteFile(repo, name, answer.commit_hash, answer.etag, answer.size)


def download(
    remote: RemoteFile, cache_dir: Path | None, progress_for: ProgressFor, *, again: bool = False
) -> Path:
    """Return a file's path in the cache after downloading what of it is not there.

    Args:
        remote: What the hub says of it.
        cache_dir: The hub cache; the usual one if None.
        progress_for: Called with a label; progress in bytes is shown while what it returns is
            entered.
        again: Whether to download it also if it is there.

    Returns:
        The path under its own name.

    Raises:
        FetchError: If the transfer fails, the bytes are wrong, or the cache cannot be written.
    """
    from huggingface_hub import hf_hub_download

    here = cached_file(remote.repo, remote.name, revision=remote.commit, cache_dir=cache_dir)
    if here is not None and not again:
        return here
    blob = repo_directory(remote.repo, cache_dir) / "blobs" / remote.etag
    if again or not blob.exists():
        with _held(blob, cache_dir):
            if again or not blob.exists():  # another process may have fetched it meanwhile
                _fetch_blob(remote, blob, progress_for)
    if here is not None and not here.is_symlink():  # where there are no links, it is a copy
        here.unlink()
    # With the blob there, the client downloads nothing: it makes the link.
    path = hf_hub_download(remote.repo, remote.name, revision=remote.commit, cache_dir=cache_dir)
    if known_sha256(remote.etag):
        remember_verified(Path(path))
    return Path(path)


def remove_partial_files(repo: str, cache_dir: Path | None) -> None:
    """Remove what is left in the cache of interrupted downloads that no process resumes.

    Args:
        repo: The repository, of which all files that are wanted are here.
        cache_dir: The hub cache; the usual one if None.
    """
    for partial in (repo_directory(repo, cache_dir) / "blobs").glob(f"*{PARTIAL_SUFFIX}"):
        # huggingface_hub, too, holds this lock for as long as it writes; its files have another
        # word between the two parts of the name.
        blob = partial.with_name(partial.name.partition(".")[0])
        with (
            contextlib.suppress(OSError, FetchError),
            _held(blob, cache_dir, timeout=_LOCK_SECONDS),
        ):
            partial.unlink()


@contextmanager
def show_bar(label: str) -> Iterator[Progress]:
    """Show a bar as huggingface_hub does: on a terminal, unless its settings forbid it.

    Args:
        label: What is being done.

    Yields:
        A function to call with (how many bytes are done, how many there are or None).
    """
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    bar: Any = None

    def update(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            settings = {"desc": label, "unit": "B", "unit_scale": True, "disable": None}
            bar = tqdm(total=total, initial=done, **settings)  # type: ignore[no-untyped-call]
        bar.update(done - bar.n)

    try:
        yield update
    finally:
        if bar is not None:
            bar.close()


@contextmanager
def _held(blob: Path, cache_dir: Path | None, timeout: float | None = None) -> Iterator[None]:
    """Hold the lock that huggingface_hub, too, holds while it downloads a blob."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    locks = hub_cache(cache_dir) / ".locks" / blob.parent.parent.name
    try:
        locks.mkdir(parents=True, exist_ok=True)
        blob.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(disk_failure(error, Path(error.filename))) from error
    with WeakFileLock(locks / f"{blob.name}.lock", timeout=timeout):
        yield


def _fetch_blob(remote: RemoteFile, blob: Path, progress_for: ProgressFor) -> None:
    partial = blob.with_name(blob.name + PARTIAL_SUFFIX)
    with progress_for(f"fetching {remote.name}") as progress:
        has_rest = _size(partial) > 0
        _transfer(remote, partial, progress)
        if has_rest and not _is_right(remote, partial):  # its start may have been bad
            partial.unlink()
            _transfer(remote, partial, progress)
    if not _is_right(remote, partial):
        found = file_sha256(partial)
        partial.unlink()
        raise FetchError(
            Failure(
                f"the bytes that arrived are not those of the hub: their SHA-256 is {found[:12]}…, "
                f"not {remote.etag[:12]}…",
                "they were removed; a proxy may have changed them: try it over another network",
            )
        )
    try:
        partial.replace(blob)
    except OSError as error:
        raise FetchError(disk_failure(error, blob)) from error


def _is_right(remote: RemoteFile, partial: Path) -> bool:
    expected = known_sha256(remote.etag)
    return expected is None or file_sha256(partial) == expected


def _transfer(remote: RemoteFile, partial: Path, progress: Progress) -> None:
    """Append what a partial file lacks; try again as long as that brings something."""
    if remote.size is not None and _size(partial) > remote.size:
        partial.unlink()
    num_futile = 0
    while True:
        start = _size(partial)
        if start and start == remote.size:
            return
        try:
            _append(remote, partial, start, progress)
            break
        except Exception as error:
            if status_of(error) == 416 and start:  # there is nothing behind: begin anew
                partial.unlink()
                continue
            if not is_transport_error(error) or status_of(error) is not None:
                raise
            num_futile = 0 if _size(partial) > start else num_futile + 1
            if num_futile == len(_PAUSES):
                raise FetchError(_cut(error, remote, _size(partial))) from error
            time.sleep(_PAUSES[num_futile])
    if remote.size is not None and _size(partial) != remote.size:
        num_bytes = _size(partial)
        if num_bytes > remote.size:
            partial.unlink()
        raise FetchError(
            Failure(
                f"the hub sent {num_bytes:,} bytes, and says itself that there are {remote.size:,}",
                "try again later; a proxy that keeps copies may hold one that is cut off",
            )
        )


def _append(remote: RemoteFile, partial: Path, start: int, progress: Progress) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        hf_raise_for_status,
    )

    url = hf_hub_url(remote.repo, remote.name, revision=remote.commit)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with _streamed(url, headers) as (response, chunks):
        hf_raise_for_status(response)
        is_rest = response.status_code == 206  # else all of it comes, whatever was asked for
        done = start if is_rest else 0
        with _opened(partial, "ab" if is_rest else "wb") as file:
            progress(done, remote.size)
            for chunk in chunks:
                _write(file, chunk, partial)
                done += len(chunk)
                progress(done, remote.size)


@contextmanager
def _streamed(url: str, headers: dict[str, str]) -> Iterator[tuple[Any, Iterator[bytes]]]:
    """Give an answer and its body in pieces, from the session that the hub's client uses."""
    from huggingface_hub import constants, get_session

    session: Any = get_session()
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    if callable(getattr(session, "stream", None)):  # of httpx, since version 1
        with session.stream(
            "GET", url, headers=headers, timeout=timeout, follow_redirects=True
        ) as response:
            yield response, response.iter_bytes()
    else:
        with session.get(url, headers=headers, timeout=timeout, stream=True) as response:
            yield response, response.iter_content(_CHUNK)


def _opened(path: Path, mode: str) -> BinaryIO:
    try:
        return path.open(mode)  # type: ignore[return-value]  # both modes are binary
    except OSError as error:
        raise FetchError(disk_failure(error, path)) from error


def _write(file: BinaryIO, chunk: bytes, path: Path) -> None:
    try:
        file.write(chunk)
        file.flush()  # so that a kill loses nothing
    except OSError as error:
        with contextlib.suppress(OSError):  # what did not fit would be tried once more
            file.close()
        raise FetchError(disk_failure(error, path)) from error


def _cut(error: Exception, remote: RemoteFile, num_bytes: int) -> Failure:
    of_all = f"{num_bytes:,} of {remote.size:,} bytes" if remote.size else f"{num_bytes:,} bytes"
    if is_timeout(error):
        reason = f"the transfer stands still after {of_all}"
    else:
        reason = f"the connection broke off after {of_all}"
    return Failure(
        f"{reason}, and {len(_PAUSES)} tries in a row brought nothing more",
        "what has arrived is kept, and the next try resumes from there",
        is_network=True,
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _call_within(seconds: float, request: Callable[[], Any]) -> Any:
    """Call a function in a thread, with a time limit; return or raise what it does."""
    answers: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()

    def answer() -> None:
        try:
            answers.put((request(), None))
        except Exception as error:  # noqa: BLE001 - it is raised where the request was made
            answers.put((None, error))

    threading.Thread(target=answer, daemon=True).start()
    try:
        value, error = answers.get(timeout=seconds)
    except Empty as empty:
        raise TimeoutError("the hub did not answer") from empty
    if error is not None:
        raise error
    return value
