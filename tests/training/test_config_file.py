"""RUN.toml: every key can be written, what is wrong is named, and what is written reads back."""

import dataclasses
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipkit.errors import InputError
from clipkit.training.config import (
    DataConfig,
    ModelConfig,
    RunConfig,
    SourceConfig,
)
from clipkit.training.config_errors import field_types, section_types

SMALLEST = """
[model]
base = "starter"
[data]
train = "photos"
"""
Read = Callable[..., RunConfig]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that reads a text as run.toml, after the smallest sections if wanted."""

    def read_text(text: str, *overrides: str) -> RunConfig:
        path = tmp_path / "run.toml"
        path.write_text(text)
        return RunConfig.from_toml(path, overrides)

    return read_text


def test_the_smallest_file_has_every_default(read: Read, tmp_path: Path) -> None:
    assert read(SMALLEST) == RunConfig(
        output=str(tmp_path / "run"),
        model=ModelConfig(base="starter"),
        data=DataConfig(train=(SourceConfig(str(tmp_path / "photos")),)),
    )


def test_values_come_as_the_types_of_their_fields(read: Read) -> None:
    config = read(
        """
        seed = 7
        [model]
        architecture = "ViT-B-32"
        lock_image = true
        unlocked_image_groups = 2
        [data]
        train = "photos"
        crop_scale = [0.5, 1]
        templates = ["a {}", "the {}"]
        format = "classes"
        [loss]
        matryoshka_dims = [64, 128]
        [optimizer]
        lr = 1
        clip_norm = 2
        schedule = "constant"
        """
    )
    assert config.seed == 7
    assert (config.model.lock_image, config.model.unlocked_image_groups) == (True, 2)
    assert config.data.crop_scale == (0.5, 1.0)
    assert config.data.templates == ("a {}", "the {}")
    assert config.loss.matryoshka_dims == (64, 128)
    assert (config.optimizer.lr, config.optimizer.clip_norm) == (1.0, 2.0)
    assert type(config.optimizer.lr) is float
    assert type(config.data.crop_scale[1]) is float


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ('"a"', [("a", 1.0)]),
        ('"a::b"', [("a", 1.0), ("b", 1.0)]),
        ('["a", "b::c"]', [("a", 1.0), ("b", 1.0), ("c", 1.0)]),
        ('[{path = "a", weight = 2}, "b"]', [("a", 2.0), ("b", 1.0)]),
        ('{path = "a::b", weight = 0.5}', [("a", 0.5), ("b", 0.5)]),
        ('"s-{000..099}.tar"', [("s-{000..099}.tar", 1.0)]),
    ],
)
@pytest.mark.parametrize("key", ["train", "validation"])
def test_places_with_pairs_have_several_forms(
    read: Read, tmp_path: Path, key: str, train: str, expected: list[tuple[str, float]]
) -> None:
    other = "" if key == "train" else 'train = "x"'
    config = read(f'[model]\nbase = "starter"\n[data]\n{key} = {train}\n{other}')
    places = tuple(SourceConfig(str(tmp_path / path), weight) for path, weight in expected)
    assert getattr(config.data, key) == places


def test_tables_of_places_may_be_written_as_sections(read: Read, tmp_path: Path) -> None:
    config = read(f'{SMALLEST}[[data.validation]]\npath = "a"\nweight = 3\n')
    assert config.data.validation == (SourceConfig(str(tmp_path / "a"), 3.0),)


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
        ("[data.train]\npath = 'a'\nweigth = 2", r"data\.train has no weigth; its keys are path"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(read: Read, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as error:
        read(text if "data.train" not in text else f'[model]\nbase = "starter"\n{text}')
    assert "run.toml: " in str(error.value)


def test_a_key_outside_of_its_section_is_refused(read: Read) -> None:
    with pytest.raises(InputError, match=r"no lr outside of sections; lr belongs to \[optimizer\]"):
        read(f"lr = 1{SMALLEST}")
    with pytest.raises(InputError, match=r"model is a section: write \[model\]"):
        read('model = "starter"')
    with pytest.raises(InputError, match="seed is no section"):
        read(f"{SMALLEST}[seed]\nvalue = 3")


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
def test_a_wrong_type_or_value_is_refused(read: Read, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read(f"{SMALLEST}{text}")


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
        ("", r"\[data\] needs train"),
    ],
)
def test_wrong_data_are_refused(read: Read, data: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read(f'[model]\nbase = "starter"\n[data]\n{data}')


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e300", "-1e300"])
def test_no_key_takes_a_number_that_is_none(read: Read, value: str) -> None:
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
            read(SMALLEST, override)
    with pytest.raises(InputError, match=r"the weight of .*a must be above 0 and up to 1,000,000"):
        read(SMALLEST, f"data.train=[{{path = 'a', weight = {value}}}]")


@pytest.mark.parametrize("weight", ["0", "-1", "1e18", "1_000_001", "-0.0"])
def test_weights_of_places_have_a_range(read: Read, weight: str) -> None:
    with pytest.raises(InputError, match=r"weight of .* 1,000,000, got .*: it is how often its"):
        read(SMALLEST, f"data.train=[{{path = 'a', weight = {weight}}}]")


def test_seeds_have_64_bits(read: Read) -> None:
    assert read(SMALLEST, f"seed={2**64 - 1}").seed == 2**64 - 1
    assert np.random.default_rng([2**64 - 1]).random() < 1
    assert torch.Generator().manual_seed(2**64 - 1).initial_seed() == 2**64 - 1
    with pytest.raises(InputError, match="seed must be a whole number of at most 64 bits, got one"):
        read(SMALLEST, f"seed={2**64}")
    with pytest.raises(InputError, match=r"seed must be 0 or more, got -1$"):
        read(SMALLEST, "seed=-1")


def test_numbers_too_long_to_be_read_are_refused(read: Read) -> None:
    with pytest.raises(InputError, match=r"run\.toml is not valid TOML: Exceeds the limit"):
        read(f"seed = {'1' * 5000}{SMALLEST}")
    with pytest.raises(InputError, match="is not valid TOML: "):
        read(f"{SMALLEST}templates = {'[' * 100_000}")
    with pytest.raises(InputError, match=r"seed must be a whole number, got the text"):
        read(SMALLEST, f"seed={'1' * 5000}")


def test_an_output_that_no_directory_can_have_is_refused(read: Read) -> None:
    for output in ("", r"a\u0000b"):
        with pytest.raises(InputError, match="output needs the directory of the run, got '"):
            read(f'output = "{output}"\n{SMALLEST}')


def test_what_is_no_toml_is_refused_with_its_line(read: Read, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.toml is not valid TOML: .*line 3"):
        read("seed = 1\n[model]\nbase starter\n")
    with pytest.raises(InputError, match="cannot be read"):
        RunConfig.from_toml(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes("# \xe9\n".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read"):
        RunConfig.from_toml(tmp_path / "latin.toml")


def test_a_mark_of_byte_order_is_no_part_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(SMALLEST, encoding="utf-8-sig")
    assert RunConfig.from_toml(tmp_path / "run.toml").model.base == "starter"


def test_a_file_without_model_or_data_says_what_they_need(read: Read) -> None:
    with pytest.raises(InputError, match=r"\[model\] needs either base"):
        read("[data]\ntrain = 'a'")
    with pytest.raises(InputError, match=r"\[data\] needs train"):
        read("[model]\nbase = 'starter'")


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("optimizer.lr=1e-5", "optimizer.lr", 1e-5),
        ("optimizer.lr = 2", "optimizer.lr", 2.0),
        ("model.base=ViT-B-32/openai", "model.base", "ViT-B-32/openai"),
        ('model.base="ViT-B-32/openai"', "model.base", "ViT-B-32/openai"),
        ("model.lock_image=true", "model.lock_image", True),
        ("data.templates=['a {}', 'x=y {}']", "data.templates", ("a {}", "x=y {}")),
        ("data.crop_scale=[0.2, 1]", "data.crop_scale", (0.2, 1.0)),
        ("loss.teacher=2026", "loss.teacher", "2026"),
        ("seed=3", "seed", 3),
        ("watch={keep = 5}", "watch.keep", 5),
    ],
)
def test_overrides_replace_keys(read: Read, override: str, key: str, expected: object) -> None:
    text = f"seed = 1\n{SMALLEST}[optimizer]\nlr = 0.5\nbeta1 = 0.5\n"
    value: Any = read(text, override)
    for part in key.split("."):
        value = getattr(value, part)
    assert value == expected
    assert read(text, override).optimizer.beta1 == 0.5


def test_the_last_override_wins_and_replaces_whole_lists(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    config = read(SMALLEST, "data.train=x", "data.train=['a::b']", "seed=1", "seed=2")
    assert config.data.train == (SourceConfig("/a"), SourceConfig("/b"))
    assert config.seed == 2


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("optimizer.lr", "must be KEY=VALUE"),
        ("=3", "must be KEY=VALUE"),
        ("optimizer.=3", "must be KEY=VALUE"),
        ("optimizer.learning_rate=3", r"did you mean lr\?"),
        ("optimiser.lr=3", r"did you mean \[optimizer\]\?"),
        ("lr=3", r"lr belongs to \[optimizer\]"),
        ("seed.x=3", "seed is no section"),
        ("optimizer=3", "optimizer is a section"),
        ("model.lock_image=True", r"must be true or false, got the text \"True\""),
        ("seed=1\nlr=3", "seed must be a whole number"),
    ],
)
def test_a_wrong_override_is_refused(read: Read, override: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read(SMALLEST, override)


def test_paths_count_from_the_file_and_in_overrides_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project, elsewhere):
        (folder / "models" / "lr=1").mkdir(parents=True)
        (folder / "epoch_3.pt").touch()
    (project / "run.toml").write_text(
        """
        output = "runs/first"
        [model]
        base = "models/lr=1"
        [data]
        train = ["photos", "/absolute", "https://host/a.tar"]
        [loss]
        teacher = "ViT-B-32=epoch_3.pt"
        [watch]
        retention_set = "reference"
        """
    )
    monkeypatch.chdir(elsewhere)
    config = RunConfig.from_toml(Path("../project/run.toml"))
    base = elsewhere / ".." / "project"
    assert config.output == str(base / "runs/first")
    assert config.model.base == str(base / "models/lr=1")
    assert [source.path for source in config.data.train] == [
        str(base / "photos"),
        "/absolute",
        "https://host/a.tar",
    ]
    assert config.loss.teacher == f"ViT-B-32={base / 'epoch_3.pt'}"
    assert config.watch.retention_set == str(base / "reference")

    overrides = ("model.base=local-dir:models", "output=out", "data.validation=photos")
    config = RunConfig.from_toml(project / "run.toml", overrides)
    assert config.model.base == f"local-dir:{elsewhere / 'models'}"
    assert config.output == str(elsewhere / "out")
    assert config.data.validation == (SourceConfig(str(elsewhere / "photos")),)
    assert config.data.train[0].path == str(project / "photos")


@pytest.mark.parametrize("start", ["starter", "ViT-B-32/openai", "hf-hub:org/repo", "x" * 5000])
def test_a_name_that_is_no_path_stays_a_name(read: Read, tmp_path: Path, start: str) -> None:
    (tmp_path / "starter").mkdir()  # the name comes first, as everywhere
    assert read(f'[model]\nbase = "{start}"\n[data]\ntrain = "a"').model.base == start


def test_an_architecture_is_a_path_if_it_ends_so(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = '[model]\narchitecture = "{}"\ntokenizer = "{}"\n[data]\ntrain = "~nobody-here/a"'
    model = read(text.format("ViT-B-32", "words")).model
    assert (model.architecture, model.tokenizer) == ("ViT-B-32", str(tmp_path / "words"))
    config = read(text.format("small.json", "~/words"))
    assert config.model.architecture == str(tmp_path / "small.json")
    assert config.model.tokenizer == "/home/me/words"
    assert config.data.train[0].path == str(tmp_path / "~nobody-here/a")


def _values(hint: Any, key: str) -> st.SearchStrategy[Any]:
    """Return values that a field's type allows; those out of range are left to the classes."""
    options = typing.get_args(hint)
    paths = ("output", "tokenizer", "retention_set", "retention_class_names", "class_names")
    if key in paths:  # paths read back absolute
        return st.text("ab c/.", max_size=5).map(lambda text: f"/r/{text}x")
    if hint is SourceConfig:
        places = st.text("ab{}.\"'\\é", min_size=1, max_size=5).map(lambda text: f"/r/{text}")
        return st.builds(SourceConfig, places, st.floats(0.01, 100))
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(options)
    if typing.get_origin(hint) is tuple:
        if options[-1] is Ellipsis:
            return st.lists(_values(options[0], key), max_size=3).map(tuple)
        return st.tuples(*(_values(option, key) for option in options))
    if options:
        return st.one_of(*(_values(option, key) for option in options))
    if dataclasses.is_dataclass(hint):
        return _configs(hint)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text("ab \n\"'\\=é", max_size=6),
        bool: st.booleans(),
        int: st.integers(-1, 300),
        float: st.floats(0, 2),
        type(None): st.none(),
    }
    return simple[hint]


