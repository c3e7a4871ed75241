"""What --check says of an extension."""

from pathlib import Path

import pytest

from clipkit.errors import InputError
from clipkit.runs.extension import CONFIG_NAME, EXTENSIONS_NAME
from clipkit.runs.extension_plan import plan_extension
from clipkit.runs.preflight import check
from clipkit.runs.run import train
from clipkit.training.config import RunConfig
from tests.runs.conftest import WriteRun
from tests.runs.test_extension import changed

pytestmark = pytest.mark.filterwarnings("ignore::clipkit.errors.ClipkitWarning")


@pytest.mark.parametrize("is_begun", [False, True])
def test_where_there_is_no_run_nothing_is_extended(write_run: WriteRun, is_begun: bool) -> None:
    config = RunConfig.from_toml(write_run()).resolve()
    directory = Path(config.output)
    if is_begun:  # killed before its settings were written
        directory.mkdir()
        (directory / ".lock").touch()
    for extend in (plan_extension, lambda config: train(config, extend=True)):
        with pytest.raises(InputError, match=f"no run in {directory} to extend.*leave out --ext"):
            extend(config)
    assert directory.exists() == is_begun


def test_a_run_without_a_checkpoint_begins_by_its_extension(write_run: WriteRun) -> None:
    config = RunConfig.from_toml(write_run()).resolve()
    Path(config.output).mkdir()
    config.to_toml(Path(config.output) / CONFIG_NAME)
    assert plan_extension(config) is None


@pytest.mark.slow
def test_check_says_what_an_extension_would_do(write_run: WriteRun) -> None:
    config = RunConfig.from_toml(write_run())
    train(config)

    found = check(changed(config, compute={"epochs": 6}), extend=True)

    assert (found.num_steps, found.num_done, found.epochs) == (30, 10, 6)
    assert found.extension[0] == "changed: compute.epochs was 2, is 6"
    assert found.extension[1].startswith("extending the run after step 10, to step 30: the lear")
    assert any("20 steps, 4 epochs of 5 steps," in line for line in found.lines())
    assert not (Path(config.output) / EXTENSIONS_NAME).exists()


@pytest.mark.slow
def test_pairs_to_validate_on_that_were_trained_on_are_warned_of(write_run: WriteRun) -> None:
    config = RunConfig.from_toml(write_run())
    train(config)
    measured = changed(config, compute={"epochs": 4}, data={"validation_fraction": 0.2})

    said = "data.validation_fraction was 0, is 0.2: pairs that are now validated on were trained on"
    for found in (check(measured, extend=True), train(measured, extend=True)):
        assert any(line.startswith(f"{said} until step 10,") for line in found.warnings)
    fewer = changed(measured, compute={"epochs": 6}, data={"validation_fraction": 0.1})
    assert not any("validation_fraction" in line for line in check(fewer, extend=True).warnings)
