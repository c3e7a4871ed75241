"""A real Milvus server in a process of its own, from the wheel `milvus` 2.3.5.

It comes from an environment of its own beside the one that the tests run in, which `make test`
makes (.venv-milvus beside .venv), or from the one that $CLIPKIT_TEST_MILVUS names.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

_UP_SECONDS = 60
# Ticks of its clock are 20 ms instead of 200, so that reads which wait for one wait less, and a
# server that was killed is given up by the next one after 3 s instead of 30.
_LAY_OUT = """
import json, os, sys, milvus
base, binaries, etcd, port, settings = sys.argv[1:]
os.makedirs(base, exist_ok=True)
os.symlink(binaries, os.path.join(base, "bin"))
config = milvus.MilvusServerConfig(data_dir=base, proxy_port=int(port))
config.set("proxy.timeTickInterval", 20)
config.set("common.session.ttl", 3)
for name, value in json.loads(settings).items():
    config.set(name, value)
config.template_text = config.template_text.replace(
    "\\netcd:\\n", f"\\netcd:\\n  config:\\n    path: {etcd}\\n", 1
)
config.resolve()
"""
# The etcd in it would take fixed ports, of which there is one each on a machine.
_ETCD = """
name: default
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
"""


def environment() -> Path:
    """Return where the server is installed, whether or not it is."""
    own = os.environ.get("CLIPKIT_TEST_MILVUS")
    return Path(own) if own else Path(f"{sys.prefix}-milvus")


def why_not_installed() -> str:
    """Return why no server can be started, "" if one can."""
    if (environment() / "server" / "bin" / "milvus").is_file():
        return ""
    return f"no Milvus server at {environment()}: make test installs one where there is a wheel"


class MilvusServer:
    """A server with its data in a directory; `start` it, and `stop` or `kill` it.

    Args:
        directory: It need not exist.
        settings: By the names that the wheel has for them.
    """

    def __init__(self, directory: Path, settings: Mapping[str, object] | None = None) -> None:
        self._directory = directory
        self._settings = dict(settings or {})
        self._port, self._health_port = _free_port(), _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, collection: str) -> str:
        """Return the address of a collection."""
        return f"milvus://127.0.0.1:{self._port}/{collection}"

    def start(self) -> None:
        """Start it, and wait until it says that it is healthy."""
        base = str(self._directory)
        if not self._directory.exists():
            etcd = self._directory.with_suffix(".etcd.yaml")
            etcd.write_text(_ETCD.format(client=_free_port(), peer=_free_port()))
            binaries = environment().resolve() / "server" / "bin"
            python = environment() / "bin" / "python"
            paths: list[str | Path] = [
                base,
                binaries,
                etcd,
                str(self._port),
                json.dumps(self._settings),
            ]
            subprocess.run([python, "-c", _LAY_OUT, *paths], check=True)
        with (self._directory / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [self._directory / "bin" / "milvus", "run", "standalone"],
                cwd=base,
                env={
                    **os.environ,
                    "DEPLOY_MODE": "STANDALONE",
                    "METRICS_PORT": str(self._health_port),
                    "MILVUS_RUN_DIR": f"{base}/run",
                    "LD_LIBRARY_PATH": f"{base}/bin",
                },
                stdout=log,
                stderr=log,
            )
        self._wait_until_healthy()

    def kill(self) -> None:
        """End it at once, as a power cut does; what it had acknowledged is to be kept."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it."""
        self._end(signal.SIGKILL)  # it has nothing to tell anybody any more

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()

    def _wait_until_healthy(self) -> None:
        assert self._process is not None
        end = time.monotonic() + _UP_SECONDS
        url = f"http://127.0.0.1:{self._health_port}/healthz"
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError(f"Milvus has ended: see {self._directory}/log.txt")
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    if b"OK" in answer.read():
                        return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
            time.sleep(0.05)  # between two questions; nothing is measured by it
        raise RuntimeError(f"Milvus was not up in {_UP_SECONDS} s: see {self._directory}/log.txt")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
