"""Fetching of an image from an http or https address, within limits of size and time."""

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import IO

from clipkit.inputs.read_errors import UnreadableError
from clipkit.version import __version__

TIMEOUT_SECONDS = 10.0  # without a byte
TOTAL_SECONDS = 60.0  # for one image
MAX_BYTES = 50 * 1000 * 1000

_TOO_SLOW = (
    f"cannot be fetched: no answer for {TIMEOUT_SECONDS:g} seconds, "
    f"or none that is complete within {TOTAL_SECONDS:g}"
)


def fetch(url: str) -> bytes:
    """Return the content of an http or https address.

    Redirects are followed to http and https only. Proxies are taken from the environment, as
    urllib does. The address is not checked otherwise: a program that lets strangers choose it
    lets them reach what this machine can reach.

    Args:
        url: The address.

    Returns:
        The body of the answer, at most 50 MB.

    Raises:
        UnreadableError: If nothing usable comes back in time.
    """
    deadline = time.monotonic() + TOTAL_SECONDS
    try:
        request = urllib.request.Request(url, headers={"User-Agent": f"clipkit/{__version__}"})
        with _opener().open(request, timeout=TIMEOUT_SECONDS) as answer:
            return _body(answer, deadline)
    except urllib.error.HTTPError as error:
        with error:
            raise UnreadableError(f"cannot be fetched: HTTP {error.code} {error.reason}") from error
    except TimeoutError as error:
        raise UnreadableError(_TOO_SLOW) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise UnreadableError(_TOO_SLOW) from error
        raise UnreadableError(f"cannot be fetched: {_cause(error.reason)}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UnreadableError(f"cannot be fetched: {_cause(error)}") from error


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to the web only; urllib alone would follow to ftp as well."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme.lower() not in ("http", "https"):
            refusal = f"redirects to {newurl!r}, which is not http or https"
            raise urllib.error.HTTPError(req.full_url, code, refusal, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    # Not build_opener, which would also serve file:, ftp: and data: addresses.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _WebRedirects(),
    ):
        opener.add_handler(handler)
    return opener


def _body(answer: http.client.HTTPResponse, deadline: float) -> bytes:
    body = bytearray()
    while chunk := answer.read(1 << 16):
        body += chunk
        # What is announced counts too, so that nothing large is read in vain.
        if len(body) + (answer.length or 0) > MAX_BYTES:
            raise UnreadableError(
                f"cannot be fetched: it is larger than the limit of {MAX_BYTES / 1e6:g} MB"
            )
        if time.monotonic() > deadline:
            raise UnreadableError(_TOO_SLOW)
    if answer.length:
        raise UnreadableError(f"cannot be fetched: the answer ended {answer.length} bytes early")
    return bytes(body)


def _cause(error: object) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
