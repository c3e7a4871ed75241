"""RUN.toml: defaults, overrides, paths, earlier names; what is written reads back equal."""

import dataclasses
import importlib
import json
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipkit.errors import InputError, MissingExtraError
from clipkit.training.config import OptimizerConfig, RunConfig, WatchConfig
from clipkit.training.config_errors import field_types
from clipkit.training.data_config import DataConfig, SourceConfig
from clipkit.training.model_config import ModelConfig
from tests.training.conftest import SMALLEST_RUN, ReadRun


def test_the_smallest_file_has_every_default(read_run: ReadRun, tmp_path: Path) -> None:
    assert read_run(SMALLEST_RUN) == RunConfig(
        output=str(tmp_path / "run"),
        model=ModelConfig(base="starter"),
        data=DataConfig(train=(SourceConfig(str(tmp_path / "photos")),)),
    )


def test_values_come_as_the_types_of_their_fields(read_run: ReadRun) -> None:
    config = read_run(
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
    read_run: ReadRun, tmp_path: Path, key: str, train: str, expected: list[tuple[str, float]]
) -> None:
    other = "" if key == "train" else 'train = "x"'
    config = read_run(f'[model]\nbase = "starter"\n[data]\n{key} = {train}\n{other}')
    places = tuple(SourceConfig(str(tmp_path / path), weight) for path, weight in expected)
    assert getattr(config.data, key) == places


def test_tables_of_places_may_be_written_as_sections(read_run: ReadRun, tmp_path: Path) -> None:
    config = read_run(f'{SMALLEST_RUN}[[data.validation]]\npath = "a"\nweight = 3\n')
    assert config.data.validation == (SourceConfig(str(tmp_path / "a"), 3.0),)


def test_numbers_too_long_to_be_read_are_refused(read_run: ReadRun) -> None:
    with pytest.raises(InputError, match=r"run\.toml is not valid TOML: Exceeds the limit"):
        read_run(f"seed = {'1' * 5000}{SMALLEST_RUN}")
    with pytest.raises(InputError, match="is not valid TOML: "):
        read_run(f"{SMALLEST_RUN}templates = {'[' * 100_000}")
    with pytest.raises(InputError, match=r"seed must be a whole number, got the text"):
        read_run(SMALLEST_RUN, f"seed={'1' * 5000}")


