"""What went wrong between this machine and the hub, in words, with what can be done about it.

The hub's client has had three HTTP libraries, each with errors of its own: they are told apart by
what all have in common, the answer's status, the module and the cause.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clipkit.models.hub_cache import hub_cache

_HTTP_LIBRARIES = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG})


@dataclass(frozen=True)
class Failure:
    """Why a file could not be fetched, and what to do."""

    reason: str  # a clause
    remedy: str | None  # what to do; None: there is no network, so another machine must fetch it
    is_network: bool = False  # whether the network is the reason
    is_unasked: bool = False  # whether the hub was never reached


class FetchError(Exception):
    """A file was not fetched for a reason that is known already."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def describe_failure(error: Exception, repo: str, revision: str | None) -> Failure | None:
    """Return what an error of the hub's client means.

    Args:
        error: What asking the hub or writing to its cache raised.
        repo: The repository that was asked for.
        revision: The branch, tag or commit; None: the main branch.

    Returns:
        The failure; None if the error is of no such kind, and so a fault in a program.
    """
    from huggingface_hub import errors as hub_errors

    error = _cause_in_words(error)
    if isinstance(error, FetchError):
        return error.failure
    if isinstance(error, hub_errors.OfflineModeIsEnabled):
        return _offline_mode()
    if isinstance(error, hub_errors.HFValidationError):
        return Failure(str(error).rstrip("."), "check the name")
    status = status_of(error)
    if status is not None:
        return _refusal(error, status, repo, revision)
    if isinstance(error, OSError) and error.errno in _FULL | _CLOSED:
        return disk_failure(error, Path(error.filename) if error.filename else hub_cache())
    if isinstance(error, OSError) or is_transport_error(error):
        return _no_answer(error)
    return None


def disk_failure(error: OSError, place: Path) -> Failure:
    """Return what an error of writing to the hub's cache means.

    Args:
        error: What the system raised.
        place: What could not be written.

    Returns:
        The failure.
    """
    if error.errno in _FULL:
        return Failure(
            f"the disk has no room for {place} ({error.strerror})",
            "make room: what has arrived is kept, and the next try resumes from there; or set "
            "HF_HUB_CACHE to a directory on another disk",
        )
    if error.errno == errno.EFBIG:
        return Failure(
            f"{place} may not become larger ({error.strerror})",
            "raise the limit of this process or this disk, or set HF_HUB_CACHE to a directory on "
            "another disk; what has arrived is kept, and the next try resumes from there",
        )
    return Failure(
        f"{place} cannot be written ({error.strerror or error})",
        "make the cache's directory writable, or set HF_HUB_CACHE to one that is",
    )


def status_of(error: Exception) -> int | None:
    """Return the HTTP status of the answer that an error is about, if there was one."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def is_transport_error(error: Exception) -> bool:
    """Return whether an HTTP library raised an error, not about what an answer said."""
    return type(error).__module__.partition(".")[0] in _HTTP_LIBRARIES


def is_timeout(error: Exception) -> bool:
    """Return whether an error is that nothing came in time."""
    chain = _chain(error)  # requests calls it a lost connection, and gives the reason as its cause
    names = {kind.__name__ for link in chain for kind in type(link).__mro__}
    return bool(names & {"TimeoutError", "TimeoutException", "Timeout", "ReadTimeoutError"})


def sends_token() -> bool:
    """Return whether the hub is asked with a token."""
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    return "authorization" in {key.lower() for key in build_hf_headers()}


def endpoint_host() -> str:
    """Return the host name of the hub that is asked."""
    from huggingface_hub import constants

    return urlsplit(constants.ENDPOINT).netloc


def _cause_in_words(error: Exception) -> Exception:
    """Return the error behind one that says only that a file is neither here nor there."""
    from huggingface_hub import errors as hub_errors

    wrappers = (hub_errors.LocalEntryNotFoundError, ValueError)
    while isinstance(error, wrappers) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _offline_mode() -> Failure:
    names = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)]
    variable = names[0] if names else "HF_HUB_OFFLINE"
    return Failure(
        f"{variable} is set, so the hub may not be asked",
        f"unset {variable}, and it is fetched",
        is_network=True,
        is_unasked=True,
    )


def _refusal(error: Exception, status: int, repo: str, revision: str | None) -> Failure:
    from huggingface_hub import errors as hub_errors

    if isinstance(error, hub_errors.RevisionNotFoundError):
        return Failure(
            f"{repo} on the hub has no revision {revision or 'main'}",
            f"{_page(repo)} shows its branches and tags, beside its files",
        )
    if isinstance(error, hub_errors.DisabledRepoError):
        return Failure(f"the hub has disabled {repo}", f"{_page(repo)} may say why")
    if status in (401, 403) or isinstance(error, hub_errors.RepositoryNotFoundError):
        return _no_access(error, status, repo)
    if status == 429:
        more = "" if sends_token() else '; the limit is higher with a token: run  "hf auth login"'
        return Failure(
            "the hub answers 429: it was asked too often of late", f"try again later{more}"
        )
    if status >= 500:
        return Failure(
            f"the hub, or a proxy before it, answers {status}, which is an error of its own",
            "try again later",
        )
    return Failure(f"the hub answers {status}", f"see whether {_page(repo)} opens in a browser")


def _no_access(error: Exception, status: int, repo: str) -> Failure:
    """Return what a hub means that does not let this user in: it may hide what is private."""
    from huggingface_hub import errors as hub_errors

    if isinstance(error, hub_errors.GatedRepoError):
        if sends_token():
            return Failure(
                f"{repo} is gated and the hub refuses it to the token that is used here ({status})",
                f"accept its conditions at {_page(repo)} with the account of that token; if that "
                "is done, wait for its owners, or let the token read gated repositories",
            )
        return Failure(
            f"{repo} is gated, and the hub was asked without a token",
            f'accept its conditions at {_page(repo)} and log in with  "hf auth login"',
        )
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        if sends_token() and status == 404:
            return Failure(
                f"the hub has no {repo} that the token used here may see",
                "check the name; if it is private, its owner has to let that account in",
            )
        if not sends_token():
            return Failure(
                f"the hub has no {repo} that may be seen without a token",
                'check the name; if it is private, log in with  "hf auth login"',
            )
    if not sends_token():
        return Failure(
            f"the hub answers {status}, and was asked without a token",
            f'log in with  "hf auth login", and accept the conditions at {_page(repo)} if there '
            "are any",
        )
    if status == 401:
        return Failure(
            "the hub does not accept the token that is used here (401): it may have ended",
            f'make a new one at {_page("settings/tokens")}; HF_TOKEN or  "hf auth login"  sets it',
        )
    return Failure(
        f"the hub refuses {repo} to the token that is used here ({status})",
        f"let that token read {repo}, or use one that may: {_page('settings/tokens')}",
    )


def _no_answer(error: Exception) -> Failure:
    import socket  # only here: a query imports this module, and asks no hub

    host = endpoint_host()
    if is_timeout(error):
        return _unreached(f"{host} does not answer in time")
    roots = _chain(error)
    if any(isinstance(root, socket.gaierror) for root in roots):
        return _unreached(f"the name {host} cannot be looked up")
    text = str(roots[-1]) or type(roots[-1]).__name__
    return _unreached(f"{host} cannot be reached ({text})")


def _unreached(reason: str) -> Failure:
    return Failure(reason, None, is_network=True, is_unasked=True)


def _chain(error: BaseException) -> list[Any]:
    """Return an error and those that it came from, the first of all last."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) and before not in chain:
        chain.append(before)
    return chain


def _page(path: str) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{path}"
