"""clipkit's own safetensors files are the same after a file, and anything else is refused."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save, save_file

from clipkit.errors import InputError
from clipkit.models.tensor_file import About, TensorFileKind, Tensors, check_types

KIND = TensorFileKind("clipkit_thing", "thing", "clipkit make")
ABOUT = {"name": "caf\udce9 ü", "count": 3, "share": 0.1, "list": [1, None]}
TENSORS: dict[str, NDArray[Any]] = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.array([1, -2], dtype=np.int64),
}


def both(about: About, tensors: Tensors) -> tuple[About, Tensors]:
    return about, tensors


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_bytes(KIND.to_bytes(ABOUT, TENSORS))
    about, tensors = KIND.read(path, both)
    assert {key: about[key] for key in ABOUT} == ABOUT
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], tensor)


def test_the_mark_is_among_the_first_bytes_and_equal_content_makes_equal_files() -> None:
    many = {"names": ["x" * 50] * 10_000}
    content = KIND.to_bytes(many, TENSORS)
    assert b'"clipkit_thing"' in content[:100]
    assert content == KIND.to_bytes(many, dict(reversed(TENSORS.items())))


def test_a_file_of_another_program_needs_no_digest(tmp_path: Path) -> None:
    text = json.dumps({"format": 1, "name": "x"})
    save_file(TENSORS, tmp_path / "one", {"clipkit_thing": text})
    about, tensors = KIND.read(tmp_path / "one", both)
    assert about["name"] == "x"
    assert len(tensors) == 2


def test_each_changed_bit_of_the_tensors_is_found(tmp_path: Path) -> None:
    content = KIND.to_bytes(ABOUT, TENSORS)
    (length,) = struct.unpack("<Q", content[:8])
    for place in range(8 + length, len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        (tmp_path / "one").write_bytes(changed)
        with pytest.raises(InputError, match="is a damaged thing"):
            KIND.read(tmp_path / "one", both)


def test_a_changed_text_is_found(tmp_path: Path) -> None:
    with_other = KIND.to_bytes(ABOUT, TENSORS).replace(b"0.1", b"0.2")
    (tmp_path / "one").write_bytes(with_other)
    with pytest.raises(InputError, match="not as it was written"):
        KIND.read(tmp_path / "one", both)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "one is no thing, or a damaged one: it is no whole safetensors file; clipkit make"),
        (b"some words, more than eight", "is no thing, or a damaged one"),
        (struct.pack("<Q", 9) + b"[[[[[[[[[", "is no thing, or a damaged one"),
        (struct.pack("<Q", 200_000) + b"[" * 200_000, "is no thing, or a damaged one"),
        (KIND.to_bytes(ABOUT, TENSORS)[:60], "is no thing, or a damaged one"),
        (KIND.to_bytes(ABOUT, TENSORS)[:-1], "is a damaged thing: its tensors cannot be read"),
        (save(TENSORS), 'a safetensors file without "clipkit_thing" in its metadata'),
        (save(TENSORS, {"clipkit_other": "{}"}), 'without "clipkit_thing" in its metadata'),
        (
            save(TENSORS, {"clipkit_thing": '{"format": 2}'}),
            "of format 2, and this version of clipkit reads 1",
        ),
        (save(TENSORS, {"clipkit_thing": "1"}), "of format None"),
        (save(TENSORS, {"clipkit_thing": "["}), "is a damaged thing"),
        (save(TENSORS, {"clipkit_thing": "[" * 200_000}), "is a damaged thing"),
    ],
)
def test_what_is_none_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(content)
    with pytest.raises(InputError, match=message):
        KIND.read(tmp_path / "one", both)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        KIND.read(tmp_path / "none", both)
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        KIND.read(tmp_path, both)


def test_what_does_not_fit_together_is_named(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_bytes(KIND.to_bytes(ABOUT, TENSORS))
    with pytest.raises(InputError, match="damaged thing: it has no 'c'; write it again with"):
        KIND.read(path, lambda about, tensors: tensors["c"])
    with pytest.raises(InputError, match='damaged thing: its "count" is 3; write it again'):
        KIND.read(path, lambda about, tensors: check_types(about, {"count": str}))
    path.write_bytes(KIND.to_bytes(ABOUT, {"a": np.array([1, np.inf])}))
    with pytest.raises(InputError, match="numbers that are not finite"):
        KIND.read(path, both)


def test_safetensors_opens_it(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(KIND.to_bytes(ABOUT, TENSORS))
    with safe_open(tmp_path / "one", "numpy") as file:
        assert json.loads(file.metadata()["clipkit_thing"])["count"] == 3
        np.testing.assert_array_equal(file.get_tensor("b"), TENSORS["b"])
