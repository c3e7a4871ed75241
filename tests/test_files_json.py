"""JSON objects in files: what json.loads reads of them, and one message for every damage."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.errors import CheckpointError, ClipkitError, LibraryError, TrainingError
from clipkit.files import read_json_object

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)
OBJECTS = st.dictionaries(st.text(), VALUES)

# What a file holds, and what of it the message names.
DAMAGED = {
    b"": "got no JSON: Expecting value: line 1 column 1",
    b"{": "got no JSON: Expecting property name",
    b"{}{}": "got no JSON: Extra data",
    b"{'a': 1}": "got no JSON: Expecting property name",
    b'\xef\xbb\xbf{"a": 1}': r"got no JSON: Unexpected UTF-8 BOM",
    b'{"a": "\xff"}': "got bytes that are not UTF-8, from place 7 on",
    '{"a": 1}'.encode("utf-16"): "got bytes that are not UTF-8, from place 0 on",
    b'{"a": ' + b"1" * 5000 + b"}": "got no JSON: Exceeds the limit",
    b"[" * 200_000: "got one that is nested too deeply",
    b'{"a": ' * 200_000: "got one that is nested too deeply",
    b"[]": "got a list",
    b'"{}"': "got a string",
    b"null": "got null",
    b"true": "got true or false",
    b"1": "got a number",
    b"-1.5e3": "got a number",
    b"NaN": "got a number",
}


@pytest.mark.parametrize("content", DAMAGED, ids=lambda content: repr(content[:20]))
def test_what_is_no_object_is_refused_with_what_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=DAMAGED[content]) as caught:
        read_json_object(path, CheckpointError)
    assert str(caught.value).startswith(
        f"{path} cannot be read: it must hold one JSON object in UTF-8, got "
    )


@pytest.mark.parametrize("error_type", [CheckpointError, LibraryError, TrainingError])
def test_a_missing_file_is_an_error_of_the_type_that_is_asked_for(
    tmp_path: Path, error_type: type[ClipkitError]
) -> None:
    with pytest.raises(ClipkitError, match=r"gone\.json cannot be read: No such file") as caught:
        read_json_object(tmp_path / "gone.json", error_type)
    assert type(caught.value) is error_type
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.skipif(os.name == "nt", reason="Windows says of a directory that access is denied")
def test_other_things_than_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "loop", "Too many levels of symbolic links"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(CheckpointError, match=f"cannot be read: {reason}$"):
            read_json_object(path, CheckpointError)
    with pytest.raises(CheckpointError, match="null byte"):
        read_json_object(tmp_path / "a\0b", CheckpointError)


def test_of_keys_that_are_there_twice_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('\n {"a": 1, "b": Infinity, "a": 2}\r\n')
    assert read_json_object(path, CheckpointError) == {"a": 2, "b": math.inf}


@given(content=OBJECTS, is_ascii=st.booleans())
def test_an_object_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], is_ascii: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "object.json"
    path.write_bytes(json.dumps(content, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass"))
    assert read_json_object(path, CheckpointError) == content


@given(content=OBJECTS, data=st.data())
def test_damaged_bytes_are_an_object_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], data: st.DataObject
) -> None:
    """Nothing but the error that was asked for comes out, and only where there is no object."""
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    damaged = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
    start, end = sorted(data.draw(st.integers(0, len(damaged))) for _ in range(2))
    damaged = damaged[:start] + data.draw(st.binary(max_size=4)) + damaged[end:]
    path.write_bytes(damaged)
    try:
        found = read_json_object(path, CheckpointError)
    except CheckpointError as error:
        assert str(error).startswith(f"{path} cannot be read: ")
        with pytest.raises((ValueError, TypeError)):
            dict(**json.loads(damaged.decode()))
    else:
        assert repr(found) == repr(
            json.loads(damaged.decode())
        )  # of floats, too, that are no number