def test_what_is_no_toml_is_refused_with_its_line(read_run: ReadRun, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.toml is not valid TOML: .*line 3"):
        read_run("seed = 1\n[model]\nbase starter\n")
    with pytest.raises(InputError, match="cannot be read"):
        RunConfig.from_toml(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes("# \xe9\n".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read"):
        RunConfig.from_toml(tmp_path / "latin.toml")


def test_a_mark_of_byte_order_is_no_part_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(SMALLEST_RUN, encoding="utf-8-sig")
    assert RunConfig.from_toml(tmp_path / "run.toml").model.base == "starter"


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
def test_overrides_replace_keys(
    read_run: ReadRun, override: str, key: str, expected: object
) -> None:
    text = f"seed = 1\n{SMALLEST_RUN}[optimizer]\nlr = 0.5\nbeta1 = 0.5\n"
    value: Any = read_run(text, override)
    for part in key.split("."):
        value = getattr(value, part)
    assert value == expected
    assert read_run(text, override).optimizer.beta1 == 0.5


def test_the_last_override_wins_and_replaces_whole_lists(
    read_run: ReadRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    config = read_run(SMALLEST_RUN, "data.train=x", "data.train=['a::b']", "seed=1", "seed=2")
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
def test_a_wrong_override_is_refused(read_run: ReadRun, override: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_run(SMALLEST_RUN, override)


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
def test_a_name_that_is_no_path_stays_a_name(read_run: ReadRun, tmp_path: Path, start: str) -> None:
    (tmp_path / "starter").mkdir()  # the name comes first, as everywhere
    assert read_run(f'[model]\nbase = "{start}"\n[data]\ntrain = "a"').model.base == start


def test_both_paths_of_a_described_file_count_from_the_run(
    read_run: ReadRun, tmp_path: Path
) -> None:
    config = read_run('output = "run"\n[model]\nbase = "mine.json=logs/epoch_3.pt"\n')
    assert config.model.base == f"{tmp_path / 'mine.json'}={tmp_path / 'logs/epoch_3.pt'}"


def test_an_architecture_is_a_path_if_it_ends_so(
    read_run: ReadRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = '[model]\narchitecture = "{}"\ntokenizer = "{}"\n[data]\ntrain = "~nobody-here/a"'
    model = read_run(text.format("ViT-B-32", "words")).model
    assert (model.architecture, model.tokenizer) == ("ViT-B-32", str(tmp_path / "words"))
    config = read_run(text.format("small.json", "~/words"))
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


@pytest.mark.slow
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


def test_a_dict_reads_as_a_file_does_and_back(tmp_path: Path) -> None:
    content = {
        "output": "run",
        "model": {"base": "starter", "lock_image": True},
        "data": {"train": [{"path": "a", "weight": 2}, "b::c"], "templates": ("a {}",)},
        "optimizer": {"lr": None, "beta1": np.float32(0.5)},
    }
    config = RunConfig.from_dict(content, folder=tmp_path)
    assert config == RunConfig(
        str(tmp_path / "run"),
        ModelConfig(base="starter", lock_image=True),
        DataConfig(
            train=tuple(
                SourceConfig(str(tmp_path / name), weight)
                for name, weight in (("a", 2.0), ("b", 1.0), ("c", 1.0))
            ),
            templates=("a {}",),
        ),
        optimizer=OptimizerConfig(beta1=0.5),
    )
    assert content["data"]["train"][1] == "b::c"  # type: ignore[index]
    for each in (config, config.resolve()):
        assert RunConfig.from_dict(json.loads(json.dumps(each.to_dict()))) == each


TRAINS: dict[str, Any] = {
    "text": "a",
    "two in a text": "a::b",
    "path": Path("a"),
    "list": ["a", Path("b")],
    "table": {"path": Path("a"), "weight": np.float32(2)},
    "tables": ({"path": "a::b", "weight": 2}, "c"),
    "source": SourceConfig(Path("a"), 2),  # type: ignore[arg-type]
    "sources": [SourceConfig("a::b", 0.5), "c"],
}


@pytest.mark.parametrize("name", TRAINS)
def test_python_takes_what_a_dict_takes_with_the_same_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    model = {"base": Path("model"), "unlocked_text_layers": np.int64(0)}
    data: dict[str, Any] = {
        "train": TRAINS[name],
        "validation": TRAINS[name],
        "crop_scale": [np.float32(0.5), 1],
        "max_bad_fraction": None,
        "class_names": Path("names.txt"),
    }
    optimizer: dict[str, Any] = {"lr": np.float32(0.5), "beta1": None}
    watch = {"retention_set": Path("~/kept")}
    content = {"output": Path("~/run"), "model": model, "data": data, "seed": np.int64(3)}
    expected = RunConfig.from_dict({**content, "optimizer": optimizer, "watch": watch})

    built = RunConfig(
        Path("~/run"),  # type: ignore[arg-type]
        ModelConfig(**model),  # type: ignore[arg-type]
        DataConfig(**data),
        np.int64(3),  # type: ignore[arg-type]
        optimizer=OptimizerConfig(**optimizer),
        watch=WatchConfig(**watch),  # type: ignore[arg-type]
    )
    of_dicts = RunConfig(**content, optimizer=optimizer, watch=watch)  # type: ignore[arg-type]
    of_parts = RunConfig.from_dict(
        {**content, "data": DataConfig(**data), "optimizer": built.optimizer, "watch": watch}
    )

    assert built == of_dicts
    assert built.resolve() == expected.resolve()
    assert of_parts == expected
    built.to_toml(tmp_path / "run.toml")
    assert RunConfig.from_toml(tmp_path / "run.toml") == expected
    assert expected.data.train[0].path == str(tmp_path / "a")
    assert expected.resolve().output == str(Path("~/run").expanduser())


def test_names_of_an_earlier_version_are_understood_and_told_of_once(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    text = """
        [model]
        {} = "starter"
        [data]
        train = "photos"
        [watch]
        {} = "reference"
        {} = "names.json"
        {} = false
        """
    old = ("start", "tripwire", "tripwire_class_names", "average_with_start")
    new = ("base", "retention_set", "retention_class_names", "wise_ft")
    lines: list[str] = []

    path.write_text(text.format(*old))
    config = RunConfig.from_toml(path, ["watch.tripwire=samples"], say=lines.append)

    assert lines == [
        f"{path} has names of an earlier version, which are understood: model.start is now "
        "model.base, watch.tripwire is now watch.retention_set, watch.tripwire_class_names is now "
        "watch.retention_class_names, watch.average_with_start is now watch.wise_ft"
    ]
    path.write_text(text.format(*new))
    assert config == RunConfig.from_toml(path, ["watch.retention_set=samples"], say=lines.append)
    assert len(lines) == 1
    config.to_toml(path)
    assert not any(f"\n{name} =" in path.read_text() for name in old)


def test_a_setting_under_two_names_is_refused(read_run: ReadRun) -> None:
    words = r"watch\.tripwire is an earlier name of watch\.retention_set, and both are set"
    with pytest.raises(InputError, match=words):
        read_run(f'{SMALLEST_RUN}[watch]\ntripwire = "a"\nretention_set = "b"')


def test_a_path_that_is_no_utf_8_cannot_be_written_and_nothing_is(tmp_path: Path) -> None:
    config = SMALLEST_CONFIGS[RunConfig]()
    path = tmp_path / "run.toml"
    config.to_toml(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="cannot be written"):
        dataclasses.replace(config, output="/r/caf\udce9").to_toml(path)
    assert path.read_bytes() == before


def test_without_pydantic_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("clipkit.training", "clipkit.training.config"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(MissingExtraError, match=r"^Training .*clipkit\[torch\]"):
        importlib.import_module("clipkit.training.config")
