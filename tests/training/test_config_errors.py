"""What is wrong in RUN.toml is named: the key, what it must be, what was got, what was meant."""

import dataclasses
import typing
from typing import Any

import numpy as np
import pytest
import torch

from clipkit.errors import InputError
from clipkit.training.config import OptimizerConfig, RunConfig
from clipkit.training.config_errors import field_types, section_types
from clipkit.training.data_config import DataConfig, SourceConfig
from tests.training.conftest import SMALLEST_RUN, ReadRun


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[optimizer]\nlearning_rate = 1",
            r"\[optimizer\] has no learning_rate; did you mean lr\?",
        ),
        ("[optimizer]\nweigth_decay = 1", r"has no weigth_decay; did you mean weight_decay\?"),
        ("[optimizer]\nbatch_size = 8", r"has no batch_size; batch_size belongs to \[compute\]"),
        ("[compute]\nnum_workers = 8", r"has no num_workers; did you mean workers of \[data\]\?"),
        ("[watch]\nseed = 8", r"\[watch\] has no seed; seed belongs to the top of the file"),
        ("[loss]\nxyzzy = 8", r"\[loss\] has no xyzzy; its keys are kind, teacher"),
        ("[optimiser]\nlr = 1", r"no section \[optimiser\]; did you mean \[optimizer\]\?"),
        (
            "[foo]\nbar = 1",
            r"no section \[foo\]; sections are model, data, loss, optimizer, compute",
        ),
        ("[data.train]\npath = 'a'\nweigth = 2", r"data\.train has no weigth; its keys are path"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(
    read_run: ReadRun, text: str, problem: str
) -> None:
    with pytest.raises(InputError, match=problem) as error:
        read_run(text if "data.train" not in text else f'[model]\nbase = "starter"\n{text}')
    assert "run.toml: " in str(error.value)


def test_a_key_outside_of_its_section_is_refused(read_run: ReadRun) -> None:
    with pytest.raises(InputError, match=r"no lr outside of sections; lr belongs to \[optimizer\]"):
        read_run(f"lr = 1{SMALLEST_RUN}")
    with pytest.raises(InputError, match=r"model is a section: write \[model\]"):
        read_run('model = "starter"')
    with pytest.raises(InputError, match="seed is no section"):
        read_run(f"{SMALLEST_RUN}[seed]\nvalue = 3")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[optimizer]\nlr = '1e-5'", r'optimizer\.lr must be a number, got the text "1e-5"'),
        ("[optimizer]\nlr = true", r"optimizer\.lr must be a number, got true"),
        ("[compute]\nbatch_size = true", r"compute\.batch_size must be a whole number, got true"),
        ("[compute]\nbatch_size = 64.0", r"must be a whole number, got 64\.0"),
        ("[compute]\ncompile = 1", r"compute\.compile must be true or false, got 1"),
        ("[loss]\nteacher = 3", r"loss\.teacher must be a text"),
        ("[loss]\nmatryoshka_dims = 64", r"must be a list of a whole number, got 64"),
        (
            "[loss]\nmatryoshka_dims = [64, 1.5]",
            r"matryoshka_dims must be a whole number, got 1\.5",
        ),
        ("[loss]\nkind = 'clip'", r'must be one of "infonce", "sigmoid", got the text "clip"'),
        ("[watch]\nkeep = 2026-01-01", r"watch\.keep must be a whole number"),
        ("[compute]\nbatch_size = 1", r"compute\.batch_size must be at least 2"),
        ("[watch]\nevery_epochs = -1", r"watch\.every_epochs must be 0 or more, got -1$"),
        (
            "[watch]\nevery_epochs = inf",
            r"every_epochs must be a finite number of ordinary size \(1e-30 to 1e\+30\), got inf$",
        ),
        ("[optimizer]\nlr = 1e-300", r"lr must be a finite .*, got 1e-300$"),
        (f"[optimizer]\nlr = 1{'0' * 400}", r"lr must be a whole number of at most 64 bits, got"),
        (
            f"[loss]\nmatryoshka_dims = [{2**64}]",
            r"matryoshka_dims must be a whole number of at most 64 bits, got one of 65 bits$",
        ),
    ],
)
def test_a_wrong_type_or_value_is_refused(read_run: ReadRun, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_run(f"{SMALLEST_RUN}{text}")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("train = 3", r"data\.train must be a path, a list of paths, or tables .* got 3"),
        ("train = [{weight = 2}]", r"data\.train must be a path"),
        ("train = 'a::'", "needs a path, got an empty one"),
        ("train = [{path = 'a', weight = 'much'}]", r"data\.train\.weight must be a number"),
        ("train = 'a'\ncrop_scale = [0.5]", r"crop_scale must be a list of 2 items, each a number"),
        ("train = 'a'\ncrop_scale = 0.5", r"must be a list of 2 items"),
        ("train = 'a'\nformat = 'csv'", r"data\.format must be one of"),
    ],
)
def test_wrong_data_are_refused(read_run: ReadRun, data: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_run(f'[model]\nbase = "starter"\n[data]\n{data}')


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e300", "-1e300"])
def test_no_key_takes_a_number_that_is_none(read_run: ReadRun, value: str) -> None:
    hints = {
        f"{name}.{key}": hint
        for name, kind in section_types(RunConfig).items()
        for key, hint in field_types(kind).items()
    }
    singles = [key for key, hint in hints.items() if hint in (float,)]
    assert {"model.patch_dropout", "optimizer.lr", "watch.every_epochs"} < set(singles)
    pairs = [key for key, hint in hints.items() if hint == tuple[float, float]]
    assert pairs == ["data.crop_scale", "data.crop_ratio"]
    overrides = [f"{key}={value}" for key in singles]
    overrides += [f"{key}=[{value}, 1]" for key in pairs] + [
        f"{key}=[0.5, {value}]" for key in pairs
    ]
    for override in overrides:
        with pytest.raises(InputError, match=rf"{override.partition('=')[0]} must be .*, got "):
            read_run(SMALLEST_RUN, override)
    with pytest.raises(InputError, match=r"the weight of .*a must be above 0 and up to 1,000,000"):
        read_run(SMALLEST_RUN, f"data.train=[{{path = 'a', weight = {value}}}]")


@pytest.mark.parametrize("weight", ["0", "-1", "1e18", "1_000_001", "-0.0"])
def test_weights_of_places_have_a_range(read_run: ReadRun, weight: str) -> None:
    with pytest.raises(InputError, match=r"weight of .* 1,000,000, got .*: it is how often its"):
        read_run(SMALLEST_RUN, f"data.train=[{{path = 'a', weight = {weight}}}]")


def test_seeds_have_64_bits(read_run: ReadRun) -> None:
    assert read_run(SMALLEST_RUN, f"seed={2**64 - 1}").seed == 2**64 - 1
    assert np.random.default_rng([2**64 - 1]).random() < 1
    assert torch.Generator().manual_seed(2**64 - 1).initial_seed() == 2**64 - 1
    with pytest.raises(InputError, match="seed must be a whole number of at most 64 bits, got one"):
        read_run(SMALLEST_RUN, f"seed={2**64}")
    with pytest.raises(InputError, match=r"seed must be 0 or more, got -1$"):
        read_run(SMALLEST_RUN, "seed=-1")


def test_an_output_that_no_directory_can_have_is_refused(read_run: ReadRun) -> None:
    for output in ("", r"a\u0000b"):
        with pytest.raises(InputError, match="output needs the directory of the run, got '"):
            read_run(f'output = "{output}"\n{SMALLEST_RUN}')


def test_a_file_without_a_model_says_what_it_needs(read_run: ReadRun) -> None:
    with pytest.raises(InputError, match=r"\[model\] needs either base"):
        read_run("[data]\ntrain = 'a'")


def test_pairs_may_be_left_out_for_a_dataset_from_python(read_run: ReadRun) -> None:
    run = read_run("[model]\nbase = 'starter'")
    assert run.data == DataConfig()
    assert RunConfig.from_dict(run.to_dict()) == run


def _settings() -> dict[str, Any]:
    """Return the type of every setting by its key."""
    sections = {"": RunConfig, **section_types(RunConfig)}
    return {
        f"{name}.{key}".lstrip("."): hint
        for name, kind in sections.items()
        for key, hint in field_types(kind).items()
        if not dataclasses.is_dataclass(hint)
    }


@pytest.mark.parametrize("key", _settings())
def test_no_setting_takes_a_value_of_another_type(read_run: ReadRun, key: str) -> None:
    """Texts may look like anything in an override, so the value of another type is a table."""
    hint = _settings()[key]
    wrong = ["{a = 1}", "2026-01-01T00:00:00", "[[1]]"]
    if hint in (int, float):
        wrong += ["true", '"1"', "[1]"]
    if hint is int:
        wrong += ["1.0"]
    if hint is bool:
        wrong += ["1", "0", '"true"']
    if typing.get_origin(hint) in (tuple, typing.Literal):
        wrong += ["1", "true"]
    if hint is str:
        section, _, name = key.rpartition(".")
        content: dict[str, Any] = {
            "output": "run",
            "model": {"base": "starter"},
            "data": {"train": "a"},
        }
        values: list[Any] = [1, True, b"a", [], {"a": 1}]
        for given in values:
            part = content.get(section, {}) if section else content
            changed = part | {name: given}
            with pytest.raises(InputError, match=f"{key} (must be|is no section)"):
                RunConfig.from_dict(content | {section: changed} if section else changed)
        return
    for value in wrong:
        with pytest.raises(InputError, match=rf"{key}(\.path)? (must be|is no section)"):
            read_run(SMALLEST_RUN, f"{key}={value}")


def test_all_that_is_wrong_is_told_at_once_in_one_line(read_run: ReadRun) -> None:
    with pytest.raises(InputError) as error:
        read_run(f"{SMALLEST_RUN}[optimizer]\nlr = -1\nbeta_1 = 1\n[loss]\nkind = 'clip'")
    path, *problems = str(error.value).split(": ", 1)
    assert path.endswith("run.toml")
    assert problems == [
        'loss.kind must be one of "infonce", "sigmoid", got the text "clip"; optimizer.lr must be '
        "0 or more, got -1; [optimizer] has no beta_1; did you mean beta1?"
    ]


def test_a_section_made_in_python_is_checked_as_one_of_a_file() -> None:
    assert type(OptimizerConfig(lr=1).lr) is float
    with pytest.raises(InputError, match=r"^optimizer\.lr must be 0 or more, got -1$"):
        OptimizerConfig(-1)
    with pytest.raises(InputError, match=r"^optimizer\.beta1 must be below 1, got 1$"):
        dataclasses.replace(OptimizerConfig(), beta1=1.0)
    with pytest.raises(InputError, match=r"^\[optimizer\] has no wd; did you mean weight_decay\?$"):
        OptimizerConfig(wd=1.0)  # type: ignore[call-arg]
    with pytest.raises(InputError, match=r"^data\.train has no weigth; its keys are path, weight,"):
        DataConfig(train=({"path": "a", "weigth": 2},))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^model is a section: .*; in Python a ModelConfig or"):
        RunConfig("run", "starter", {"train": "a"})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="OptimizerConfig got lr by position and by name"):
        OptimizerConfig(1e-5, lr=1e-5)  # type: ignore[misc]
    with pytest.raises(TypeError, match="SourceConfig takes 3 values, got 4"):
        SourceConfig("a", 1.0, "", 5)  # type: ignore[call-arg]
    with pytest.raises(dataclasses.FrozenInstanceError):
        OptimizerConfig().lr = 1.0  # type: ignore[misc]


def test_a_number_too_long_to_be_printed_is_refused_where_a_text_is_wanted() -> None:
    content = {"output": 16**5000, "model": {"base": "starter"}, "data": {"train": "a"}}
    with pytest.raises(
        InputError, match=r"output must be a text, .* got a whole number of 20001 bits"
    ):
        RunConfig.from_dict(content)
