"""Files that appear whole or not at all, hashes, and locks that a kill frees."""

import errno
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clipkit import files
from clipkit.files import (
    atomic_write,
    draft_beside,
    exclusive_lock,
    file_identity,
    file_sha256,
    put_in_place,
    sha256_of,
    sync_directory,
    write_bytes,
    write_text,
)
from tests.full_disk import full_disk

ODD_NAMES = [
    "plain.txt",
    "no ending",
    ".hidden",
    ".hidden.txt",
    "ends with a dot.",
    "two\nlines.txt",
    "x" * 251 + ".txt",  # 255 bytes, the most that Linux takes
    "a." + "é" * 120,  # 242 bytes, nearly all of them ending
    "a." + "🚲" * 60,
    os.fsdecode(b"caf\xe9.t\xe9xt"),  # not UTF-8
]


@contextmanager
def running(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python code in a process that is killed at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == f"{word}\n"


def content_of(directory: Path) -> list[str]:
    """Return the paths of all that is in a directory, relative to it."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


# --- one file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_written_and_replaced_under_any_name(
    tmp_path: Path, name: str, *, durable: bool
) -> None:
    path = tmp_path / name
    for content in (b"first", b"2"):
        with atomic_write(path, durable=durable) as draft:
            assert draft.parent == tmp_path
            assert not draft.exists()
            draft.write_bytes(content)
        assert path.read_bytes() == content
        assert content_of(tmp_path) == [name]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_may_not_be_replaced_stays(
    has_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", fail)
    path = tmp_path / "one"
    write_bytes(path, b"first", replaces=False)
    with pytest.raises(FileExistsError, match=f"{path}'$"):
        write_bytes(path, b"second", replaces=False)
    assert path.read_bytes() == b"first"
    assert [*tmp_path.iterdir()] == [path]


def test_a_draft_has_the_ending_of_its_file(tmp_path: Path) -> None:
    # np.save and Pillow choose by it, or add it.
    assert draft_beside(tmp_path / "vectors.npy").suffix == ".npy"
    assert draft_beside(tmp_path / "a").suffix == ""


def test_two_drafts_of_a_file_have_two_names(tmp_path: Path) -> None:
    assert len({draft_beside(tmp_path / "a.txt") for _ in range(100)}) == 100


@pytest.mark.parametrize("error", [ValueError("no"), OSError("no"), KeyboardInterrupt()])
def test_a_block_that_fails_leaves_the_old_file_and_no_draft(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_write(path) as draft:
        draft.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert content_of(tmp_path) == ["a.txt"]


def test_a_block_that_writes_nothing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_write(path):
        pass
    assert path.read_text() == "old"


@pytest.mark.parametrize("durable", [False, True])
def test_a_full_disk_leaves_the_old_file_and_no_draft(tmp_path: Path, *, durable: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with full_disk(10_000), pytest.raises(OSError, match="File too large") as caught:
        write_text(path, "x" * 20_000, durable=durable)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert content_of(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_who_may_read_a_file_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "private.html"
    path.touch(mode=0o600)
    write_text(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)


def test_an_error_names_the_file_and_not_its_draft(tmp_path: Path) -> None:
    missing, folder = tmp_path / "no" / "a.txt", tmp_path / "folder"
    folder.mkdir()
    for path in (missing, folder):
        with pytest.raises(OSError, match="directory") as caught:
            write_text(path, "a")
        assert str(path) in str(caught.value)
        assert ".clipkit-" not in str(caught.value)


def test_a_folder_in_the_place_of_the_file_is_not_replaced(tmp_path: Path) -> None:
    place = tmp_path / "a"
    place.mkdir()
    (place / "image.jpg").touch()
    with pytest.raises(IsADirectoryError):
        write_text(place, "text")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "image.jpg"]


def test_a_missing_directory_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "absent" / "a.txt", "text")


def test_text_is_utf8_and_odd_bytes_of_file_names_become_themselves(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    write_text(path, "über\n" + os.fsdecode(b"caf\xe9.jpg\n"))
    assert path.read_bytes() == "über\n".encode() + b"caf\xe9.jpg\n"


KILLED_HALFWAY = """
import sys
from pathlib import Path
from clipkit.files import atomic_write
with atomic_write(Path(sys.argv[1]), durable=True) as draft, draft.open("w") as file:
    file.write("half of the n")
    file.flush()
    print("half", flush=True)
    sys.stdin.read()
"""


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with running(KILLED_HALFWAY, str(path)) as process:
        wait_for(process, "half")
        process.kill()
        process.wait()
    assert path.read_text() == "old"
    (draft,) = set(tmp_path.iterdir()) - {path}
    assert draft.read_text() == "half of the n"
    assert draft.name.startswith(".clipkit-")  # hidden: a scan for images passes it by


WRITE_AGAIN_AND_AGAIN = """
import sys
from pathlib import Path
from clipkit.files import write_text
for turn in range(60):
    write_text(Path(sys.argv[1]), sys.argv[2] * 300_000)
    if not turn:
        print("begun", flush=True)
print("done", flush=True)
"""


def test_of_two_writers_one_wins_and_no_reader_sees_a_mixture(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with (
        running(WRITE_AGAIN_AND_AGAIN, str(path), "a") as one,
        running(WRITE_AGAIN_AND_AGAIN, str(path), "b") as other,
    ):
        wait_for(one, "begun")
        wait_for(other, "begun")
        seen = set()
        while one.poll() is None or other.poll() is None:
            text = path.read_text()
            seen.add((text[:1], len(text), len(set(text))))
        wait_for(one, "done")
        wait_for(other, "done")
    assert seen <= {("a", 300_000, 1), ("b", 300_000, 1)}
    assert content_of(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("durable", [False, True])
def test_durable_waits_for_the_bytes_and_then_for_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, durable: bool
) -> None:
    path = tmp_path / "a.txt"
    steps = []

    def watch(handle: int) -> None:
        status = os.fstat(handle)
        is_directory = status.st_ino == tmp_path.stat().st_ino
        steps.append(("name" if is_directory else "bytes", status.st_size > 0, path.exists()))

    monkeypatch.setattr(os, "fsync", watch)
    write_text(path, "text", durable=durable)
    assert steps == ([("bytes", True, False), ("name", True, True)] if durable else [])


# --- one directory ------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["exchange", "no exchange"])
def can_exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the system exchanges two names in one step."""
    if not request.param:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    return bool(request.param)


def make_directory(path: Path, content: str) -> Path:
    path.mkdir()
    (path / content).write_text(content)
    return path


@pytest.mark.usefixtures("can_exchange")
@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_directory_is_put_in_place_and_replaced_under_any_name(tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    for content in ("first", "second"):
        put_in_place(make_directory(draft_beside(place), content), place)
        assert content_of(tmp_path) == sorted([name, f"{name}/{content}"])


def test_this_system_exchanges_two_directories_in_one_step(tmp_path: Path) -> None:
    first, second = make_directory(tmp_path / "1", "one"), make_directory(tmp_path / "2", "two")
    assert files._exchange(first, second)
    assert content_of(tmp_path) == ["1", "1/two", "2", "2/one"]
    assert not files._exchange(first, tmp_path / "absent")
    assert content_of(tmp_path) == ["1", "1/two", "2", "2/one"]


@pytest.mark.usefixtures("can_exchange")
@pytest.mark.parametrize("kind", ["file", "link to a file", "link to nowhere"])
def test_what_is_no_directory_is_not_replaced_by_one(tmp_path: Path, kind: str) -> None:
    place, draft = tmp_path / "place", make_directory(tmp_path / "draft", "new")
    (tmp_path / "file").write_text("a user's")
    if kind == "file":
        (tmp_path / "file").rename(place)
    else:
        place.symlink_to("file" if kind == "link to a file" else "nowhere")
    before = content_of(tmp_path)
    with pytest.raises(NotADirectoryError, match="place"):
        put_in_place(draft, place)
    assert content_of(tmp_path) == before
    assert kind == "link to nowhere" or place.read_text() == "a user's"


@pytest.mark.usefixtures("can_exchange")
def test_a_missing_draft_leaves_the_old_directory(tmp_path: Path) -> None:
    place = make_directory(tmp_path / "place", "old")
    with pytest.raises(FileNotFoundError):
        put_in_place(tmp_path / "absent", place)
    assert content_of(tmp_path) == ["place", "place/old"]


def test_the_old_directory_has_its_name_again_when_the_new_one_cannot_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, draft = make_directory(tmp_path / "place", "old"), make_directory(tmp_path / "d", "new")
    rename = Path.rename

    def fail_for_the_draft(path: Path, target: Path) -> Path:
        if path == draft:
            raise OSError(errno.EIO, "the disk is gone")
        return rename(path, target)

    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", fail_for_the_draft)
    with pytest.raises(OSError, match="the disk is gone"):
        put_in_place(draft, place)
    assert content_of(tmp_path) == ["d", "d/new", "place", "place/old"]


def test_names_of_a_missing_directory_cannot_be_waited_for(tmp_path: Path) -> None:
    sync_directory(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "absent")


# --- hashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_bytes", [0, 1, 63, 64, 65, 1_000_003])
def test_the_hash_of_a_file_is_hashlibs_of_its_bytes(tmp_path: Path, num_bytes: int) -> None:
    content = bytes(number % 251 for number in range(num_bytes))
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    assert file_sha256(path) == hashlib.sha256(content).hexdigest()


def test_the_hash_of_three_letters_is_the_standards(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_path_and_an_open_file_have_one_hash(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 100_000)
    expected = hashlib.sha256(b"abc" * 100_000)
    assert file_sha256(path) == expected.hexdigest()
    with path.open("rb") as file:
        assert sha256_of(file) == expected.digest()


def test_a_missing_file_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "absent")


# --- identities ----------------------------------------------------------------------------------


def _without_inode(path: Path) -> os.stat_result:
    """Return the status of a file as file systems without inode numbers give it."""
    found = path.stat()
    return os.stat_result([found[0], 0, *found[2:10]])


def test_all_paths_of_a_file_have_one_identity(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    (tmp_path / "a" / "other").touch()
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "hard").hardlink_to(tmp_path / "a" / "file")
    paths = [tmp_path / "a" / "file", tmp_path / "b" / "file", tmp_path / "hard"]
    assert len({file_identity(path) for path in paths}) == 1
    assert len({file_identity(path, path.stat()) for path in paths}) == 1
    assert file_identity(tmp_path / "a") == file_identity(tmp_path / "b")
    assert file_identity(tmp_path / "a" / "other") != file_identity(paths[0])


def test_without_inode_numbers_links_have_one_identity_and_two_files_never(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "other").touch()
    (tmp_path / "link").symlink_to("file")
    file, other, link = (
        file_identity(tmp_path / name, _without_inode(tmp_path / name))
        for name in ("file", "other", "link")
    )
    assert file == link != other


def test_what_is_not_there_has_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_identity(tmp_path / "gone")


# --- locks --------------------------------------------------------------------------------------


class HeldError(Exception):
    """Somebody else holds the lock."""


HOLD = """
import sys
from pathlib import Path
from clipkit.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), RuntimeError("held")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_holds_within_a_process_and_is_free_after_the_block(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    held = HeldError("wait for it")
    with exclusive_lock(path, held):
        with pytest.raises(HeldError) as caught, exclusive_lock(path, held):
            pass
        assert caught.value is held
        with exclusive_lock(tmp_path / "another.lock", held):
            pass
    with pytest.raises(ZeroDivisionError), exclusive_lock(path, held):
        _ = 1 / 0
    with exclusive_lock(path, held):
        pass


def test_a_lock_holds_across_processes_and_ends_with_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with running(HOLD, str(path)) as process:
        wait_for(process, "held")
        with pytest.raises(HeldError), exclusive_lock(path, HeldError()):
            pass
        process.kill()
        process.wait()
        with exclusive_lock(path, HeldError()):
            pass


def test_a_lock_ends_with_its_block_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with running(HOLD, str(path)) as process:
        wait_for(process, "held")
        process.communicate("")
        assert process.returncode == 0
        with exclusive_lock(path, HeldError()):
            pass


def test_an_exception_inside_the_block_is_not_taken_for_one_of_the_lock(tmp_path: Path) -> None:
    busy = sqlite3.OperationalError("database is locked")
    with pytest.raises(sqlite3.OperationalError) as caught:  # noqa: SIM117 - inside the block
        with exclusive_lock(tmp_path / "a.lock", HeldError()):
            raise busy
    assert caught.value is busy


def test_a_lock_writes_nothing_so_that_a_full_disk_does_not_refuse_it(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path / "a.lock", HeldError()):
        files = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert files == {"a.lock": 0}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_a_lock_can_be_taken_by_whoever_the_umask_lets_write(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    before = os.umask(0o002)
    try:
        with exclusive_lock(path, HeldError()):
            pass
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o664


def test_a_lock_in_a_missing_directory_is_an_os_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"absent.a\.lock cannot be opened: "),
        exclusive_lock(tmp_path / "absent" / "a.lock", HeldError()),
    ):
        pass


def test_another_file_in_the_place_of_the_lock_is_an_os_error_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text("what a user wrote " * 100)
    with (
        pytest.raises(OSError, match=r"a\.lock cannot be locked: file is not a database"),
        exclusive_lock(path, HeldError()),
    ):
        pass
    assert path.read_text() == "what a user wrote " * 100


LOCK_WHERE_NOTHING_MAY_BE_WRITTEN = """
import os, sys
from pathlib import Path
from clipkit.files import exclusive_lock
if os.geteuid() == 0:  # whom no mode binds
    os.setuid(65534)
try:
    with exclusive_lock(Path("a.lock"), RuntimeError("held")):
        print("held")
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("lock_exists", [False, True])
def test_a_lock_in_an_unwritable_directory_is_an_os_error(*, lock_exists: bool) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own is closed to other users
        directory = Path(name)
        if lock_exists:
            (directory / "a.lock").touch(mode=0o444)
        directory.chmod(0o555)
        try:
            said = subprocess.run(
                [sys.executable, "-c", LOCK_WHERE_NOTHING_MAY_BE_WRITTEN],
                cwd=directory, capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
        finally:
            directory.chmod(0o755)
    assert said == (
        "a.lock cannot be locked: it cannot be written\n"
        if lock_exists
        else "a.lock cannot be opened: unable to open database file\n"
    )


def test_an_error_names_the_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "file"
    target.parent.mkdir()
    with pytest.raises(FileNotFoundError) as found, atomic_write(target) as draft:
        draft.write_text("x")
        shutil.rmtree(target.parent)
    assert str(found.value) == f"[Errno 2] No such file or directory: '{target}'"
