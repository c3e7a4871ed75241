"""The real command line, in processes of its own, on a folder of bad and strange files.

The time limit is a guard against waiting for ever, far above what anything here takes.
"""

import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hostile_folder import HostileFolder, make_hostile_folder
from tests.hostile_images import encoded, stripes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs names of any bytes, links"),
]

ROOT = Path(__file__).parents[2]
GUARD_SECONDS = 240
MOST_MEMORY = 4_000_000  # KiB; the folder holds several files of 5 GB
# Runs a command and writes down the most memory it took. A process that starts another one lends it
# its own memory for a moment, which counts; that of the tests is large, this one's is small.
MEASURED = """
import resource, subprocess, sys
ended = subprocess.run(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(ended.returncode)
"""

EVERYTHING = ("-n", "-t", "9999", "--min-relevance", "0")

_LIBC = ctypes.CDLL(None)
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2


def obey_modes() -> None:
    """Make the modes of files hold for root too, in a process about to start its program."""
    for right in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        _LIBC.prctl(_PR_CAPBSET_DROP, right)


@dataclass(frozen=True)
class CommandLine:
    """Runs clipkit as a user does."""

    home: Path  # for the indexes

    def run(
        self, *words: str | bytes | Path, start: tuple[str, ...] = ("-m", "clipkit"), cwd: Path
    ) -> "subprocess.CompletedProcess[bytes]":
        """Return what a command printed; it neither hangs nor breaks nor takes all memory."""
        self.home.mkdir(exist_ok=True)
        memory = self.home / "most_memory"
        outcome = subprocess.run(
            [sys.executable, "-c", MEASURED, memory, sys.executable, *start, *words],
            cwd=cwd,
            env={**os.environ, "CLIPKIT_HOME": str(self.home), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GUARD_SECONDS,
            preexec_fn=obey_modes,  # prctl alone takes no lock
            check=False,
        )
        assert b"Traceback" not in outcome.stderr, outcome.stderr.decode(errors="replace")
        assert int(memory.read_text()) < MOST_MEMORY
        return outcome


@dataclass(frozen=True)
class Report:
    """What ``clipkit index --json`` printed, with the names of files as their bytes."""

    counts: dict[str, int]
    skipped: dict[bytes, str]
    left_out: dict[bytes, str]


def index(command_line: CommandLine, folder: Path, *words: str) -> Report:
    outcome = command_line.run("index", folder, "--json", *words, cwd=folder.parent)
    assert outcome.returncode == 0, outcome.stderr.decode(errors="replace")
    report = json.loads(outcome.stdout)
    lists = {}
    for name in ("skipped", "left_out"):
        entries = report.pop(name)
        keys = {"path", "reason"} | ({"same_as"} if name == "left_out" else set())
        assert all(entry.keys() == keys for entry in entries)
        reasons = {inner_name(entry["path"], folder): entry["reason"] for entry in entries}
        assert len(reasons) == len(entries), "a path is reported twice"
        lists[name] = reasons
    counts = {name: number for name, number in report.items() if isinstance(number, int)}
    return Report(counts, **lists)


def inner_name(path: str, folder: Path) -> bytes:
    """Return a printed path as the bytes on disk, relative to the folder."""
    start = os.fsencode(folder) + b"/"
    name = os.fsencode(path)
    assert name.startswith(start)
    return name.removeprefix(start)


def similarities(command_line: CommandLine, folder: Path) -> dict[bytes, float]:
    """Return how well every indexed image answers a query."""
    outcome = command_line.run(
        "search", "stripes", folder, "--json", *EVERYTHING, cwd=folder.parent
    )
    assert outcome.returncode == 0, outcome.stderr.decode(errors="replace")
    lines = outcome.stdout.split(b"\n")
    assert lines.pop() == b""
    hits = [json.loads(line) for line in lines]
    found = {inner_name(hit["path"], folder): hit["similarity"] for hit in hits}
    assert len(found) == len(hits), "an image is found twice"
    return found


@pytest.fixture(scope="module")
def command_line(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def hostile(
    tmp_path_factory: pytest.TempPathFactory, command_line: CommandLine
) -> Iterator[HostileFolder]:
    folder = make_hostile_folder(tmp_path_factory.mktemp("hostile") / "photos")
    locked, secret = folder.root / "locked", folder.root / "mode_000.png"
    is_readable = "import os, sys; sys.exit(os.access(sys.argv[1], os.R_OK))"
    if command_line.run(secret, start=("-c", is_readable), cwd=folder.root).returncode:
        # A root that cannot lay down its rights, as in some containers.
        secret.unlink()
        locked.rmdir()
        del folder.skipped[b"mode_000.png"], folder.skipped[b"locked"]
    yield folder
    if locked.exists():
        locked.chmod(0o700)  # so that whoever cleans up can


@pytest.fixture(scope="module")
def report(hostile: HostileFolder, command_line: CommandLine) -> Report:
    return index(command_line, hostile.root)


def assert_reasons(found: dict[bytes, str], expected: dict[bytes, str]) -> None:
    assert found.keys() == expected.keys()
    wrong = {name: found[name] for name in found if not re.match(expected[name], found[name])}
    assert wrong == {}
    assert all(reason.isprintable() for reason in found.values())


def test_the_folder_is_hostile_enough(hostile: HostileFolder) -> None:
    assert hostile.num_things >= 60
    assert not hostile.alike & hostile.other
    assert not hostile.good & (hostile.skipped.keys() | hostile.left_out.keys())


def test_every_good_image_is_indexed(hostile: HostileFolder, report: Report) -> None:
    assert report.counts["added"] == len(hostile.good)


def test_every_bad_file_is_reported_with_its_reason(hostile: HostileFolder, report: Report) -> None:
    assert_reasons(report.skipped, hostile.skipped)


def test_what_is_left_out_is_reported_with_its_reason(
    hostile: HostileFolder, report: Report
) -> None:
    assert_reasons(report.left_out, hostile.left_out)


def test_every_good_image_is_found_with_the_bytes_of_its_name(
    hostile: HostileFolder, report: Report, command_line: CommandLine
) -> None:
    found = similarities(command_line, hostile.root)
    assert found.keys() == hostile.good
    alike = [found[name] for name in hostile.alike]
    assert max(alike) - min(alike) < 0.002  # half precision


@pytest.mark.parametrize("here", [False, True])
def test_null_separated_paths_are_the_bytes_on_disk(
    hostile: HostileFolder, report: Report, command_line: CommandLine, here: bool
) -> None:
    folder = "." if here else hostile.root
    outcome = command_line.run("search", "stripes", folder, "-0", *EVERYTHING, cwd=hostile.root)
    start = b"./" if here else os.fsencode(hostile.root) + b"/"
    paths = outcome.stdout.split(b"\0")
    assert paths.pop() == b""
    assert sorted(paths) == sorted(start + name for name in hostile.good)


def test_the_next_run_does_nothing_and_reports_the_same(
    hostile: HostileFolder, report: Report, command_line: CommandLine
) -> None:
    again = index(command_line, hostile.root)
    assert again.counts["unchanged"] == report.counts["added"]
    assert again.counts["added"] == again.counts["changed"] == again.counts["removed"] == 0
    assert (again.skipped, again.left_out) == (report.skipped, report.left_out)


def test_a_person_is_told_without_control_characters(
    hostile: HostileFolder, report: Report, command_line: CommandLine
) -> None:
    for words in (["index", "."], ["search", "stripes", ".", *EVERYTHING]):
        outcome = command_line.run(*words, cwd=hostile.root)
        assert outcome.returncode == 0
        for text in (os.fsdecode(outcome.stdout), os.fsdecode(outcome.stderr)):
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


@pytest.mark.parametrize(
    "name",
    [b"caf\xe9.png", b"\xff\xfe.png", b"new\nline.png", b"-.png", b"+.png", b"2:cat.png",
     b"a=b.png", b"http:/example.org/a.png", b"blank behind.png ", b"*.png"],
)  # fmt: skip
def test_an_image_of_any_name_is_a_query(
    hostile: HostileFolder, report: Report, command_line: CommandLine, name: bytes
) -> None:
    outcome = command_line.run(
        "search", b"./" + name, ".", "-0", "-n", "-t", "1", "--min-relevance", "0", cwd=hostile.root
    )
    assert outcome.returncode == 0, outcome.stderr.decode(errors="replace")
    found = outcome.stdout.removeprefix(b"./").removesuffix(b"\0")
    assert found in hostile.alike - {name}


def test_a_folder_whose_own_name_is_strange(tmp_path: Path, command_line: CommandLine) -> None:
    folder = tmp_path / os.fsdecode(b"d\xe9j\xe0\nvu")
    folder.mkdir()
    (folder / "a.png").write_bytes(encoded(stripes(), "PNG"))
    assert index(command_line, folder).counts["added"] == 1
    assert similarities(command_line, folder).keys() == {b"a.png"}


# --- files that change under the reader's hands ---------------------------------------------------

# Runs the command line; as soon as the folder named first has been listed, what is in it changes.
SABOTAGE = """
import os, sys
folder = sys.argv.pop(1)
really_scan = os.scandir

class Scan:
    def __init__(self, path):
        self.scan = really_scan(path)
        self.is_target = os.fspath(path) == folder
    def __enter__(self):
        return self.scan
    def __iter__(self):
        return self.scan
    def __exit__(self, *_):
        self.scan.close()
        if self.is_target:
            change(folder + "/")

def change(start):
    for name in ("vanishes", "becomes_folder", "becomes_pipe", "becomes_endless"):
        os.unlink(start + name + ".png")
    os.mkdir(start + "becomes_folder.png")
    os.mkfifo(start + "becomes_pipe.png")
    os.symlink("/dev/zero", start + "becomes_endless.png")
    os.truncate(start + "shrinks.png", 30)
    with open(start + "grows.png", "ab") as file, open(start + "rest", "rb") as rest:
        file.write(rest.read())
    os.replace(start + "next", start + "replaced.png")

os.scandir = Scan
from clipkit.cli.main import main
sys.exit(main())
"""


def test_files_that_change_between_listing_and_reading(
    tmp_path: Path, command_line: CommandLine
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    png, other = encoded(stripes(), "PNG"), encoded(stripes().rotate(180), "PNG")
    for name in ("stays", "vanishes", "becomes_folder", "becomes_pipe", "becomes_endless"):
        (folder / f"{name}.png").write_bytes(png)
    (folder / "shrinks.png").write_bytes(png)
    (folder / "replaced.png").write_bytes(png)
    (folder / "grows.png").write_bytes(other[:60])
    (folder / "rest").write_bytes(other[60:])
    (folder / "next").write_bytes(other)
    outcome = command_line.run(
        folder, "index", folder, "--json", start=("-c", SABOTAGE), cwd=tmp_path
    )
    assert outcome.returncode == 0, outcome.stderr.decode(errors="replace")
    skipped = json.loads(outcome.stdout)["skipped"]
    reasons = {Path(entry["path"]).stem: entry["reason"] for entry in skipped}
    assert reasons.pop("shrinks").startswith("is damaged or cut off")
    assert reasons == {
        "vanishes": "no such file",
        "becomes_folder": "is a folder",
        "becomes_pipe": "is not a regular file",
        "becomes_endless": "is not a regular file",
    }
    # The next run sees what is there by now, and takes nothing for what it was.
    report = index(command_line, folder)
    assert report.skipped.keys() == {b"becomes_pipe.png", b"becomes_endless.png", b"shrinks.png"}
    found = similarities(command_line, folder)
    assert found.keys() == {b"stays.png", b"grows.png", b"replaced.png"}
    assert found[b"grows.png"] == pytest.approx(found[b"replaced.png"], abs=0.001)
    assert found[b"stays.png"] != pytest.approx(found[b"replaced.png"], abs=0.001)
