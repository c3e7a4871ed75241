"""Files that commands write: atomically, and never over somebody else's file."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipkit.cli.outputs import OutputFile
from clipkit.errors import InputError


def ours(head: bytes) -> bool:
    return head.startswith(b"ours")


def test_what_is_ours_is_replaced_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = OutputFile(tmp_path / "out.txt", ours)
    for text in ("ours 1", "ours 2 \udcff"):
        file.write_text([text[:3], text[3:]])
        assert file.path.read_bytes() == os.fsencode(text)
        assert capsys.readouterr() == ("", f"wrote {file.path}\n")
    assert os.listdir(tmp_path) == ["out.txt"]  # noqa: PTH208


@pytest.mark.parametrize("content", [b"", b"mine", b"x" * 70_000 + b"ours"])
def test_what_is_not_ours_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "out.txt"
    path.write_bytes(content)
    for attempt in (OutputFile(path, ours).check, lambda: OutputFile(path).write_text(["ours"])):
        with pytest.raises(InputError, match=r"out\.txt is there already, .* --force"):
            attempt()
    assert path.read_bytes() == content
    OutputFile(path, ours, is_forced=True).write_text(["ours"])
    assert path.read_bytes() == b"ours"


def test_a_link_is_not_followed_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"ours, by chance")
    for target in ("photo.jpg", "nowhere"):
        link = tmp_path / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with pytest.raises(InputError, match="is there already"):
            OutputFile(link, ours).check()
    assert (tmp_path / "photo.jpg").read_bytes() == b"ours, by chance"


def test_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*nowhere; make it first"):
        OutputFile(tmp_path / "nowhere" / "out.txt").check()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file, and no folder"):
        OutputFile(tmp_path / "file" / "out.txt").check()
    for is_forced in (False, True):
        with pytest.raises(InputError, match="it is a folder; give a file's name"):
            OutputFile(tmp_path, is_forced=is_forced).check()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(InputError, match="read-only"):
        OutputFile(tmp_path / "closed" / "out.txt").check()


def test_what_appears_during_the_work_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"

    def parts() -> Iterator[str]:
        path.write_bytes(b"mine")
        yield "ours"

    with pytest.raises(InputError, match="is there already"):
        OutputFile(path).write_text(parts())
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["out.txt"]  # noqa: PTH208


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def parts() -> Iterator[str]:
        yield "half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        OutputFile(tmp_path / "out.html").write_text(parts())
    assert list(tmp_path.iterdir()) == []
