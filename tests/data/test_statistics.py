import itertools
import json
import math
import shutil
import threading
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Vocabulary
from tokenizers import models, pre_tokenizers

import clipkit
from clipkit.data.mixing import ConcatenatedPairs
from clipkit.data.pair import Pair
from clipkit.data.sources import open_pairs
from clipkit.data.statistics import PairStatistics, collect_statistics
from clipkit.errors import ImageReadError
from clipkit.inputs.tokenizer import Tokenizer
from tests.data.conftest import image, write_shard
from tests.fake_pairs import ListSource


@pytest.fixture(scope="session")
def tokenizer(starter: clipkit.Encoder) -> Tokenizer:
    return starter._tokenizer


def _said(captions: list[tuple[str, ...]]) -> ListSource:
    return ListSource([Pair(image(i), texts, str(i)) for i, texts in enumerate(captions)])


def _expected(captions: list[tuple[str, ...]], size: int) -> float:
    """Return the expected number of equal ordered pairs, by going through all batches."""
    totals = []
    for batch in itertools.permutations(range(len(captions)), size):
        total = 0.0
        for one, other in itertools.permutations(batch, 2):
            chance = 1 / (len(captions[one]) * len(captions[other]))
            total += chance * len(set(captions[one]) & set(captions[other]))
        totals.append(total)
    return sum(totals) / len(totals)


@pytest.mark.parametrize(
    "captions",
    [
        [("a",), ("a",), ("b",), ("a",), ("b",), ("c",)],
        [("a", "b"), ("a",), ("b", "c", "a"), ("d",), ("d",)],
        [("a",), ("b",), ("c",)],
        [("a",)] * 5,
    ],
)
def test_false_negatives_are_those_of_all_batches(
    captions: list[tuple[str, ...]], tokenizer: Tokenizer
) -> None:
    for size in (2, 3, len(captions)):
        found = collect_statistics(_said(captions), tokenizer, batch_size=size)
        assert found.false_negatives == pytest.approx(_expected(captions, size), abs=1e-12)
    larger = collect_statistics(_said(captions), tokenizer, batch_size=100)
    assert larger.false_negatives == pytest.approx(found.false_negatives)


def test_false_negatives_of_single_captions_have_a_closed_form(tokenizer: Tokenizer) -> None:
    counts = {"a": 7, "b": 4, "c": 1}
    captions: list[tuple[str, ...]] = [
        (text,) for text, count in counts.items() for _ in range(count)
    ]
    found = collect_statistics(_said(captions), tokenizer, batch_size=4)
    assert found.false_negatives == pytest.approx(4 * 3 / (12 * 11) * (7 * 6 + 4 * 3))
    assert found.most_repeated == {"a": 7, "b": 4}


def test_images_are_counted_and_read(
    tmp_path: Path, samples: list[Path], tokenizer: Tokenizer
) -> None:
    for sample in samples[:3]:
        shutil.copy(sample, tmp_path)
        (tmp_path / sample.name).with_suffix(".txt").write_text(f"{sample.stem}\na photograph")
    shutil.copy(samples[0], tmp_path / "copy.jpg")
    (tmp_path / "copy.txt").write_text("a copy")
    content = samples[3].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "cut.txt").write_text("cut")
    (tmp_path / "alone.txt").write_text("alone")
    seen: list[tuple[int, int | None]] = []
    found = collect_statistics(
        open_pairs(tmp_path),
        tokenizer,
        batch_size=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 5) for done in range(1, 6)]
    assert (found.num_pairs, found.num_captions, found.num_different_captions) == (4, 7, 5)
    assert found.num_duplicates == 1
    assert set(found.unreadable) == {str(tmp_path / "cut.jpg"), str(tmp_path / "alone.txt")}
    assert "is cut off" in found.unreadable[str(tmp_path / "cut.jpg")]
    assert found.most_repeated == {"a photograph": 3}


def test_tokens_are_those_of_the_tokenizer(tokenizer: Tokenizer) -> None:
    length = tokenizer.context_length
    long = "word " * 2 * length
    captions: list[tuple[str, ...]] = [("a",), ("a cat",), (long,), (long,), ("a cat on a mat",)]
    found = collect_statistics(_said(captions), tokenizer, batch_size=2)
    assert found.num_cut == 2
    own = tokenizer._vocabulary  # its own count, of which the rows are filled up
    lengths = sorted(sum(own.encode(text).attention_mask) for (text,) in captions)
    assert found.median_tokens == lengths[2]
    assert lengths[-1] == length


