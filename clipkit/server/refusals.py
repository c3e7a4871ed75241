"""Refusals of requests: one sentence each, in the form that OpenAI's clients understand."""

import json
import logging
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse

from clipkit.errors import ClipkitError, ImageReadError, InputError, MissingExtraError
from clipkit.server.settings import BUSY_SECONDS

_SHOWN = 3  # faults of a request in a message
_LONG = 60  # characters of what was got


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: Of HTTP.
        message: What was wrong, what was got, what would be right, what to do.
        code: For programs.
        headers: Of the answer.
        param: The field of the request that is at fault, if one is.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        headers: Mapping[str, str] | None = None,
        *,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.param = param

    def answer(self) -> JSONResponse:
        """Return what is sent."""
        error = {
            "message": self.message,
            "type": _TYPES.get(self.status, "invalid_request_error"),
            "param": self.param,
            "code": self.code,
        }
        return AsciiJSONResponse({"error": error}, self.status, self.headers)


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    500: "server_error",
    503: "overloaded_error",
}


class AsciiJSONResponse(JSONResponse):
    """JSON in ASCII: names of files may have bytes that are no text, and no form in UTF-8."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def busy(message: str) -> RefusedError:
    """Return the refusal of one request too many: its client may come again."""
    return RefusedError(503, message, "overloaded", {"Retry-After": str(BUSY_SECONDS)})


def refusal_of(error: ClipkitError) -> RefusedError:
    """Return an error of clipkit as a refusal.

    Args:
        error: What was raised while a request was answered.

    Returns:
        The client's fault with the error's own sentence; of any other the log has the sentence,
        which may name folders of this machine.
    """
    if isinstance(error, ImageReadError):
        return RefusedError(422, f"the image {error.reason}", "unreadable_image")
    if isinstance(error, InputError) and not isinstance(error, MissingExtraError):
        return RefusedError(422, str(error), "invalid_value")
    logging.getLogger(__name__).error("%s", error)
    return RefusedError(
        503,
        "the server cannot answer this now; the reason is in its log",
        "unavailable",
        {"Retry-After": "30"},
    )


def describe_faults(faults: Sequence[Mapping[str, Any]]) -> str:
    """Return the faults of a request body as a sentence.

    Args:
        faults: As pydantic lists them.

    Returns:
        For example 'k: Input should be a valid integer, got "many"'.
    """
    said: dict[str, str] = {}
    for fault in faults:
        where = place_of(fault)
        if fault["type"] == "json_invalid":
            return f"the body is no JSON ({fault['ctx']['error']}): send an object in UTF-8"
        if fault["type"] == "missing" and not where:
            return "the body is empty: send a JSON object, as /openapi.json describes it"
        message = str(fault["msg"]).removeprefix("Value error, ")
        if fault["type"] in ("model_type", "model_attributes_type"):
            message = "Input should be an object"
        if fault["type"] in ("missing", "value_error", "extra_forbidden"):
            text = message
        else:
            text = f"{message}, got {shown(fault.get('input'))}"
        # Of a value that may be one of several kinds there is a fault for each.
        said[where] = f"{said[where]}; or {text}" if where in said else text
    parts = [f"{where}: {text}" if where else text for where, text in said.items()]
    more = f"; and {len(parts) - _SHOWN} more faults" if len(parts) > _SHOWN else ""
    return "; ".join(parts[:_SHOWN]) + more


def place_of(fault: Mapping[str, Any]) -> str:
    """Return where in the body a fault is: names of fields and numbers of items, no types."""
    place = ""
    parts = list(fault["loc"][1:])
    # A field that there is not may have any name; all others are in small letters, types are not.
    unknown = parts.pop() if parts and fault["type"] == "extra_forbidden" else None
    for part in parts:
        if isinstance(part, int):
            place += f"[{part}]"
        elif isinstance(part, str) and part.isidentifier() and part.islower() and part != "str":
            place += f".{part}" if place else part
    if unknown is not None:
        name = shown(unknown).strip("'")
        place += f".{name}" if place else name
    return place


def shown(value: object) -> str:
    """Return what was got, in ASCII and cut where it is long or deep."""
    text = _BRIEF.repr(value).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = 2 * _LONG