def _configs(kind: Any) -> st.SearchStrategy[Any]:
    fields = {key: _values(hint, key) for key, hint in field_types(kind).items()}

    @st.composite
    def draw_config(draw: st.DrawFn) -> Any:
        config = SMALLEST_CONFIGS.get(kind, kind)()
        for key, values in fields.items():
            try:
                config = dataclasses.replace(config, **{key: draw(values)})
            except InputError:
                continue  # the classes' own tests see to ranges
        return config

    return draw_config()


SMALLEST_CONFIGS: dict[Any, Callable[[], Any]] = {
    ModelConfig: lambda: ModelConfig(architecture="ViT-B-32"),
    DataConfig: lambda: DataConfig(train=(SourceConfig("/r/a"),)),
    RunConfig: lambda: RunConfig(
        "/r/x", ModelConfig(base="starter"), DataConfig(train=(SourceConfig("/r/a"),))
    ),
}


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=_configs(RunConfig))
def test_what_is_written_reads_back_equal(config: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    config.to_toml(path)
    assert RunConfig.from_toml(path) == config
    config.resolve().to_toml(path)
    assert RunConfig.from_toml(path) == config.resolve()


def test_relative_paths_are_written_so_that_they_mean_the_same_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "run").mkdir()
    config = RunConfig(
        "run", ModelConfig(base="model"), DataConfig(train=(SourceConfig("a::b", 2.0),))
    )
    config.to_toml(tmp_path / "run" / "config.toml")
    monkeypatch.chdir("/")
    assert RunConfig.from_toml(tmp_path / "run" / "config.toml") == RunConfig(
        str(tmp_path / "run"),
        ModelConfig(base=str(tmp_path / "model")),
        DataConfig(train=tuple(SourceConfig(str(tmp_path / name), 2.0) for name in "ab")),
    )


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    config = SMALLEST_CONFIGS[RunConfig]()
    with pytest.raises(InputError, match="cannot be written"):
        config.to_toml(tmp_path / "none" / "config.toml")
