"""Texts and prompts to embeddings: what is computed, what is looked up, what is warned of."""

import sqlite3
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas
import pytest
from numpy.typing import NDArray

import clipkit
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.text_cache import TextCache
from clipkit.encoder.text_embedding import UnknownTextWarning
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import TextCutWarning, Tokenizer
from clipkit.runtime.base import Scoring

SPACE = "space"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "texts.sqlite"


class CountingRuntime:
    """A text tower whose feature is (first token, number of texts in the call)."""

    engine, device, embed_dim, space_id = "fake", "cpu", 2, SPACE
    image_batch = 8
    image_workers = 1
    scoring = Scoring(log_scale=0.0)

    def __init__(self, precision: str = "fp32") -> None:
        self.precision = precision
        self.num_texts = 0

    may_weights_change = False

    def have_weights_changed(self) -> bool:
        return False

    def text_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        self.num_texts += len(token_ids)
        counts = np.full(len(token_ids), len(token_ids))
        return np.stack([token_ids[:, 0], counts], axis=1).astype(np.float32)

    def image_features(self, pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        raise AssertionError("no image was asked for")


def letters() -> Tokenizer:
    from tokenizers import Tokenizer as Vocabulary
    from tokenizers import models, pre_tokenizers

    ids = {letter: number for number, letter in enumerate("?abcdefgh")}
    vocabulary = Vocabulary(models.WordLevel(ids, unk_token="?"))
    vocabulary.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return Tokenizer(lambda: vocabulary, clean=str.strip, context_length=4)


def no_vocabulary() -> Tokenizer:
    def read() -> None:
        raise AssertionError("the vocabulary was read")

    return Tokenizer(read, clean=str.strip, context_length=4)  # type: ignore[arg-type]


def make_encoder(
    runtime: CountingRuntime, path: Path | None, tokenizer: Tokenizer | None = None
) -> Encoder:
    preprocess = Preprocess(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    cache = None if path is None else TextCache(path)
    return Encoder(runtime, preprocess, tokenizer or letters(), name="fake", text_cache=cache)


def test_known_texts_need_neither_vocabulary_nor_tower(path: Path) -> None:
    runtime = CountingRuntime()
    first = make_encoder(runtime, path).encode_texts(["a", "b", "a"])
    assert runtime.num_texts == 2  # each once
    np.testing.assert_array_equal(first[0], first[2])
    again = CountingRuntime()
    second = make_encoder(again, path, no_vocabulary()).encode_texts(["a", "b", "a"])
    assert again.num_texts == 0
    assert second.tobytes() == first.tobytes()
    assert second.dtype == np.float32
    assert second.shape == (3, 2)


def test_only_unknown_texts_are_computed_and_all_come_in_order(path: Path) -> None:
    make_encoder(CountingRuntime(), path).encode_texts(["b"])
    runtime = CountingRuntime()
    calls: list[tuple[int, int | None]] = []
    rows = make_encoder(runtime, path).encode_texts(
        ["a", "b", "c", "d"], batch_size=1, progress=lambda *call: calls.append(call)
    )
    assert runtime.num_texts == 3
    # Features (token, 1) of a: 1, b: 2, c: 3, d: 4; scaled to norm 1.
    expected = np.array([[1, 1], [2, 1], [3, 1], [4, 1]]) / np.sqrt([[2], [5], [10], [17]])
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    assert calls == [(2, 4), (3, 4), (4, 4)]


def test_a_cut_text_warns_every_time(path: Path) -> None:
    for _ in range(2):
        runtime = CountingRuntime()
        with pytest.warns(TextCutWarning, match="left out: 'efgh'"):
            make_encoder(runtime, path).encode_texts(["a", "abcdefgh"])
    assert runtime.num_texts == 1  # "a" is known, the other is not kept


def test_precisions_have_rows_of_their_own(path: Path) -> None:
    make_encoder(CountingRuntime("fp32"), path).encode_texts(["a"])
    runtime = CountingRuntime("int8")
    make_encoder(runtime, path).encode_texts(["a"])
    assert runtime.num_texts == 1


def test_labels_of_other_numerics_have_rows_of_their_own(path: Path) -> None:
    prompts = [("a", "b"), ("c",)]
    make_encoder(CountingRuntime("fp32"), path).encode_prompts(prompts)
    for name, value in (("precision", "int8"), ("engine", "torch"), ("device", "cuda:1")):
        runtime = CountingRuntime("fp32")
        setattr(runtime, name, value)
        make_encoder(runtime, path).encode_prompts(prompts)
        assert runtime.num_texts == 3
    again = CountingRuntime("fp32")
    make_encoder(again, path, no_vocabulary()).encode_prompts(prompts)
    assert again.num_texts == 0


def test_prompts_are_kept_as_one_row_a_label(path: Path) -> None:
    # Features (token, 3) of a: 1, b: 2, c: 3, three in a call; each of norm 1, then their mean.
    first = make_encoder(CountingRuntime(), path).encode_prompts([("a", "b"), ("c",)])
    rows = np.array([[1, 3], [2, 3], [3, 3]]) / np.sqrt([[10], [13], [18]])
    mean = (rows[0] + rows[1]) / 2
    expected = [mean / np.linalg.norm(mean), rows[2]]
    np.testing.assert_allclose(first, expected, rtol=1e-6)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM texts").fetchone() == (2,)
    runtime = CountingRuntime()
    make_encoder(runtime, path).encode_texts(["a", "b"])
    assert runtime.num_texts == 2  # neither text was asked for alone
    assert make_encoder(runtime, path).encode_prompts([("b", "a"), ("a", "b")]).shape == (2, 2)
    assert runtime.num_texts == 4  # in another order, an ensemble of its own


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_ensembles_of_any_length_come_out_in_any_batches(batch_size: int) -> None:
    class OneByOne(CountingRuntime):
        def text_features(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.concatenate(
                [super(OneByOne, self).text_features(row[None]) for row in token_ids]
            )

    ensembles = [("a", "b", "c", "d", "e"), ("b",), ("f", "a"), ("b",), ("g", "h")]
    calls: list[tuple[int, int | None]] = []
    rows = make_encoder(OneByOne(), None).encode_prompts(
        ensembles, batch_size=batch_size, progress=lambda *call: calls.append(call)
    )
    for row, ensemble in zip(rows, ensembles, strict=True):
        features = np.array([["?abcdefgh".index(letter), 1] for letter in ensemble], dtype=float)
        mean = (features / np.linalg.norm(features, axis=1, keepdims=True)).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), rtol=1e-5)
    assert calls[-1] == (11, 11)
    assert sorted(calls) == calls


def test_many_texts_at_once_drive_nothing_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipkit.encoder.text_embedding.KEPT_AT_ONCE", 3)
    make_encoder(CountingRuntime(), path).encode_texts(["a", "b", "c"])
    content = path.read_bytes()
    make_encoder(CountingRuntime(), path).encode_texts(["d", "e", "f", "g"])
    assert path.read_bytes() == content


@pytest.mark.parametrize("is_off", [True, False])
def test_the_variable_holds_for_texts_and_labels_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_off: bool
) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    monkeypatch.setenv("CLIPKIT_NO_CACHE", "1" if is_off else "")
    counts = []
    for _ in range(2):
        encoder = clipkit.load()
        tower = encoder._runtime.text_features
        with patch.object(encoder._runtime, "text_features", wraps=tower) as calls:
            for _ in range(2):
                clipkit.ZeroShotClassifier(encoder, ["cat", "dog"], templates="photo")
                encoder.encode_texts(["a cat"])
        counts.append([len(call.args[0]) for call in calls.call_args_list])
    assert counts == ([[2, 1, 2, 1]] * 2 if is_off else [[2, 1], []])
    assert (tmp_path / "cache").exists() != is_off