def test_a_token_that_also_fills_rows_counts_inside_a_text() -> None:
    words = Vocabulary(models.WordLevel({"!": 0, "a": 1, "cat": 2}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    # CLIP's rows end in zeros, and its token 0 is a part of "!#".
    tokenizer = Tokenizer(lambda: words, clean=str.lower, context_length=8)
    found = collect_statistics(_said([("a ! ! cat",)]), tokenizer, batch_size=2)
    assert found.median_tokens == 4


def test_bytes_are_named_by_their_pair(tmp_path: Path, tokenizer: Tokenizer) -> None:
    good = {"__key__": "1", "png": image(1), "txt": b"a"}
    bad = {"__key__": "2", "png": b"no image", "txt": b"a"}
    source = open_pairs(write_shard(tmp_path / "a.tar", [good, bad, good | {"__key__": "3"}]))
    lost = ListSource([ImageReadError("b.tar/1", "its shard has become shorter")])
    found = collect_statistics(ConcatenatedPairs([source, lost]), tokenizer, batch_size=2)
    assert found.num_pairs == 2
    assert found.num_duplicates == 1
    assert list(found.unreadable) == [f"{tmp_path}/a.tar/2", "b.tar/1"]
    assert found.unreadable["b.tar/1"] == "its shard has become shorter"


def test_nothing_readable_is_a_survey_too(tokenizer: Tokenizer) -> None:
    source = ListSource([ImageReadError("a", "is bad")])
    found = collect_statistics(source, tokenizer, batch_size=8)
    assert (found.num_pairs, found.false_negatives, found.median_tokens) == (0, 0, 0)
    assert found.lines()[-1] == "  a: is bad"


def test_an_interruption_ends_it(tokenizer: Tokenizer) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        collect_statistics(_said([("a",)] * 9), tokenizer, batch_size=2, progress=interrupt)
    assert caught.tb is not None  # which holds what was being read: nothing ends by itself
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read")]


def test_a_survey_is_told_in_lines_and_in_json() -> None:
    found = PairStatistics(
        num_pairs=1200,
        num_captions=2400,
        num_different_captions=7,
        first_caption="a dog",
        class_names=("dog", "cat", "cow", "hen", "pig", "rat", "yak"),
        most_repeated={"a cat": 5},
        unreadable={f"{number}.jpg": "is bad" for number in range(12)},
        num_unreadable=12,
        num_duplicates=3,
        num_cut=2,
        median_tokens=8.5,
        false_negatives=math.pi,
        batch_size=64,
    )
    lines = found.lines()
    assert lines[:8] == [
        "1,200 pairs with 2,400 captions, 7 of them different, 8.5 tokens in the middle",
        "the first caption: a dog",
        "7 classes: dog; cat; cow; hen; pig; and 2 more",
        "  5 pairs say: a cat",
        "3 images are copies of others",
        "2 captions are longer than the model reads, and are cut",
        "in a batch of 64, 3.1 of 4,032 negatives say the same as the pair itself, and are left "
        "out",
        "12 pairs cannot be read",
    ]
    assert lines[8] == "  0.jpg: is bad"
    assert lines[-1] == "  … and 2 more"
    assert len(lines) == 8 + 10 + 1
    assert json.loads(json.dumps(found.to_dict()))["false_negatives"] == math.pi


def test_pairs_of_one_class_are_no_negatives_of_each_other(tokenizer: Tokenizer) -> None:
    """Three of a class by three templates and one of another: 3 x 2 of 4 x 3 ordered pairs."""
    pairs = [Pair(image(i), (f"{i} cats", f"the cat {i}"), str(i)) for i in range(4)]
    found = collect_statistics(
        ListSource(pairs, labels=[0, 0, 0, 1], class_names=("cat", "dog")), tokenizer, batch_size=4
    )
    assert found.false_negatives == pytest.approx(6)
    assert found.num_different_captions == 8


def test_captions_of_equal_token_ids_are_one(tokenizer: Tokenizer) -> None:
    source = _said([("Shape 1",), ("shape 1",), ("SHAPE 1", "shape 1"), ("shape 2",)])
    found = collect_statistics(source, tokenizer, batch_size=4)
    assert found.num_different_captions == 2
    assert found.most_repeated == {"Shape 1": 4}
    assert found.false_negatives == pytest.approx(6)
