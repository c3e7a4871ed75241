"""The diagnosis of a calibration file."""

import dataclasses
import json
from pathlib import Path

import pytest

from clipkit.doctor.calibration import diagnose_calibration
from clipkit.doctor.health import Diagnosis
from clipkit.encoder.encoder import Encoder
from clipkit.errors import CheckpointError
from clipkit.runtime.base import Scoring
from clipkit.zero_shot.calibration import Calibration, identify_prompts
from clipkit.zero_shot.templates import TEMPLATE_SETS
from tests.fakes import FakeEncoder

NAMES = ("red", "blue")


def calibration(**changes: object) -> Calibration:
    templates = next(iter(TEMPLATE_SETS.values()))
    prompts = [[template.replace("{}", name) for template in templates] for name in NAMES]
    usual = Calibration(
        model="fake",
        space_id="fake-space",
        scoring=Scoring(0.5),
        class_names=NAMES,
        prompts_id=identify_prompts(NAMES, prompts),
        log_losses=tuple(number / 10 for number in range(20)),
    )
    return dataclasses.replace(usual, **changes)  # type: ignore[arg-type]


def diagnosed(made: Calibration, directory: Path) -> Diagnosis:
    made.save(directory / "one.json")
    return diagnose_calibration(directory / "one.json", lambda name: FakeEncoder(name=name))


def test_a_calibration_of_its_model_passes(tmp_path: Path) -> None:
    diagnosis = diagnosed(calibration(), tmp_path)
    assert [check.verdict for check in diagnosis.checks] == ["ok"] * 5
    figures = {check.name: check.figure for check in diagnosis.checks}
    assert figures["prompts"] == f"those of the templates {next(iter(TEMPLATE_SETS))}"
    assert figures["label sets"] == "label sets with a coverage of up to 0.952"  # 20 / 21


@pytest.mark.parametrize(
    ("changes", "name", "verdict"),
    [
        ({"space_id": "another"}, "model of the calibration", "problem"),
        ({"scoring": Scoring(1.5)}, "scale", "remark"),
        ({"scoring": Scoring(-1.5)}, "scale", "remark"),
        ({"log_losses": (0.1, 0.2)}, "label sets", "remark"),
        ({"prompts_id": "of my own"}, "prompts", "ok"),
    ],
)
def test_what_does_not_fit_is_found(
    changes: dict[str, object], name: str, verdict: str, tmp_path: Path
) -> None:
    found = {
        check.name: check.verdict for check in diagnosed(calibration(**changes), tmp_path).checks
    }
    assert found[name] == verdict
    assert [key for key, value in found.items() if value != "ok"] in ([], [name])


def test_damage_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    calibration().save(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "logit_scale": -1}))
    diagnosis = diagnose_calibration(path, lambda name: FakeEncoder())
    assert 'its "logit_scale" is -1' in diagnosis.problems[0]


def test_a_model_that_is_gone_is_a_remark(tmp_path: Path) -> None:
    def load_named(name: str) -> Encoder:
        raise CheckpointError(f"there is no {name}")

    path = tmp_path / "one.json"
    calibration().save(path)
    diagnosis = diagnose_calibration(path, load_named)
    assert diagnosis.is_healthy
    assert "there is no fake" in diagnosis.remarks[0]
