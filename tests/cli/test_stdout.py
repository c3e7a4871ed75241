"""File names that are hard to print."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipkit.cli.stdout import to_json, use_file_system_encoding

# Every name a Linux folder can hold.
names = st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 47} & set(name))
posix = pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX systems only")


@posix
@given(names)
@example(b"\xed\xa0\xbd\xed\xb8\x80")  # a surrogate pair, each half encoded by itself
@example('line\nbreak "quote" 👩‍🚀 \u2028 café'.encode())
@example(bytes(range(1, 47)) + bytes(range(48, 256)))
def test_json_gives_every_name_back(name: bytes) -> None:
    line = to_json({"path": os.fsdecode(name), "similarity": 0.5}).encode("utf-8")
    assert b"\n" not in line
    record = json.loads(line.decode("utf-8"))
    assert os.fsencode(record["path"]) == name
    assert record["similarity"] == 0.5


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_json_leaves_valid_text_as_it_is(text: str) -> None:
    assert to_json(text) == json.dumps(text, ensure_ascii=False)


def test_json_commands_no_terminal() -> None:
    assert to_json("\x1b\x7f\x9b") == r'"\u001b\u007f\u009b"'


def test_json_is_ascii_where_stdout_is_not_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    assert to_json("café \udcff") == '"caf\\u00e9 \\udcff"'


@posix
@given(names)
def test_print_writes_every_name_byte_for_byte(name: bytes) -> None:
    file = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(file, encoding="ascii"))
        use_file_system_encoding()
        sys.stdout.write(os.fsdecode(name) + "\0")
        sys.stdout.flush()
        sys.stdout.detach()  # type: ignore[union-attr]
    assert file.getvalue() == name + b"\0"


def test_other_kinds_of_stdout_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    use_file_system_encoding()


@posix
@pytest.mark.parametrize("settings", [{"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}, {}])
def test_a_process_of_its_own(settings: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from clipkit.cli.stdout import to_json, use_file_system_encoding\n"
        "use_file_system_encoding()\n"
        "for path in sys.argv[1:]: print(path, end='\\0')\n"
        "print(to_json(sys.argv[1:]))\n"
    )
    given = ["emoji 👩‍🚀\n".encode(), b"caf\xe9", b"\xff\xfe"]
    ended = subprocess.run(
        [sys.executable, "-c", code, *given],
        env=os.environ | settings,
        capture_output=True,
        check=True,
    )
    *printed, line = ended.stdout.split(b"\0")
    assert printed == given
    assert [os.fsencode(name) for name in json.loads(line.decode("utf-8"))] == given
