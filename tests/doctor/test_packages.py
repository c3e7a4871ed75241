"""Checks of installed packages against requirements and reported faults."""

from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from clipkit.doctor import packages
from clipkit.doctor.packages import REPORTED_FAULTS, check_packages, check_requirements


def found(*lines: str) -> list[tuple[str, str]]:
    return [
        (check.verdict, str(check))
        for check in check_requirements([Requirement(line) for line in lines])
    ]


def test_what_is_installed_as_required_passes() -> None:
    assert found("numpy>=1.26", "pillow>=11") == [("ok", "all")]


def test_a_version_that_is_not_supported_is_a_problem() -> None:
    (verdict, words), _ = found("numpy<1")
    assert verdict == "problem"
    assert words == (
        f'clipkit needs <1, and {version("numpy")} is installed: run  pip install "numpy<1"'
    )


def test_a_missing_package_of_the_core_is_a_problem_and_of_an_extra_is_said() -> None:
    assert found("no-such-package", 'no-other-package; extra == "raw"') == [
        ("problem", "no-such-package is not installed: run  pip install no-such-package"),
        ("ok", "without raw (no-other-package)"),
    ]


def test_reported_faults_name_their_report(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = REPORTED_FAULTS[0]
    monkeypatch.setattr(packages, "_version", lambda name: fault.version)
    monkeypatch.setattr(packages, "_own_requirements", list)
    remarks = [check for check in check_packages() if check.verdict == "remark"]
    assert [remark.looked_at for remark in remarks] == [f"{fault.package} {fault.version}"]
    assert fault.report in remarks[0].figure


def test_this_environment_passes() -> None:
    assert all(check.verdict != "problem" for check in check_packages())
