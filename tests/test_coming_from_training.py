"""The page for those who come from open_clip_train: every option, and settings that exist."""

import dataclasses
import re
import tomllib
from pathlib import Path

import open_clip_train.params

from clipkit.training.config import RunConfig
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "coming_from.md").read_text(encoding="utf-8")
SECTION, TRAINER = PAGE.split("## open_clip_train\n")[1].split("## A Trainer\n")
SECTIONS = {
    field.name: field.type
    for field in dataclasses.fields(RunConfig)
    if field.name not in ("output", "seed")
}


def test_every_option_of_open_clip_train_has_its_line() -> None:
    source = Path(open_clip_train.params.__file__).read_text(encoding="utf-8")
    options = set(re.findall(r"""["'](--[a-z0-9-]+)["']""", source))
    assert len(options) > 80
    table = "\n".join(line for line in SECTION.splitlines() if line.startswith("| "))
    named = set(re.findall(r"--[a-z][a-z0-9-]*", table))
    assert options - named == set()
    assert named - options == set()


def test_the_settings_that_the_tables_name_are_there() -> None:
    config = RunConfig.from_dict({"output": "run", "model": {"base": "starter"}, "data": {}})
    named = re.findall(
        r"`(model|data|loss|optimizer|compute|watch)\.([a-z0-9_]+)", SECTION + TRAINER
    )
    assert len(named) > 40
    for section, key in named:
        assert hasattr(getattr(config, section), key), f"{section}.{key}"


def test_the_readme_command_in_toml_is_read_with_its_values(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
    (command,) = re.findall(r"```text\n(.*?)```", SECTION, re.DOTALL)
    file = tmp_path / "run.toml"
    file.write_text(block, encoding="utf-8")
    config = RunConfig.from_toml(file)
    given = dict(re.findall(r"--([a-z0-9-]+)[= ]\"?([^\s\"]+)", command))
    assert config.model.architecture == given["model"]
    assert [source.path for source in config.data.train] == [given["train-data"]]
    assert [source.path for source in config.data.validation] == [given["val-data"]]
    assert config.data.image_column == given["csv-img-key"]
    assert config.data.caption_column == given["csv-caption-key"]
    assert config.watch.retention_set == given["imagenet-val"]
    numbers = {
        "warmup": config.optimizer.warmup_steps,
        "batch-size": config.compute.batch_size,
        "lr": config.optimizer.lr,
        "wd": config.optimizer.weight_decay,
        "epochs": config.compute.epochs,
        "workers": config.data.workers,
    }
    assert numbers == {name: float(given[name]) for name in numbers}
    defaults = open_clip_train.params.get_default_params(given["model"])
    assert (config.optimizer.beta2, config.optimizer.eps) == (defaults["beta2"], defaults["eps"])
    assert set(tomllib.loads(block)) <= {"output", *SECTIONS}
