"""Token ids of a vocabulary that is looked up, against those of the whole one."""

import functools
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers

from clipkit.errors import CheckpointError
from clipkit.inputs import vocabulary_lookup
from clipkit.inputs.tokenizer import TextCutWarning
from clipkit.inputs.tokenizer import Tokenizer as ClipkitTokenizer
from clipkit.inputs.vocabulary_lookup import VocabularyLookup, write_lookup

TEXTS = (
    "a red boat on a lake",
    "",
    "  two  spaces ",
    "A Photo of a SIAMESE cat!",
    "é à ñ Ünïcödé naïve café",
    "😀👍🏽 🇩🇪 漢字 한국어 مرحبا",
    "xyzzy " * 40,
    "null \0 and \x1b",
)
CORPUS = ["a red boat on a lake", "the cat sleeps", "boats and lakes and cats", "café naïve ü 12"]
OPTIONS: dict[str, dict[str, Any]] = {
    "bytes instead of unknown": {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True},
    "unknown": {"unk_token": "<unk>"},
    "one unknown for several": {"unk_token": "<unk>", "fuse_unk": True},
    "nothing for unknown": {},
    "whole words first": {"unk_token": "<unk>", "ignore_merges": True},
    "ends of words": {"unk_token": "<unk>", "end_of_word_suffix": "</w>"},
}


