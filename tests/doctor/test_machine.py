"""The diagnosis of the machine: limits of a container, threads, features, caches."""

import subprocess
import sys
from pathlib import Path

import pytest

from clipkit.doctor import machine
from clipkit.doctor.health import HealthCheck
from clipkit.doctor.machine import diagnose_machine


def check(name: str) -> HealthCheck:
    return next(check for check in diagnose_machine().checks if check.name == name)


def test_everything_has_a_figure_and_no_torch_is_imported() -> None:
    code = (
        "import sys; from clipkit.doctor.machine import diagnose_machine;"
        "found = diagnose_machine();"
        "assert all(check.figure and check.looked_at for check in found.checks);"
        "assert 'torch' not in sys.modules, 'torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [("max 100000", "ok"), ("200000 100000", "remark"), ("800000 100000", "ok")],
)
def test_more_threads_than_a_container_allows_are_a_remark(
    limit: str, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    monkeypatch.setattr(machine, "_GROUP", tmp_path)
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = check("threads")
    assert found.verdict == verdict
    assert found.figure.startswith("8 threads on ")
    assert ("taskset -c 0-1" in found.advice) == (verdict == "remark")


def test_the_older_kind_of_limit_is_read_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    monkeypatch.setattr(machine, "_GROUP", tmp_path)
    assert "a limit of 1.5 cores" in check("threads").figure
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert "a limit" not in check("threads").figure


def test_more_threads_than_cores_are_a_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert check("threads").verdict == "remark"
    assert "OMP_NUM_THREADS=4096" in check("threads").figure


@pytest.mark.parametrize(
    ("flags", "figure", "verdict"),
    [
        ({"avx2"}, "AVX2; no instructions for sums of 8-bit products", "remark"),
        ({"avx2", "avx512_vnni"}, "AVX2, AVX-512 VNNI", "ok"),
        ({"asimd", "asimddp"}, "NEON, dot product", "ok"),
        (set(), "its features are not known to clipkit", "ok"),
    ],
)
def test_features_of_the_processor(
    flags: set[str], figure: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "processor_flags", lambda: flags)
    found = check("processor")
    assert (found.figure, found.verdict) == (figure, verdict)


def test_a_gpu_without_a_torch_for_it_is_a_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi")
    for build, verdict in (("cpu", "remark"), ("", "remark"), ("other", "ok")):
        monkeypatch.setattr(machine, "_torch_build", lambda build=build: build)
        assert check("engines").verdict == verdict


def test_the_size_of_a_cache_is_that_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    folder = tmp_path / "cache" / "compiled" / "one"
    folder.mkdir(parents=True)
    (folder / "graph").write_bytes(bytes(2_000_000))
    found = check("compiled models")
    assert (found.figure, found.looked_at) == ("2 MB", str(folder.parent))


def test_little_memory_and_little_disk_are_remarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_LEAST_BYTES", 1 << 60)
    assert check("memory").verdict == check("free disk").verdict == "remark"
