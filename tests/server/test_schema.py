"""The OpenAPI schema: schemathesis finds nothing in what a server answers to it."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.conftest import SAMPLES
from tests.server.conftest import KEY, SECONDS, served

# 422 is right for data that fits the schema: which bytes are an image, which days there are and
# which labels a model can tell apart, no schema says.
CONFIG = f"""
seed = 1
headers = {{ Authorization = "Bearer {KEY}" }}
continue-on-failure = true
[generation]
max-examples = 10
deterministic = true
database = "none"
[phases.stateful]
enabled = false
[checks]
positive_data_acceptance.expected-statuses = ["2xx", 404, 422]
"""


@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    if find_spec("schemathesis") is None:
        pytest.skip("schemathesis is not installed")
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    with served(tmp_path / "home", SAMPLES, CLIPKIT_API_KEY=KEY) as server:
        schema = f"{server.address}/openapi.json"
        done = subprocess.run(
            [*command, schema], cwd=tmp_path, env=os.environ | {"NO_COLOR": "1"},
            capture_output=True, text=True, timeout=5 * SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert httpx.get(f"{server.address}/health/ready").status_code == 200
        paths = httpx.get(schema).json()["paths"]
    assert not any("Traceback" in line for line in server.lines), server.lines
    assert {"/v1/embeddings", "/v1/search", "/v1/similar", "/v1/classify", "/v1/context"} <= {
        *paths
    }
