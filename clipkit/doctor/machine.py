"""The diagnosis of this machine: processor, threads, memory, engines, caches, packages."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from clipkit.doctor.health import Diagnosis, HealthCheck
from clipkit.doctor.packages import check_packages
from clipkit.models.hub_cache import hub_cache
from clipkit.paths import cache_directory, data_directory
from clipkit.progress import usable_cores
from clipkit.runtime.autotune import processor

# By the flag that the system lists: x86 first, then Arm.
_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX BF16",
    "asimd": "NEON",
    "asimddp": "dot product",
    "i8mm": "int8 products",
    "bf16": "BF16",
    "sve": "SVE",
}
_FAST_INT8 = ("avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
_LEAST_BYTES = 1 << 30  # of memory and of disk; a ViT-B/32 takes 0.6 GB
_GROUP = Path("/sys/fs/cgroup")


def diagnose_machine() -> Diagnosis:
    """Check what this machine has for models, without loading any and without torch.

    Returns:
        The diagnosis; it measures nothing and changes nothing.
    """
    checks = [
        _check_processor(),
        _check_threads(),
        _check_memory(),
        _check_engines(),
        *_check_caches(),
        _check_disk(),
        *check_packages(),
    ]
    return Diagnosis(platform.node() or "this machine", "machine", tuple(checks))


def _check_processor() -> HealthCheck:
    flags = processor_flags()
    known = [title for flag, title in _FEATURES.items() if flag in flags]
    figure = ", ".join(known) if known else "its features are not known to clipkit"
    if not flags or any(flag in flags for flag in _FAST_INT8):
        return HealthCheck("processor", processor(), figure)
    return HealthCheck(
        "processor",
        processor(),
        f"{figure}; no instructions for sums of 8-bit products",
        "remark",
        "int8 is hardly faster here, and large sums may saturate: clipkit measures both and uses "
        "it only where it pays",
    )


def processor_flags() -> set[str]:
    """Return the features of the processor, as Linux names them; nothing where that is unknown."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    for line in text.splitlines():
        if line.lower().startswith(("flags", "features")):
            return set(line.partition(":")[2].split())
    return set()


def _check_threads() -> HealthCheck:
    import psutil  # only here: a search needs none of its time

    usable, physical = usable_cores(), psutil.cpu_count(logical=False)
    allowed = _allowed_cores()
    figure = f"{usable} threads on {physical or '?'} physical cores"
    stated = os.environ.get("OMP_NUM_THREADS")
    figure += f", OMP_NUM_THREADS={stated}" if stated else ""
    figure += f", a limit of {allowed:.3g} cores" if allowed else ""
    if allowed and usable > allowed + 0.5:
        return HealthCheck(
            "threads",
            "this process",
            figure,
            "remark",
            "more threads than the limit of this container wait for each other: start it on as "
            f"many cores, as with  taskset -c 0-{max(0, round(allowed) - 1)}",
        )
    if stated and stated.isdecimal() and physical and int(stated) > max(usable, physical):
        return HealthCheck(
            "threads",
            "this process",
            figure,
            "remark",
            f"torch and NumPy start more threads than there are cores: set it to {physical}",
        )
    return HealthCheck("threads", "this process", figure)


def _allowed_cores() -> float | None:
    """Return how many cores a container's limit allows, None if there is no limit."""
    quota = _words(_GROUP / "cpu.max")
    if len(quota) != 2:
        old = _GROUP / "cpu"
        quota = _words(old / "cpu.cfs_quota_us") + _words(old / "cpu.cfs_period_us")
    if len(quota) != 2 or not all(word.isdecimal() for word in quota):
        return None
    return int(quota[0]) / int(quota[1])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []


def _check_memory() -> HealthCheck:
    import psutil

    memory = psutil.virtual_memory()
    limit = next(iter(_words(_GROUP / "memory.max")), "")
    total = min(memory.total, int(limit)) if limit.isdecimal() else memory.total
    figure = f"{_size(total)} in all, {_size(memory.available)} free"
    if memory.available >= _LEAST_BYTES:
        return HealthCheck("memory", "this machine", figure)
    advice = "close other programs; larger models will swap or be killed"
    return HealthCheck("memory", "this machine", figure, "remark", advice)


def _check_engines() -> HealthCheck:
    engines = [f"onnx ({_onnx_providers()})", "torch" if find_spec("torch") else "no torch"]
    has_driver = shutil.which("nvidia-smi") is not None
    figure = f"{', '.join(engines)}{', an NVIDIA driver' if has_driver else ''}"
    build = _torch_build()
    if has_driver and build in ("", "cpu"):
        return HealthCheck(
            "engines",
            "this machine",
            f"{figure}, and {'no torch' if build == '' else 'a torch for CPUs only'}",
            "remark",
            "install a torch for CUDA to use the GPU: docs/gpu.md",
        )
    return HealthCheck("engines", "this machine", figure)


def _onnx_providers() -> str:
    import onnxruntime

    names = onnxruntime.get_available_providers()
    return ", ".join(name.removesuffix("ExecutionProvider") for name in names)


def _torch_build() -> str:
    """Return what torch is built for: "" if it is missing, "cpu", or "other"."""
    try:
        found = version("torch")
    except PackageNotFoundError:
        return ""
    return "cpu" if found.endswith("+cpu") else "other"


def _check_caches() -> Iterator[HealthCheck]:
    places = {
        "compiled models": cache_directory() / "compiled",
        "embeddings of texts": cache_directory() / "texts.sqlite",
        "embeddings of evaluations": cache_directory() / "evaluations",
        "data of training": cache_directory() / "shards",
        "indexes": data_directory() / "libraries",
        "models from the hub": hub_cache(),
    }
    for title, path in places.items():
        yield HealthCheck(title, str(path), _size(_bytes_in(path)))


def _bytes_in(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; links are not followed."""
    total = 0
    try:
        if path.is_file():
            return path.stat().st_size
    except OSError:
        return 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - of many thousands
            except OSError:
                continue
    return total


def _check_disk() -> HealthCheck:
    place = cache_directory()
    existing = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free >= _LEAST_BYTES:
        return HealthCheck("free disk", str(existing), _size(free))
    advice = "make room, or set CLIPKIT_HOME to a folder on another disk"
    return HealthCheck("free disk", str(existing), _size(free), "remark", advice)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.3g} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.3g} MB"
