"""Checks of the installed packages: versions, what is missing for extras, and known faults."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.version import Version

from clipkit.doctor.health import HealthCheck

_SHOWN = ("onnxruntime", "numpy", "pillow", "tokenizers", "torch", "open_clip_torch")
_NO_EXTRAS = ("all", "dev")  # all others together, and what the tests need


@dataclass(frozen=True)
class ReportedFault:
    """A fault of one version of a package, with the report that says so."""

    package: str
    version: str
    what: str
    report: str  # where


# Only what a report names; whether it touches a model, its golden vectors show.
REPORTED_FAULTS = (
    ReportedFault(
        "onnxruntime",
        "1.21.0",
        "convolutions were reported to differ from PyTorch's, and not with 1.20.2",
        "https://github.com/microsoft/onnxruntime/issues/24398",
    ),
    ReportedFault(
        "onnxruntime",
        "1.24.1",
        "outputs of a model were reported to be unstable or NaN, and not with 1.23.2",
        "https://github.com/microsoft/onnxruntime/issues/29788",
    ),
)


def check_packages() -> Iterator[HealthCheck]:
    """Yield whether the installed packages are those that clipkit needs.

    Yields:
        Versions, a remark for reported faults, a problem for a version that is not supported, and
        which extras are not installed.
    """
    shown = [f"{name} {found}" for name in _SHOWN if (found := _version(name)) is not None]
    yield HealthCheck("packages", "installed", ", ".join(shown))
    for fault in REPORTED_FAULTS:
        if _version(fault.package) == fault.version:
            yield HealthCheck(
                "packages",
                f"{fault.package} {fault.version}",
                f"{fault.what} ({fault.report})",
                "remark",
                "compare your models with their golden vectors:  clipkit doctor NAME",
            )
    yield from check_requirements(_own_requirements())


def check_requirements(requirements: list[Requirement]) -> Iterator[HealthCheck]:
    """Yield where installed packages are not as requirements say.

    Args:
        requirements: Of clipkit; those of extras have a marker that names the extra.

    Yields:
        A problem for each version that does not fit, and one line on extras.
    """
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        found = _version(requirement.name)
        extra = _extra_of(requirement)
        if found is None:
            missing.setdefault(extra, []).append(requirement.name)
        elif not requirement.specifier.contains(Version(found), prereleases=True):
            yield HealthCheck(
                "packages",
                f"{requirement.name} {found}",
                f"clipkit needs {requirement.specifier}, and {found} is installed",
                "problem",
                f'run  pip install "{requirement.name}{requirement.specifier}"',
            )
    for name in missing.pop("", []):
        yield HealthCheck(
            "packages", name, f"{name} is not installed", "problem", f"run  pip install {name}"
        )
    lacking = [f"{extra} ({', '.join(names)})" for extra, names in sorted(missing.items())]
    yield HealthCheck("extras", "installed", f"without {'; '.join(lacking)}" if lacking else "all")


def _own_requirements() -> list[Requirement]:
    """Return what clipkit requires here: for the core and for each extra that users have."""
    try:
        lines = requires("clipkit") or []
    except PackageNotFoundError:  # it runs from a checkout that is not installed
        lines = []
    found = [Requirement(line) for line in lines]
    return [
        requirement
        for requirement in found
        if requirement.name != "clipkit"
        and _extra_of(requirement) not in _NO_EXTRAS
        and (
            requirement.marker is None
            or requirement.marker.evaluate({"extra": _extra_of(requirement)})
        )
    ]


def _extra_of(requirement: Requirement) -> str:
    """Return the extra that a requirement belongs to, "" for the core."""
    text = str(requirement.marker or "")
    return text.partition("extra == ")[2].strip("\"' )").partition('"')[0]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