def test_an_unknown_text_warns_every_time(path: Path) -> None:
    for _ in range(2):
        runtime = CountingRuntime()
        with pytest.warns(UnknownTextWarning, match="these texts .*: 'xyz'; use other words"):
            make_encoder(runtime, path).encode_texts(["a", "xyz"])
    assert runtime.num_texts == 1  # "a" is known, the other is not kept


@pytest.mark.parametrize("text", ["a!", "xya", "  ", ""])
def test_a_text_with_a_known_word_or_without_any_is_no_fault(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_encoder(CountingRuntime(), None).encode_texts([text])


def test_texts_come_in_anything_that_can_be_gone_through() -> None:
    expected = make_encoder(CountingRuntime(), None).encode_texts(["a", "b"])
    kinds = [np.array(["a", "b"]), pandas.Series(["a", "b"], index=[5, 2]), ("a", "b"), iter("ab")]
    for texts in kinds:
        rows = make_encoder(CountingRuntime(), None).encode_texts(texts)
        np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "got NoneType"),
        (7, "got int"),
        (b"a cat", "put it in a list"),
        (["a", None], "got NoneType in place 2"),
        ("a cat", "put it in a list"),
        (np.array("a"), "got ndarray"),
    ],
)
def test_what_is_no_text_is_told(texts: Any, message: str) -> None:
    encoder = make_encoder(CountingRuntime(), None)
    for method in (encoder.encode_texts, encoder.tokenize):
        with pytest.raises(clipkit.InputError, match=message):
            method(texts)
    with pytest.raises(clipkit.InputError, match="ensemble 2 of 2 has no prompt"):
        encoder.encode_prompts([["a"], []])


def test_wrong_texts_are_refused_with_a_cache_too(path: Path) -> None:
    encoder = make_encoder(CountingRuntime(), path)
    with pytest.raises(clipkit.InputError, match="the single str 'a cat'"):
        encoder.encode_texts("a cat")
    with pytest.raises(clipkit.InputError, match="got int"):
        encoder.encode_texts([3])  # type: ignore[list-item]
    assert encoder.encode_texts([]).shape == (0, 2)


def test_a_useless_cache_changes_nothing(path: Path) -> None:
    path.mkdir(parents=True)
    words = ["a", "b", "a", "c"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = make_encoder(CountingRuntime(), path).encode_texts(words)
    without = make_encoder(CountingRuntime(), None).encode_texts(words)
    assert rows.tobytes() == without.tobytes()
