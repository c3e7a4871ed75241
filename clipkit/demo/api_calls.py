"""Validation of the page's API calls: only words, numbers and ids of images pass.

Gradio takes every value that looks like a file for a path to copy or an address to fetch. So a call
is rebuilt from the few things that the page understands before Gradio sees it.
"""

import json
import re
from collections.abc import Container
from typing import Any

SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
WORD = re.compile(r"[a-z0-9]{1,16}")
MAX_VALUES = 16
_FILE = {"_type": "gradio.FileData"}


class CallError(ValueError):
    """An API call that the page does not understand."""


def read_call(body: bytes, images: Container[object]) -> dict[str, Any]:
    """Return an API call, rebuilt from what is allowed in one.

    Args:
        body: JSON, as Gradio's clients send it to ``queue/join``.
        images: The ids of images that were given out.

    Returns:
        The call, with nothing in it but words, numbers and known ids.

    Raises:
        CallError: If there is anything else in it.
    """
    call = _read_object(body)
    values = call.get("data")
    if not isinstance(values, list) or len(values) > MAX_VALUES:
        raise CallError(f"data must be a list of at most {MAX_VALUES} values")
    session = call.get("session_hash")
    if not isinstance(session, str) or not SESSION.fullmatch(session):
        raise CallError("session_hash must be up to 64 letters and digits")
    return {
        "data": [_read_value(value, images) for value in values],
        "event_data": _read_event(call.get("event_data"), images),
        "fn_index": _read_index(call.get("fn_index")),
        "trigger_id": _read_index(call.get("trigger_id")),
        "session_hash": session,
    }


def read_tool_call(body: bytes) -> dict[str, Any]:
    """Return a message of the Model Context Protocol in which no tool is given a file.

    Gradio would save what begins as a data URL, and fetch what begins as an address.

    Args:
        body: JSON-RPC, as clients of the protocol send it.

    Returns:
        The message.

    Raises:
        CallError: If a tool is given anything but words and numbers.
    """
    message = _read_object(body)
    if message.get("method") != "tools/call":
        return message
    parameters = message.get("params")
    values = parameters.get("arguments") if isinstance(parameters, dict) else None
    if not isinstance(values or {}, dict):
        raise CallError("arguments must be an object")
    for value in (values or {}).values():
        if value is not None and not isinstance(value, str | bool | int | float):
            raise CallError("a tool takes words and numbers")
        if isinstance(value, str) and value.lower().startswith(("data:", "http:", "https:")):
            raise CallError("a tool takes words, and neither images nor addresses")
    return message


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        read = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CallError("this is not JSON") from error
    if not isinstance(read, dict):
        raise CallError("a call must be an object")
    return read


def _read_value(value: object, images: Container[object]) -> object:
    if isinstance(value, str):  # half a character, such as of an emoji, could not be sent back
        return value.encode(errors="replace").decode()
    if value is None or isinstance(value, bool | int | float):
        return value
    if not isinstance(value, dict):
        raise CallError("a value must be words, a number or an image")
    return {"path": _read_key(value.get("path"), images), "url": None, "meta": _FILE}


def _read_key(key: object, images: Container[object]) -> str:
    """Return an image's id without its size."""
    if key not in images:
        raise CallError("this image is not here any more: choose it again")
    return str(key)[:32]


def _read_event(event: object, images: Container[object]) -> dict[str, Any] | None:
    """Return what of the page an event is about.

    The place of an image, or a list of ids; an id or a word of the page's own; and whether it was
    selected.
    """
    if not isinstance(event, dict) or "index" not in event:
        return None
    index, value = event["index"], event.get("value")
    if isinstance(index, list):
        index = [_read_key(key, images) for key in index]
    else:
        index = _read_index(index)
    if not isinstance(value, str) or not (value in images or WORD.fullmatch(value)):
        value = None
    return {"index": index, "value": value, "selected": event.get("selected", True) is True}


def _read_index(index: object) -> int | None:
    if index is None:
        return None
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < 2**31:
        raise CallError("an index must be a number from 0 on")
    return index


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
