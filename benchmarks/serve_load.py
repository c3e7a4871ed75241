"""`clipkit serve` under many clients: latency, throughput, the gain of batching, its memory.

Run as  python benchmarks/serve_load.py  with clipkit[server] on Linux; --model ViT-B-32 compiles
one with random weights first (clipkit[torch]). The server and the clients are two processes that
share the machine, so that with few cores the clients take a part of what they measure. First one
client asks at a time, then 64 at once, each as soon as it is answered, for as long; texts are new
each time. Then 64 clients ask for texts, images and searches in turns for a minute, and the memory
of the server is read after 10 and after 60 seconds. All of it goes over the loopback interface.
"""

import argparse
import asyncio
import base64
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from made_models import compiled_model
from report import Figure, Report, system_load
from workplace import SAMPLES, Workplace, add_work_options

CLIENTS = 64
SECONDS, SOAK_SECONDS = 10, 60
READ_AFTER = (10, 60)  # seconds into the soak
MEGABYTE = 1e6
PATHS = {"text": "/v1/embeddings", "image": "/v1/embeddings", "search": "/v1/search"}

Make = Callable[[int], tuple[str, bytes]]
"""From the number of a request to its path and its body."""


@dataclass
class Load:
    """What some clients saw."""

    seconds: float
    processor_seconds: float = 0.0  # of the server and its workers
    latencies: list[float] = field(default_factory=list)  # of what was answered
    wrong: list[str] = field(default_factory=list)  # answers that are none, and failures

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    @property
    def processor_ms(self) -> float:
        """Processor time of the server an answer, milliseconds: other programs change it little."""
        return 1000 * self.processor_seconds / max(1, len(self.latencies))

    def percentile(self, share: float) -> float:
        """Return a percentile of the latencies, milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    """Serve, ask, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_work_options(parser)
    parser.add_argument("--model", help="one of open_clip's, with random weights")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    arguments = parser.parse_args()
    workplace = Workplace.from_options(arguments)
    name = "starter" if arguments.model is None else compiled_model(workplace, arguments.model)
    load = system_load()
    seconds = workplace.size(SECONDS, 2)
    figures: list[Figure] = []
    seen: dict[str, object] = {}
    with served(SAMPLES, "--model", name, "--workers", str(arguments.workers)) as (port, process):
        for kind in PATHS:
            ask(port, makes(kind), 1, 1)  # sessions and connections are made
            alone = ask(port, makes(kind), 1, seconds, process)
            many = ask(port, makes(kind), arguments.clients, seconds, process)
            figures += kind_figures(kind, alone, many, arguments.clients)
            seen[kind] = {"alone": alone.rate, "many": many.rate}
        soak = workplace.size(SOAK_SECONDS, 6)
        with memory_read(process, [soak * at // SOAK_SECONDS for at in READ_AFTER]) as memory:
            mixed = ask(port, mixed_requests(), arguments.clients, soak)
        figures += soak_figures(mixed, memory)
        seen["batches"] = batch_sizes(port)
    settings = {"model": name, "workers": arguments.workers, "clients": arguments.clients}
    report = "serve_load" if arguments.model is None else f"serve_load_{arguments.model}"
    Report(report, seen, figures, settings | {"images": len(list(SAMPLES.glob("*.jpg")))}, {}).save(
        workplace, load
    )


def kind_figures(kind: str, alone: Load, many: Load, clients: int) -> list[Figure]:
    """Return what one kind of request did for one client and for many."""
    figures = [
        Figure(f"{kind}: one client at a time", [alone.rate], "/s"),
        Figure(f"{kind}: one client at a time, p50", [alone.percentile(0.5)], " ms"),
        Figure(f"{kind}: {clients} clients at once", [many.rate], "/s"),
        Figure(f"{kind}: {clients} at once, of one at a time", [many.rate / alone.rate], "x"),
        Figure(f"{kind}: processor, one at a time", [alone.processor_ms], " ms"),
        Figure(f"{kind}: processor, {clients} at once", [many.processor_ms], " ms"),
    ]
    for share in (0.5, 0.95, 0.99):
        name = f"{kind}: {clients} clients at once, p{100 * share:.0f}"
        figures.append(Figure(name, [many.percentile(share)], " ms"))
    wrong = len(alone.wrong) + len(many.wrong)
    return [*figures, Figure(f"{kind}: errors", [wrong], "", at_most=0)]


def soak_figures(mixed: Load, memory: list[float]) -> list[Figure]:
    """Return what the long run did."""
    figures = [
        Figure("mixed: answers", [len(mixed.latencies)], ""),
        Figure("mixed: a second", [mixed.rate], "/s"),
        Figure("mixed: errors", [len(mixed.wrong)], "", at_most=0),
    ]
    for share in (0.5, 0.95, 0.99):
        figures.append(Figure(f"mixed: p{100 * share:.0f}", [mixed.percentile(share)], " ms"))
    first, last = memory
    return [
        *figures,
        Figure("memory of the server after a sixth of it", [first / MEGABYTE], " MB"),
        Figure("memory at the end of it", [last / MEGABYTE], " MB"),
        Figure("memory at the end, of that before", [last / first], "", at_most=1.05),
    ]


# --- what is asked --------------------------------------------------------------------------------


def makes(kind: str) -> Make:
    """Return what makes requests of a kind, no two alike."""
    start = time.time_ns()
    images = [
        base64.b64encode(path.read_bytes()).decode() for path in sorted(SAMPLES.glob("*.jpg"))[:16]
    ]

    def make(number: int) -> tuple[str, bytes]:
        if kind == "image":
            item = {"image": f"data:image/jpeg;base64,{images[number % len(images)]}"}
            body: object = {"input": [item], "encoding_format": "base64"}
        elif kind == "text":
            body = {"input": f"photograph {start + number} of a boat", "encoding_format": "base64"}
        else:
            body = {"query": f"a boat, number {start + number}", "k": 10}
        return PATHS[kind], json.dumps(body).encode()

    return make


def mixed_requests() -> Make:
    """Return what makes texts, images and searches in turns."""
    kinds = [makes(kind) for kind in PATHS]
    return lambda number: kinds[number % len(kinds)](number)


# --- who asks -------------------------------------------------------------------------------------


def ask(
    port: int, make: Make, clients: int, seconds: float, process: psutil.Process | None = None
) -> Load:
    """Let clients ask, each again as soon as it is answered, for so long."""
    before = processor_seconds(process)
    load = asyncio.run(_ask(port, make, clients, seconds))
    load.processor_seconds = processor_seconds(process) - before
    return load


def processor_seconds(process: psutil.Process | None) -> float:
    """Return the processor time of the server and its workers so far; 0 without one."""
    if process is None:
        return 0.0
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


async def _ask(port: int, make: Make, clients: int, seconds: float) -> Load:
    load, numbers = Load(seconds), itertools.count()
    start = time.perf_counter()
    end = start + seconds
    await asyncio.gather(*(_client(port, make, numbers, end, load) for _ in range(clients)))
    load.seconds = time.perf_counter() - start
    return load


async def _client(port: int, make: Make, numbers: Iterator[int], end: float, load: Load) -> None:
    """Ask over one connection; a client that costs little, as it shares the machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while time.perf_counter() < end:
            path, body = make(next(numbers))
            start = time.perf_counter()
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = re.findall(rb"content-length: (\d+)", head.lower())
            answer = await reader.readexactly(int(length))
            if head.startswith(b"HTTP/1.1 200"):
                load.latencies.append(time.perf_counter() - start)
            else:
                load.wrong.append(f"{head[:40]!r} {answer[:200]!r}")
    except (OSError, asyncio.IncompleteReadError) as error:
        load.wrong.append(repr(error))
    finally:
        writer.close()


# --- the server -----------------------------------------------------------------------------------


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[int, psutil.Process]]:
    """Serve a folder from a process; yield its port once it is ready, and the process."""
    command = [sys.executable, "-m", "clipkit", "serve", str(folder), "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr
        lines = iter(process.stderr)
        address = next(line.split()[-1] for line in lines if "the API is at" in line)
        # What it logs is read and dropped until it ends.
        reading = threading.Thread(target=lambda: [None for _ in lines], daemon=True)
        reading.start()
        port = int(address.rpartition(":")[2])
        try:
            while _get(port, "/health/ready").partition(b" ")[2][:3] != b"200":
                time.sleep(0.05)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()
            reading.join()


@contextmanager
def memory_read(process: psutil.Process, after: list[float]) -> Iterator[list[float]]:
    """Read the memory of the server and its workers while the block runs, after so many seconds."""
    found: list[float] = []

    def read() -> None:
        start = time.perf_counter()
        for seconds in after:
            time.sleep(max(0, start + seconds - time.perf_counter() - 0.2))
            processes = [process, *process.children(recursive=True)]
            found.append(sum(each.memory_info().rss for each in processes))

    thread = threading.Thread(target=read)
    thread.start()
    yield found
    thread.join()


def batch_sizes(port: int) -> dict[str, float]:
    """Return the mean size of the batches of texts and of images, as Prometheus is told it."""
    text = _get(port, "/metrics").decode()
    means = {}
    for kind in ("text", "image"):
        total, count = (
            sum(map(float, re.findall(rf'clipkit_batch_size_{what}{{kind="{kind}"}} (\S+)', text)))
            for what in ("sum", "count")
        )
        means[kind] = total / count
    return means


def _get(port: int, path: str) -> bytes:
    async def get() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
        return answer

    return asyncio.run(get())


if __name__ == "__main__":
    main()
