"""The Dockerfile and the compose file, as far as they can be checked without Docker."""

import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_hadolint_finds_nothing() -> None:
    program = Path(sysconfig.get_path("scripts")) / "hadolint"
    if not program.exists():
        pytest.skip("hadolint is not installed: there is no binary of it for every machine")
    done = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_all_that_is_copied_is_there_and_goes_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ")]
    sources = [name for names in copied if not names[0].startswith("--") for name in names]
    assert "clipkit" in sources
    for name in sources:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored, name


def test_what_the_wheel_needs_is_copied() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [*wheel["force-include"], *wheel["shared-data"], project["project"]["readme"]]
    copied = [name.rstrip("/") for name in DOCKERFILE.split() if "/" in name or "." in name]
    for name in needed:
        assert any(name == each or name.startswith(f"{each}/") for each in copied), name


def test_it_runs_as_nobody_in_particular_and_says_whether_it_is_well() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "\nUSER 10001:10001\n" in last
    assert "/health/ready" in last.partition("HEALTHCHECK")[2]
    assert 'ENTRYPOINT ["clipkit", "serve", "--host", "0.0.0.0"]' in last


@pytest.fixture(scope="module")
def compose() -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML reads the compose file")
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def test_every_name_in_the_compose_file_is_defined(compose: Any) -> None:
    services = compose["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services, name
            assert how["condition"] == "service_healthy"
            assert "healthcheck" in services[needed]
        assert set(service["networks"]) <= set(compose["networks"])
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        for volume in service.get("volumes", ()):
            source = volume.rpartition("}")[0] or volume.partition(":")[0]
            assert source in compose["volumes"] or source.startswith("$"), volume


def test_images_are_pinned_and_the_store_is_not_reached_from_outside(compose: Any) -> None:
    assert compose["networks"]["store"] == {"internal": True}
    for name, service in compose["services"].items():
        if "build" not in service:
            tag = service["image"].rpartition(":")[2]
            assert any(letter.isdigit() for letter in tag), name
        if name != "clipkit":
            assert "ports" not in service
            assert service["networks"] == ["store"]
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["clipkit"]["ports"])


def test_the_options_in_the_compose_file_are_those_of_the_commands(compose: Any) -> None:
    from clipkit.cli.main import build_parser

    for name, command in (("clipkit", ["serve"]), ("index", [])):
        words = [*command, *compose["services"][name]["command"]]
        arguments = build_parser().parse_args(words)
        assert arguments.store == "milvus://milvus:19530/photos"
