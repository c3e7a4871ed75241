"""Wrong arguments are refused with a clear message by every public function that takes them."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import clipkit
from clipkit.arguments import check_callable, check_share, check_whole, items_of, quoted
from clipkit.curation.filtering import filter_pairs
from clipkit.curation.rules import FilterRules
from clipkit.encoder.pairs import stream_pairs
from clipkit.errors import InputError
from clipkit.evaluation.zero_shot import evaluate_zero_shot
from clipkit.near_duplicates import mark_near_duplicates, near_pairs
from tests.conftest import ROOT
from tests.fake_pairs import ListSource
from tests.fakes import FakeEncoder

starter = functools.cache(clipkit.load)

TABLE = pd.DataFrame({"name": ["cat", "owl"]})


@pytest.mark.parametrize("value", [1, np.int64(1), np.uint8(1)])
def test_whole_numbers_of_any_kind(value: object) -> None:
    assert check_whole(value, "k") == 1


@pytest.mark.parametrize(
    "value", [True, np.True_, 1.0, 2.5, "1", None, np.array([1]), np.float32(1), 0, -1]
)
def test_what_is_no_whole_number_is_named(value: object) -> None:
    with pytest.raises(InputError, match=r"^rows must be (a whole number of 1 or more|at least 1)"):
        check_whole(value, "rows")


@pytest.mark.parametrize("value", [0, 1, np.float32(0.5), np.int64(1)])
def test_shares_of_any_kind(value: Any) -> None:
    assert check_share(value, "threshold") == float(value)


@pytest.mark.parametrize("value", [True, "x", None, -0.1, 1.1, float("nan"), [0.5]])
def test_what_is_no_share_is_named(value: object) -> None:
    with pytest.raises(InputError, match=r"^threshold must be between 0 and 1, got"):
        check_share(value, "threshold")


@pytest.mark.parametrize(
    "values",
    [["a"], ("a",), {"a": 1}, {"a"}, iter(["a"]), np.array(["a"]), pd.Series(["a"], index=[7])],
)
def test_several_of_any_kind(values: object) -> None:
    assert list(items_of(values, "texts must be a list")) == ["a"]


def public_calls(library: clipkit.PhotoLibrary) -> dict[str, Callable[[Any], object]]:
    """Return every public call that takes several things, by what it calls them."""
    encoder = starter()
    return {
        "images": encoder.encode_images,
        "texts": encoder.encode_texts,
        "ensembles": encoder.encode_prompts,
        "class names": lambda given: clipkit.ZeroShotClassifier(encoder, given),
        "templates": lambda given: clipkit.ZeroShotClassifier(encoder, ["a"], templates=given),
        "exclude": lambda given: library.sync(exclude=given),
        "overrides": lambda given: clipkit.RunConfig.from_toml(ROOT / "demo" / "train.toml", given),
    }


NAMES = ["images", "texts", "ensembles", "class names", "templates", "exclude", "overrides"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [5, TABLE, np.array("cat")], ids=["number", "table", "scalar"])
def test_what_is_not_several_is_refused(name: str, given: object, tmp_path: Path) -> None:
    library = clipkit.PhotoLibrary.open(tmp_path, FakeEncoder())
    with pytest.raises(InputError, match=f"^{name} must be .*, got"):
        public_calls(library)[name](given)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"templates", "ensembles"}))
def test_one_string_is_not_several(name: str, tmp_path: Path) -> None:
    library = clipkit.PhotoLibrary.open(tmp_path, FakeEncoder())
    with pytest.raises(InputError, match=f"^{name} must be .*, got .*put it in a list"):
        public_calls(library)[name]("*.png")


def calls_with_progress(
    library: clipkit.PhotoLibrary, folder: Path
) -> dict[str, Callable[[Any], object]]:
    """Return every call that takes a callback for progress."""
    encoder, image = starter(), ROOT / "demo" / "samples" / "cat.jpg"
    classifier = clipkit.ZeroShotClassifier(encoder, ["cat"])
    source = ListSource([])
    pixels = np.zeros((1, 3, *encoder.preprocess.size), np.float32)
    pool = clipkit.EncoderPool(encoder, ["cpu"])  # its process starts when it is first needed
    rows = np.eye(2, dtype=np.float32)
    return {
        "texts": lambda given: encoder.encode_texts(["a"], progress=given),
        "prompts": lambda given: encoder.encode_prompts([["a"]], progress=given),
        "images": lambda given: encoder.encode_images([image], progress=given),
        "readable": lambda given: encoder.encode_readable_images([image], progress=given),
        "stream": lambda given: next(encoder.stream_images([image], progress=given)),
        "pixels": lambda given: encoder.encode_pixel_values(pixels, progress=given),
        "pool": lambda given: pool.encode_images([image], progress=given),
        "readable in a pool": lambda given: pool.encode_readable_images([image], progress=given),
        "stream of a pool": lambda given: next(pool.stream_images([image], progress=given)),
        "texts in a pool": lambda given: pool.encode_texts(["a"], progress=given),
        "classifier": lambda given: clipkit.ZeroShotClassifier(encoder, ["a"], progress=given),
        "classify": lambda given: classifier.classify([image], progress=given),
        "classes of a stream": lambda given: next(classifier.stream([image], progress=given)),
        "sync": lambda given: library.sync(progress=given),
        "duplicates": lambda given: library.duplicates(progress=given),
        "compile": lambda given: clipkit.compile_model(folder, progress=given),
        "pairs": lambda given: next(stream_pairs(encoder, source, progress=given)),
        "evaluate": lambda given: evaluate_zero_shot(encoder, [image], [0], ["a"], progress=given),
        "filter": lambda given: filter_pairs(source, FilterRules(), progress=given),
        "near": lambda given: mark_near_duplicates(rows, epsilon=0.1, progress=given),
        "near pairs": lambda given: next(near_pairs(rows, 0.5, progress=given)),
    }


@pytest.mark.parametrize("given", [True, False, "bar", 1])
def test_a_switch_is_no_function_for_progress(given: object, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    library = clipkit.PhotoLibrary.open(tmp_path / "photos", FakeEncoder())
    library.sync()
    for name, call in calls_with_progress(library, tmp_path / "nowhere").items():
        with pytest.raises(InputError, match=r"^progress must be a function of .*, got") as caught:
            call(given)
        assert str(caught.value).endswith(repr(given)), name


@pytest.mark.parametrize("path", [None, 5, b"photos"])
def test_what_is_no_path_is_refused(path: Any, tmp_path: Path) -> None:
    library = clipkit.PhotoLibrary.open(tmp_path, FakeEncoder())
    calls: list[Callable[[], object]] = [
        lambda: clipkit.load(path),
        lambda: clipkit.PhotoLibrary.open(path),
        lambda: clipkit.PhotoLibrary.open_all(path),
        lambda: clipkit.PhotoLibrary.open_nearest(path),
        lambda: clipkit.RunConfig.from_toml(path),
        lambda: library.export(path),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"must be a path \(a string or a Path\), got"):
            call()


@pytest.mark.parametrize("encoder", ["starter", 5])
def test_a_name_is_no_encoder(encoder: Any, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"encoder must be an Encoder, as clipkit\.load\(NAME\) returns it, got"
    ):
        clipkit.ZeroShotClassifier(encoder, ["cat"])
    with pytest.raises(
        InputError, match=r"encoder must be an Encoder, as clipkit\.load\(NAME\) returns it, got"
    ):
        clipkit.PhotoLibrary.open(tmp_path, encoder)


def test_a_folder_is_no_place(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"made by PhotoLibrary\.open\(folder, encoder\), got .*Path"
    ):
        clipkit.PhotoLibrary(tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [None, "demo/train.toml", {"output": "x"}])
def test_a_path_is_no_config(config: Any) -> None:
    with pytest.raises(
        InputError, match=r"config must be a RunConfig, as RunConfig\.from_toml returns it, got"
    ):
        clipkit.train(config)


@pytest.mark.parametrize("size", [1.5, "4", True])
def test_batch_sizes_are_whole_numbers(size: Any) -> None:
    encoder = starter()
    for call in (encoder.encode_images, encoder.encode_texts, encoder.encode_prompts):
        with pytest.raises(InputError, match=r"^batch_size must be a whole number of 1 or more"):
            call([], batch_size=size)


@pytest.mark.parametrize("box", [5, None, (5,), (1, 2, 3), "ab", (0, 5), (1.5, 2)])
def test_a_wrong_box_is_not_said_to_be_a_damaged_image(box: Any) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(InputError, match=r"box") as caught:
        clipkit.render_thumbnail(image, box=box)
    assert type(caught.value) is InputError


@pytest.mark.parametrize("quality", ["a", None, 50.5])
def test_the_quality_of_a_thumbnail_is_a_whole_number(quality: Any) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(InputError, match=r"^quality must be a whole number"):
        clipkit.render_thumbnail(image, box=(2, 2), quality=quality)


@pytest.mark.parametrize(
    "rows",
    [
        ["photo.jpg"],
        [[1.0], [1.0, 2.0]],
        torch.ones(2, 2, requires_grad=True),
        torch.ones(2, 2, dtype=torch.bfloat16),
    ],
    ids=["paths", "ragged", "gradient", "bfloat16"],
)
def test_what_is_no_array_of_numbers_is_refused(rows: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: clipkit.cosine_similarity(rows, [[1.0]]),
        lambda: clipkit.normalize_rows(rows),
        lambda: clipkit.mix_embeddings(rows, [1.0]),
        lambda: clipkit.mix_embeddings([[1.0]], rows),
        lambda: clipkit.EmbeddingArray(rows, "5fd1"),
        lambda: clipkit.top_k(rows, 1),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()


def test_weights_may_be_a_tensor() -> None:
    mixed = clipkit.mix_embeddings([[1.0, 0.0], [0.0, 1.0]], torch.tensor([3.0, -4.0]))  # type: ignore[arg-type]
    np.testing.assert_allclose(mixed, [[0.6, -0.8]], atol=1e-6)


@pytest.mark.parametrize("domain", ["", " ", 5])
def test_a_domain_is_a_word(domain: Any) -> None:
    with pytest.raises(InputError, match=r"^domain must be a word"):
        clipkit.ZeroShotClassifier(FakeEncoder(), ["cat"], domain=domain)


def test_an_array_of_paths_is_several_images(tmp_path: Path) -> None:
    paths = np.array([str(tmp_path / "a.jpg")])
    with pytest.raises(clipkit.ImageReadError, match=r"a\.jpg: no such file"):
        starter().encode_images(paths)


def test_progress_knows_how_many_images_a_series_has() -> None:
    images = [np.zeros((4, 4, 3), np.uint8)] * 2
    told: list[tuple[int, int | None]] = []
    series = pd.Series(images)
    starter().encode_images(series, progress=lambda *at: told.append(at))
    assert told[-1] == (2, 2)


def test_an_unknown_filter_is_named_with_those_that_exist(tmp_path: Path) -> None:
    library = clipkit.PhotoLibrary.open(tmp_path, FakeEncoder())
    calls: list[Callable[[], object]] = [
        lambda: library.search("cat", min_size=(6, 4)),  # type: ignore[call-arg]
        lambda: library.embeddings(min_size=(6, 4)),  # type: ignore[call-arg]
        lambda: library.export(tmp_path / "out", min_size=(6, 4)),  # type: ignore[call-arg]
    ]
    for call in calls:
        with pytest.raises(
            InputError, match=r"no filter 'min_size'; filters are path, .*min_width"
        ):
            call()


@pytest.mark.parametrize("word", [5, None, ["cat"]])
def test_a_typed_query_is_strings(word: Any) -> None:
    with pytest.raises(InputError, match=r"must be a string, got " + re.escape(repr(word))):
        clipkit.parse_query(word)


def test_a_query_is_parts() -> None:
    part = clipkit.QueryPart("cat")
    assert clipkit.Query([part]) == clipkit.Query((part,))  # type: ignore[arg-type]
    for wrong in ("cat", ["cat"], part, (5,)):
        with pytest.raises(InputError, match=r"must be a tuple of QueryPart, got"):
            clipkit.Query(wrong)  # type: ignore[arg-type]


def test_a_config_takes_paths_and_numbers_of_numpy(tmp_path: Path) -> None:
    sections = {"output": tmp_path, "model": {"base": "starter"}, "data": {"train": tmp_path}}
    config = clipkit.RunConfig.from_dict(sections | {"seed": np.int64(3)})
    texts = {"output": str(tmp_path), "data": {"train": str(tmp_path)}, "seed": 3}
    assert config == clipkit.RunConfig.from_dict(sections | texts)


@pytest.mark.parametrize("content", [None, [1], "a"])
def test_a_config_is_a_dict(content: Any) -> None:
    with pytest.raises(InputError, match=r"^a run must be a dict of sections and keys"):
        clipkit.RunConfig.from_dict(content)


def test_an_override_is_a_string() -> None:
    with pytest.raises(InputError, match=r"^an override must be a string such as seed=3, got 5"):
        clipkit.RunConfig.from_toml(ROOT / "demo" / "train.toml", [5])  # type: ignore[list-item]


def test_the_directory_of_a_run_is_answered_with_that_of_its_model(tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "open_clip_config.json").write_text("{}")
    with pytest.raises(clipkit.CheckpointError, match=r"is not a checkpoint.*/final does$"):
        clipkit.load(tmp_path)


def test_every_warning_of_the_library_is_a_clipkit_warning() -> None:
    for name in clipkit.__all__:
        if name.endswith("Warning"):
            assert issubclass(getattr(clipkit, name), clipkit.ClipkitWarning)
    assert "CutOffImageWarning" in clipkit.__all__


def test_texts_in_a_message_are_few_and_short() -> None:
    assert quoted(["a", "b"]) == "'a', 'b'"
    assert quoted(list("abcdefg")).endswith("'e' and 2 more")
    assert len(quoted(["x" * 100_000])) < 100


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (3, "on_step must be a function of (step, metrics), got int 3"),
        (lambda step: None, "on_step must be a function of (step, metrics), got"),
        (lambda step, *, metrics: None, "on_step must be a function of (step, metrics), got"),
        (ListSource, "on_step must be a function of (step, metrics), got type <class"),
    ],
)
def test_what_cannot_be_called_with_as_many_values_is_refused(value: Any, problem: str) -> None:
    with pytest.raises(InputError, match=re.escape(problem)):
        check_callable(value, "on_step", "step", "metrics")


@pytest.mark.parametrize(
    "value",
    [
        print,
        max,
        lambda a, b, c=3: None,
        functools.partial(lambda a, b, c: None, 1),
        {}.setdefault,
    ],
)
def test_what_can_be_called_or_does_not_say_so_is_taken(value: Any) -> None:
    check_callable(value, "on_step", "step", "metrics")