def made_vocabulary(options: dict[str, Any]) -> Tokenizer:
    """A trained byte-pair vocabulary with every option of the model, and two marks."""
    kind = Tokenizer(models.BPE(**options))
    kind.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    kind.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.BpeTrainer(
        vocab_size=258 + 80,
        special_tokens=["<pad>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))],
        end_of_word_suffix=options.get("end_of_word_suffix", ""),
        show_progress=False,
    )
    kind.train_from_iterator(CORPUS * 3, trainer)
    content = json.loads(kind.to_str())
    content["added_tokens"] = []
    made = Tokenizer.from_str(json.dumps(content))
    made.add_special_tokens([AddedToken("<pad>"), AddedToken("<unk>")])
    made.add_tokens([AddedToken("Lake View", normalized=True)])  # no token of the model's
    return made


@pytest.fixture(params=OPTIONS)
def whole(request: pytest.FixtureRequest, without_limit: None) -> Tokenizer:
    return made_vocabulary(OPTIONS[request.param])


@pytest.fixture
def without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a vocabulary of a few hundred tokens be looked up as if it were large."""
    monkeypatch.setattr(vocabulary_lookup, "_TOKENS_A_PART", 0.01)


def test_ids_and_offsets_are_those_of_the_whole_vocabulary(
    whole: Tokenizer, tmp_path: Path
) -> None:
    path = tmp_path / "vocabulary.sqlite"
    assert write_lookup(whole, path)
    for text in TEXTS:
        found, expected = VocabularyLookup(path).vocabulary_of([text]), whole.encode(text)
        assert found is not None
        encoding = found.encode(text)
        assert encoding.ids == expected.ids
        assert encoding.offsets == expected.offsets
        assert found.get_vocab_size() < whole.get_vocab_size()
    together = VocabularyLookup(path).vocabulary_of(TEXTS)
    assert together is not None
    assert [e.ids for e in together.encode_batch(list(TEXTS))] == [
        e.ids for e in whole.encode_batch(list(TEXTS))
    ]


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(TEXTS))
def test_the_starters_ids_are_those_of_its_whole_vocabulary(
    starter_folder: Path, text: str
) -> None:
    whole = starter_vocabulary(starter_folder)
    found = VocabularyLookup(
        starter_folder / "vocabulary.sqlite", starter_folder / "tokenizer.json"
    ).vocabulary_of([text])
    assert found is not None
    assert found.encode(text).ids == whole.encode(text).ids


@functools.cache
def starter_vocabulary(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.mark.usefixtures("without_limit")
def test_word_pieces_are_those_of_the_whole_vocabulary(tmp_path: Path) -> None:
    tokens = ["[UNK]", "boat", "##s", "##boat", "b", "##o", "##a", "##t", "##house", "a"]
    model = models.WordPiece(
        {token: number for number, token in enumerate(tokens)},
        unk_token="[UNK]",
        max_input_chars_per_word=12,
    )
    whole = Tokenizer(model)
    whole.pre_tokenizer = pre_tokenizers.Whitespace()
    path = tmp_path / "vocabulary.sqlite"
    assert write_lookup(whole, path)
    text = "boats boatboat boathouse bots boatboatboats a ab"
    found = VocabularyLookup(path).vocabulary_of([text])
    assert found is not None
    # "boatboatboats" is longer than a word may be, and of "ab" no token is "##b".
    pieces = [
        "boat",
        "##s",
        "boat",
        "##boat",
        "boat",
        "##house",
        "b",
        "##o",
        "##t",
        "##s",
        "[UNK]",
        "a",
        "[UNK]",
    ]
    assert found.encode(text).tokens == whole.encode(text).tokens == pieces


@pytest.fixture(scope="module")
def clip_lookup(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClipkitTokenizer, Path]:
    open_clip = pytest.importorskip("open_clip")
    file = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    tokenizer = ClipkitTokenizer.from_config({}, file)
    path = tmp_path_factory.mktemp("clip") / "vocabulary.sqlite"
    assert tokenizer.write_lookup(path)
    return ClipkitTokenizer.from_config({}, file, lookup=path), path


@pytest.fixture(scope="module")
def clip_whole(clip_lookup: tuple[ClipkitTokenizer, Path]) -> Tokenizer:
    return clip_lookup[0]._read_vocabulary()


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_clip_ids_are_those_of_the_whole_vocabulary(
    clip_lookup: tuple[ClipkitTokenizer, Path], clip_whole: Tokenizer, text: str
) -> None:
    found = VocabularyLookup(clip_lookup[1]).vocabulary_of([text])
    assert found is not None
    assert found.encode(text).ids == clip_whole.encode(text).ids


def test_a_tokenizer_reads_only_what_a_few_texts_need(
    clip_lookup: tuple[ClipkitTokenizer, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up, _ = clip_lookup
    whole = ClipkitTokenizer(
        looked_up._read_vocabulary, clean=looked_up._clean, context_length=looked_up.context_length
    )
    expected, shown = tokens_and_warnings(whole, TEXTS)

    def refuse() -> Tokenizer:
        raise AssertionError("the whole vocabulary is read")

    monkeypatch.setattr(looked_up, "_read_vocabulary", refuse)
    got, shown_too = tokens_and_warnings(looked_up, TEXTS)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert shown_too == shown
    assert len(shown) == 1  # of the text of 40 words, each of which is several tokens


def tokens_and_warnings(tokenizer: ClipkitTokenizer, texts: Sequence[str]) -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TextCutWarning)
        tokens = tokenizer.tokenize(texts)
    return tokens, [str(one.message) for one in caught]


@pytest.mark.usefixtures("without_limit")
@pytest.mark.parametrize("text", ["a <pad> here", "by the lake view", "LAKE VIEW"])
def test_a_text_with_a_mark_needs_the_whole_vocabulary(text: str, tmp_path: Path) -> None:
    whole = made_vocabulary(OPTIONS["unknown"])
    marks = {whole.token_to_id("<pad>"), whole.token_to_id("Lake View")}
    assert marks & set(whole.encode(text).ids)
    path = tmp_path / "vocabulary.sqlite"
    write_lookup(whole, path)
    assert VocabularyLookup(path).vocabulary_of([text]) is None


def test_once_much_was_looked_up_the_whole_vocabulary_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made_vocabulary(OPTIONS["unknown"])
    path = tmp_path / "vocabulary.sqlite"
    write_lookup(whole, path)
    # Of so many tokens, 12 parts: "cat" has 6, which are "c", "ca", "cat", "a", "at" and "t".
    monkeypatch.setattr(vocabulary_lookup, "_TOKENS_A_PART", whole.get_vocab_size() // 12)
    lookup = VocabularyLookup(path)
    assert lookup.vocabulary_of(["cat"]) is not None
    assert lookup.vocabulary_of(["cat", "cat"]) is not None
    assert lookup.vocabulary_of(["cat"]) is None
    assert VocabularyLookup(path).vocabulary_of(["boats and lakes"]) is None  # more at once


@pytest.mark.usefixtures("without_limit")
def test_tokens_that_are_named_are_there(tmp_path: Path) -> None:
    whole = made_vocabulary(OPTIONS["unknown"])
    path = tmp_path / "vocabulary.sqlite"
    write_lookup(whole, path)
    found = VocabularyLookup(path).vocabulary_of(["cat"], names=["▁boat", "no such token", None])
    assert found is not None
    for token in ("▁boat", "no such token", "<pad>", "<unk>", "Lake View"):
        assert found.token_to_id(token) == whole.token_to_id(token)


def test_a_damaged_or_missing_database_is_as_none(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.sqlite"
    assert VocabularyLookup(path).vocabulary_of(["cat"]) is None
    path.write_bytes(b"no database")
    assert VocabularyLookup(path).vocabulary_of(["cat"]) is None


@pytest.mark.usefixtures("without_limit")
@pytest.mark.parametrize("place", [10, -10])
def test_a_database_of_another_file_is_as_none(place: int, tmp_path: Path) -> None:
    source, path = tmp_path / "tokenizer.json", tmp_path / "vocabulary.sqlite"
    content = bytearray(200_000)
    source.write_bytes(content)
    write_lookup(made_vocabulary(OPTIONS["unknown"]), path, source)
    assert VocabularyLookup(path, source).vocabulary_of(["cat"]) is not None
    content[place] = 1  # of the same size
    source.write_bytes(content)
    assert VocabularyLookup(path, source).vocabulary_of(["cat"]) is None
    source.unlink()
    assert VocabularyLookup(path, source).vocabulary_of(["cat"]) is None


def test_vocabularies_of_other_kinds_have_no_database(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.sqlite"
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    assert not write_lookup(words, path)
    assert not write_lookup(Tokenizer(models.BPE(dropout=0.1)), path)
    assert not path.exists()


def test_a_place_that_cannot_be_written_raises(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_lookup(Tokenizer(models.BPE()), tmp_path / "none" / "vocabulary.sqlite")
