"""What --check says of an extension."""

from pathlib import Path

import pytest

from clipkit.runs.extension import EXTENSIONS_NAME
from clipkit.runs.extension_plan import plan_extension
from clipkit.runs.preflight import check
from clipkit.runs.run import train
from clipkit.training.config import RunConfig
from tests.runs.conftest import WriteRun
from tests.runs.test_extension import changed

pytestmark = pytest.mark.filterwarnings("ignore::clipkit.errors.ClipkitWarning")


def test_a_run_that_has_not_begun_is_not_extended(write_run: WriteRun) -> None:
    assert plan_extension(RunConfig.from_toml(write_run()).resolve()) is None


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
