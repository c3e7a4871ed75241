"""Attacks on the demo page by a client that knows its code: leaks, and how long others wait.

    python -m benchmarks.page_attack

It makes a folder of large photographs with secrets beside them, serves it from a process of its
own, and attacks that over loopback only: files of the disk, other sites' names, symbolic links,
uploads of 1 GB, 50 000 labels, a hundred visitors at once. It prints a table: each attack, what was
seen, what is right; and exits 1 if anything is not. Every loop is bounded. Linux, for /proc.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
from PIL import Image

from tests.conftest import ROOT, SAMPLES
from tests.demo.visitor import API, Visitor, image_value, raw_request, search_values

IS_INDEPENDENT = False  # the labels share an image's probability
SECRET = b"PRIVATE-KEY-THAT-NOBODY-MAY-SEE"
VISITORS = 100
GIGABYTE = 2**30
ROUNDS = 20  # searches whose median is a latency
WORDS = ("a cat", "a dog", "a castle", "a boat", "an owl", "a flower", "a tower", "a bird")


class Row(NamedTuple):
    """One attack."""

    attack: str
    seen: str
    right: str
    holds: bool


def make_folder(parent: Path) -> Path:
    """Return a folder of photographs of 12 megapixels, and of what is nobody's business."""
    folder = parent / "images"
    (folder / ".ssh").mkdir(parents=True)
    (folder / ".ssh" / "id_rsa").write_bytes(SECRET)
    (folder / "notes.txt").write_bytes(SECRET)
    (parent / "outside.txt").write_bytes(SECRET)
    (folder / "link.jpg").symlink_to(parent / "outside.txt")
    for sample in sorted(SAMPLES.glob("*.jpg")):
        with Image.open(sample) as image:
            image.resize((4000, 3000)).save(folder / sample.name, quality=95)
    return folder


