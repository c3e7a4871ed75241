"""The page for those who come from open_clip_train: every option, and settings that exist."""

import dataclasses
import re
import tomllib
from pathlib import Path

import open_clip_train.params
import pytest
from transformers import TrainingArguments

from clipkit.errors import InputError
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
    table = "\n".join(line.split(" | ")[0] for line in SECTION.splitlines() if line[:2] == "| ")
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


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("train_data_upsampling_factors", "train of [data]"),
        ("train_num_samples", "samples_per_epoch of [data]"),
        ("dataset_type", "format of [data]"),
        ("imagenet_val", "retention_set of [watch]"),
        ("zeroshot_frequency", "every_epochs of [watch]"),
        ("val_frequency", "every_epochs of [watch]"),
        ("save_frequency", "checkpoint_steps of [watch]"),
        ("delete_previous_checkpoint", "keep of [watch]"),
        ("report_to", "trackers of [watch]"),
        ("wandb_project_name", "tracker_project of [watch]"),
        ("lock_image_freeze_bn_stats", "freeze_batch_norm of [model]"),
        ("aug_cfg", "augmentation of [data]"),
        ("image_mean", "architecture of [model]"),
        ("image_std", "architecture of [model]"),
        ("image_interpolation", "architecture of [model]"),
        ("image_resize_mode", "architecture of [model]"),
        ("force_image_size", "architecture of [model]"),
        ("force_quick_gelu", "architecture of [model]"),
        ("distill_model", "teacher of [loss]"),
        ("per_device_train_batch_size", "batch_size"),
        ("gradient_accumulation_steps", "accumulate_batches"),
        ("adam_epsilon", "eps of [optimizer]"),
        ("max_grad_norm", "clip_norm of [optimizer]"),
        ("bf16", "precision"),
        ("eval_steps", "every_epochs of [watch]"),
        ("save_steps", "checkpoint_steps of [watch]"),
        ("save_total_limit", "keep of [watch]"),
        ("dataloader_num_workers", "workers of [data]"),
        ("fsdp", "sharding"),
    ],
)
def test_a_name_of_theirs_in_a_run_is_answered_by_the_setting_of_the_page(
    name: str, setting: str
) -> None:
    run = {"output": "run", "model": {"base": "starter"}, "data": {}, "compute": {name: 1}}
    with pytest.raises(InputError, match=rf"did you mean {re.escape(setting)}\?$"):
        RunConfig.from_dict(run)
    spellings = rf"--{name.replace('_', '-')}\b|`{name}`"
    line = next(line for line in PAGE.splitlines() if re.search(spellings, line) and "| " in line)
    assert re.search(rf"\b{setting.split()[0]}\b", line.split(" | ", 1)[1])


def test_the_defaults_that_the_page_tells_are_open_clips() -> None:
    theirs = open_clip_train.params.parse_args(["--model", "ViT-B-32"])
    scratch = {"output": "run", "model": {"architecture": "ViT-B-32"}, "data": {}}
    ours = RunConfig.from_dict(scratch).resolve()
    assert (theirs.warmup, theirs.grad_clip_norm, theirs.precision) == (10_000, None, "amp")
    assert open_clip_train.params.parse_args([]).model == "RN50"
    assert (theirs.lr, theirs.wd, theirs.epochs, theirs.batch_size) == (
        ours.optimizer.lr,
        ours.optimizer.weight_decay,
        ours.compute.epochs,
        ours.compute.batch_size,
    )
    assert (theirs.beta1, theirs.beta2, theirs.eps) == (
        ours.optimizer.beta1,
        ours.optimizer.beta2,
        ours.optimizer.eps,
    )
    assert (ours.optimizer.clip_norm, ours.optimizer.warmup_fraction) == (1, 0.1)


def test_the_defaults_that_the_page_tells_are_transformers() -> None:
    theirs = {field.name: field.default for field in dataclasses.fields(TrainingArguments)}
    assert {name: theirs[name] for name in ("weight_decay", "adam_beta2", "adam_epsilon")} == {
        "weight_decay": 0,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
    }
    assert (theirs["lr_scheduler_type"], theirs["warmup_steps"]) == ("linear", 0)
    assert (theirs["num_train_epochs"], theirs["per_device_train_batch_size"]) == (3, 8)
    assert (theirs["learning_rate"], theirs["max_grad_norm"]) == (5e-5, 1)


def test_every_run_of_the_page_is_read(tmp_path: Path) -> None:
    _, *parts = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
    assert len(parts) == 2
    for part in parts:
        file = tmp_path / "run.toml"
        file.write_text(f'output = "run"\n{part}[data]\ntrain = "a"\n', encoding="utf-8")
        config = RunConfig.from_toml(file).resolve()
        assert (config.watch.wise_ft, config.watch.retention_set) == (False, "")
        assert config.model.freeze_batch_norm is False


def test_the_readme_command_in_toml_is_read_with_its_values(tmp_path: Path) -> None:
    block, *_ = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
    command, *_ = re.findall(r"```text\n(.*?)```", SECTION, re.DOTALL)
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


def test_every_setting_has_its_words() -> None:
    manual = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    table = manual.split("<!-- settings, by docs/write_settings.py -->")[1]
    lines = [line for line in table.splitlines() if line.startswith("| `") and "`[" not in line]
    assert len(lines) > 60
    assert [line for line in lines if not line.split(" | ")[-1].strip(" |")] == []