@contextlib.contextmanager
def page_process(folder: Path, parent: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve the page from a process; yield its address and the process."""
    (parent / "tmp").mkdir()
    environment = {
        **os.environ, "TMPDIR": str(parent / "tmp"), "PYTHONPATH": str(ROOT),
        "CLIPKIT_HOME": str(parent / "home"),
    }  # fmt: skip
    with (parent / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "clipkit", "demo", str(folder)], cwd=ROOT, env=environment,
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    assert process.stdout
    try:
        yield process.stdout.readline().split()[-1] + "/", process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def memory(process: subprocess.Popen[str]) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def bytes_on_disk(directory: Path, process: subprocess.Popen[str]) -> int:
    """Return what temporary files hold, those without a name included."""
    named = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    unnamed = 0
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if "(deleted)" in str(descriptor.readlink()):
                unnamed += descriptor.stat().st_size
    return named + unnamed


def attack_files(address: str, folder: Path) -> Row:
    """Ask for files of the disk in every spelling."""
    targets = [
        folder / ".ssh" / "id_rsa", folder / "notes.txt", folder / "link.jpg", folder / "cat.jpg",
        folder / ".." / "outside.txt", Path("/etc/passwd"),
    ]  # fmt: skip
    spellings: list[Callable[[str], str]] = [
        str, lambda path: path.replace("/", "%2f"), lambda path: path.replace(".", "%2e"),
        lambda path: path.replace("/", "\\"), lambda path: path.replace("/", "%c0%af"),
        lambda path: path.replace("/", "%252f"), lambda path: path + "%00.jpg",
        lambda path: path + "?size=1.jpg", lambda path: "../" * 12 + path[1:],
        lambda path: "%2e%2e/" * 12 + path[1:], lambda path: "file://" + path,
        lambda path: path.removeprefix(str(folder) + "/"),
    ]  # fmt: skip
    doors = ("/gradio_api/file=", "/gradio_api/file/", "/file=", "/static/", "/assets/", "/")
    got = asked = 0
    for door in doors:
        for target in targets:
            for spell in spellings:
                for method in ("GET", "HEAD"):
                    answer = raw_request(address, door + spell(str(target)), method)
                    asked += 1
                    got += answer.startswith(b"HTTP/1.1 200") or SECRET in answer
    return Row(
        "files of the disk, hidden, linked, encoded", f"{got} of {asked} got out", "0", not got
    )


def attack_swap(visitor: Visitor, folder: Path) -> Row:
    """Put a link to a secret, and one to another image, in the place of indexed images."""
    keys = {item["file"]: item["image"]["path"] for item in visitor.search("a koala", 24)}
    shutil.copy(folder / "cat.jpg", folder.parent / "private.jpg")
    names = list(keys)[:2]
    for name, target in zip(names, ("outside.txt", "private.jpg"), strict=True):
        (folder / name).rename(folder.parent / name)
        (folder / name).symlink_to(folder.parent / target)
    codes = [visitor.http.get(f"{API}file={keys[name]}").status_code for name in names]
    got = codes.count(200)
    for name in names:
        (folder.parent / name).replace(folder / name)
    return Row("links put in the place of indexed images", f"{got} of 2 got out", "0", not got)


def attack_names(address: str) -> Row:
    """Come under other names, from other sites."""
    lines = [
        ("Host: evil.example",), ("Host: 127.0.0.1.evil.example",), ("Host: 10.0.0.1",),
        ("Host: localhost", "Origin: http://evil.example"), ("Host: localhost", "Origin: null"),
        ("Host: localhost", "Origin: http://localhost:1"),
        ("Host: localhost", "X-Forwarded-Host: evil.example"),
        ("Origin: http://evil.example", "Upgrade: websocket", "Connection: upgrade"),
    ]  # fmt: skip
    targets = [
        ("GET", "/"), ("GET", "/config"), ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/queue/data?session_hash=a"),
        ("OPTIONS", "/gradio_api/queue/join"),
    ]  # fmt: skip
    answers = [
        raw_request(address, target, method, line) for line in lines for method, target in targets
    ]
    got = sum(not answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400")) for answer in answers)
    return Row("other names and sites", f"{got} of {len(answers)} answered", "0", not got)


def attack_payloads(visitor: Visitor) -> Row:
    """Send paths and addresses as values."""
    values = [
        image_value("/etc/passwd"), image_value("http://127.0.0.1:1/"), {"path": "/etc/passwd"},
        {**image_value("0" * 32), "url": "http://127.0.0.1:1/"}, [image_value("/etc/passwd")],
    ]  # fmt: skip
    codes = [
        visitor.join("search", *search_values(value, 8, value)).status_code for value in values
    ]
    got = sum(code != 422 for code in codes)
    return Row("paths and addresses as values", f"{got} of {len(codes)} taken", "0", not got)


def attack_upload(visitor: Visitor, process: subprocess.Popen[str], temporary: Path) -> list[Row]:
    """Send 1 GB, said beforehand and not."""
    lines = ("Content-Type: multipart/form-data; boundary=x", f"Content-Length: {GIGABYTE}")
    start = time.perf_counter()
    said = raw_request(visitor.address, f"/{API}upload", "POST", lines)[:12].decode()
    told = Row(
        "an upload of 1 GB, said so", f"{said} in {time.perf_counter() - start:.3f} s", "413",
        said.endswith("413"),
    )  # fmt: skip
    before, sent, most = memory(process), 0, [0.0, 0.0]

    def stream() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        while sent < GIGABYTE:
            sent += 2**20
            most[0] = max(most[0], memory(process) - before)
            most[1] = max(most[1], bytes_on_disk(temporary, process) / 1e6)
            yield bytes(2**20)

    code = "shut"
    with contextlib.suppress(httpx.TransportError):
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        code = str(visitor.http.post(f"{API}upload", content=stream(), headers=headers).status_code)
    seen = f"{code} after {sent / 1e6:.0f} MB; +{most[0]:.0f} MB memory, {most[1]:.0f} MB disk"
    left = bytes_on_disk(temporary, process) / 1e6
    return [
        told,
        Row("an upload of 1 GB, streamed", seen, "ends near 34 MB", sent < 64 * 2**20),
        Row("left of it", f"{left:.3f} MB", "0", left < 0.001),
    ]


def attack_labels(visitor: Visitor) -> Row:
    """Send 50 000 labels, and 5000."""
    (key,) = visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()
    start = time.perf_counter()
    many = ",".join(f"label {number}" for number in range(50_000))
    code = visitor.join("classify", image_value(key), many, IS_INDEPENDENT).status_code
    some = ",".join(f"label {number}" for number in range(5_000))
    told = visitor.call("classify", image_value(key), some, IS_INDEPENDENT)["output"]["error"]
    seen = f"{code}, {told!r} in {time.perf_counter() - start:.2f} s"
    return Row(
        "50 000 labels, 5000 labels", seen, "413, at most 200", code == 413 and "200" in told
    )


def latency(visitor: Visitor) -> float:
    """Return the median time of a search in seconds."""
    times = []
    for number in range(ROUNDS):
        start = time.perf_counter()
        visitor.search(f"{WORDS[number % len(WORDS)]} {number} {time.time_ns()}")
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def attack_turns(address: str) -> Row:
    """Classify with 200 new labels in several jobs of one visitor, while another searches."""
    with Visitor(address, "searcher") as searcher, Visitor(address, "hog") as hog:
        alone = latency(searcher)
        (key,) = hog.upload((SAMPLES / "owl.jpg").read_bytes()).json()
        for job in range(6):
            labels = ",".join(f"thing {number} of {job}" for number in range(200))
            hog.join("classify", image_value(key), labels, IS_INDEPENDENT).raise_for_status()
        reading = threading.Thread(target=lambda: list(hog.messages()))
        reading.start()
        beside = latency(searcher)
        is_fair = reading.is_alive()
        reading.join()
    ratio = beside / alone
    seen = f"{1000 * alone:.0f} ms alone, {1000 * beside:.0f} ms beside: {ratio:.2f}x"
    if not is_fair:
        seen += " (the jobs ended before)"
    return Row("a search beside 6 jobs of 200 labels", seen, "at most 2x", ratio <= 2 and is_fair)


def attack_crowd(address: str) -> list[Row]:
    """Let a hundred visitors search at once, then look at their thumbnails at once."""
    with Visitor(address, "first") as first:
        number = first.function("search")
        start = time.perf_counter()
        for turn in range(VISITORS):
            first.search(f"{WORDS[turn % len(WORDS)]} {turn}")
        in_turn = time.perf_counter() - start
    times, images, seconds = asyncio.run(_crowd(address, number))
    slowest, median = max(times), statistics.median(times)
    seen = f"{len(times)} answered; slowest {slowest:.2f} s, median {median:.2f} s"
    shown = f"{len(images)} of {8 * VISITORS} in {seconds:.1f} s, at most {max(images):.0f} kB"
    return [
        Row("100 visitors at once", seen, "all answered", len(times) == VISITORS),
        Row(
            "the slowest of them, by 100 searches in turn",
            f"{slowest:.2f} s by {in_turn:.2f} s: {slowest / in_turn:.2f}x",
            "at most 2x",
            slowest <= 2 * in_turn,
        ),
        Row(
            "their thumbnails, of 12 MP originals", shown, "all, under 200 kB",
            len(images) == 8 * VISITORS and max(images) < 200,
        ),
    ]  # fmt: skip


async def _crowd(address: str, number: int) -> tuple[list[float], list[float], float]:
    """Return the seconds each visitor waited, the kB of the thumbnails, and the seconds for all."""
    # A browser has six connections; a new one each time, for a kept one may just be closing.
    limits = httpx.Limits(max_connections=6 * VISITORS, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=address, timeout=300, limits=limits, trust_env=False
    ) as http:

        async def visit(turn: int) -> tuple[float, list[str]]:
            session = f"crowd-{turn}"
            call = {
                "data": search_values(f"{WORDS[turn % len(WORDS)]} of {turn}", 8),
                "fn_index": number, "session_hash": session,
            }  # fmt: skip
            start = time.perf_counter()
            (await http.post(f"{API}queue/join", json=call)).raise_for_status()
            answer = await http.get(f"{API}queue/data?session_hash={session}")
            seconds = time.perf_counter() - start
            (line,) = (each for each in answer.text.splitlines() if "process_completed" in each)
            gallery = json.loads(line.removeprefix("data: "))["output"]["data"][0]["images"]
            return seconds, [item["image"]["path"] for item in gallery]

        visits = await asyncio.gather(*map(visit, range(VISITORS)))
        start = time.perf_counter()
        shown = await asyncio.gather(
            *(http.get(f"{API}file={key}") for _, keys in visits for key in keys)
        )
        looking = time.perf_counter() - start
    sizes = [len(each.content) / 1e3 for each in shown if each.status_code == 200]
    return [seconds for seconds, _ in visits], sizes, looking


def attack_gone(address: str, process: subprocess.Popen[str]) -> Row:
    """Leave in the middle of a job; it must not use the processor any more."""
    with Visitor(address, "leaving") as leaving:
        (key,) = leaving.upload((SAMPLES / "owl.jpg").read_bytes()).json()
        for job in range(6):
            labels = ",".join(f"item {number} for {job}" for number in range(200))
            leaving.join("classify", image_value(key), labels, IS_INDEPENDENT).raise_for_status()
        for message in leaving.messages():
            if message["msg"] == "process_generating":
                break
    with Visitor(address, "staying") as staying:
        latency(staying)  # by then they are gone

        def used() -> float:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        before = used()
        threading.Event().wait(2)
        spent = used() - before
    seen = f"{spent / 2:.0%} of a core afterwards"
    return Row("a visitor leaves 6 jobs of 200 labels", seen, "under 20 %", spent < 0.4)


def main() -> None:
    """Attack, and print the table."""
    with tempfile.TemporaryDirectory() as directory:
        parent = Path(directory)
        folder = make_folder(parent)
        temporary = parent / "tmp"
        with page_process(folder, parent) as (address, process), Visitor(address) as visitor:
            before = memory(process)
            rows = [
                attack_files(address, folder), attack_swap(visitor, folder), attack_names(address),
                attack_payloads(visitor), *attack_upload(visitor, process, temporary),
                attack_labels(visitor), attack_turns(address), *attack_crowd(address),
                attack_gone(address, process),
            ]  # fmt: skip
            grown = memory(process) - before
            rows.append(Row("memory afterwards", f"{before:.0f} + {grown:.0f} MB", "+ at most 500", grown < 500))  # fmt: skip # noqa: E501
            on_disk = bytes_on_disk(temporary, process)
            rows.append(Row("temporary files while serving", f"{on_disk} bytes", "under 1 kB", on_disk < 1000))  # fmt: skip # noqa: E501
        left = [path for path in temporary.rglob("*") if path.is_file() and path.name != ".ses"]
        rows.append(Row("temporary files after SIGTERM", f"{len(left)}", "0", not left))
        log = (parent / "log").read_text()
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True))
        print(f"{'ok ' if row.holds else 'BAD'}  {cells}")
    if not all(row.holds for row in rows):
        sys.exit(log[-2000:])


if __name__ == "__main__":
    main()
