"""The pairs of a run: places joined, split, and refused where too many are bad."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest

from clipkit.data.pair import PairDataset
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.progress import Callbacks
from clipkit.runs.data import RunData, check_bad, epoch_draws, open_data, with_validation_splits
from clipkit.training.config import RunConfig, WatchConfig
from clipkit.training.data_config import DataConfig, SourceConfig
from clipkit.training.model_config import ModelConfig
from tests.fakes import save_image


def save_folder(folder: Path, num: int, *, word: str = "number") -> str:
    """Write images with captions; return their place."""
    for number in range(num):
        save_image(folder / f"{number}.png", (number, 0, 0))
        (folder / f"{number}.txt").write_text(f"{word} {number}")
    return str(folder)


def opened(config: DataConfig, *, seed: int = 0, retention_set: str = "") -> RunData:
    watch = WatchConfig(retention_set=retention_set)
    return open_data(
        RunConfig("run", ModelConfig(architecture="a"), config, watch=watch, seed=seed)
    )


def captions(source: PairDataset) -> list[str]:
    return [source[row].captions[0] for row in range(len(source))]


def test_places_are_joined_in_their_order_with_their_weights(tmp_path: Path) -> None:
    first, second = save_folder(tmp_path / "a", 3), save_folder(tmp_path / "b", 2, word="other")
    config = DataConfig(train=(SourceConfig(first), SourceConfig(second, weight=2.0)))
    data = opened(config)
    assert captions(data.train) == ["number 0", "number 1", "number 2", "other 0", "other 1"]
    assert (data.train.sizes, data.draws.weights) == ((3, 2), (1.0, 2.0))
    assert (data.validation, data.skipped) == (None, ())


def test_validation_places_are_kept_apart(tmp_path: Path) -> None:
    trained, measured = save_folder(tmp_path / "a", 3), save_folder(tmp_path / "b", 2)
    config = DataConfig(
        train=(SourceConfig(trained),), validation=(SourceConfig(measured), SourceConfig(measured))
    )
    data = opened(config)
    assert data.validation is not None
    assert (len(data.train), len(data.validation)) == (3, 4)


def test_a_share_of_each_place_is_held_out_the_same_for_a_seed(tmp_path: Path) -> None:
    first, second = save_folder(tmp_path / "a", 10), save_folder(tmp_path / "b", 20, word="other")
    places = (SourceConfig(first), SourceConfig(second))
    config = DataConfig(train=places, validation_fraction=0.2)
    data, again, other = (opened(config, seed=seed) for seed in (0, 0, 1))
    assert data.validation is not None
    assert again.validation is not None
    assert other.validation is not None
    kept, trained = captions(data.validation), captions(data.train)
    assert len(kept) == 6
    assert sum(caption.startswith("other") for caption in kept) == 4
    assert sorted(kept + trained) == sorted(
        [f"number {number}" for number in range(10)] + [f"other {number}" for number in range(20)]
    )
    assert kept == captions(again.validation)
    assert kept != captions(other.validation)


def test_an_image_that_is_in_two_places_is_on_one_side(tmp_path: Path) -> None:
    """The second place holds the first one's images under other captions."""
    places = [save_folder(tmp_path / name, 20, word=name) for name in ("a", "b")]
    train = tuple(map(SourceConfig, places))
    data = opened(DataConfig(train=train, validation_fraction=0.5))
    assert data.validation is not None
    learnt, kept = (
        {caption.split()[1] for caption in captions(part)} for part in (data.train, data.validation)
    )
    assert len(learnt) == len(kept) == 10
    assert not learnt & kept


def test_a_place_of_one_image_is_trained_on(tmp_path: Path) -> None:
    many, one = save_folder(tmp_path / "a", 10), str(tmp_path / "b")
    save_image(tmp_path / "b" / "1.png", (1, 200, 3))
    (tmp_path / "b" / "1.txt").write_text("alone 1")
    train = (SourceConfig(many), SourceConfig(one, weight=3))
    data = opened(DataConfig(train=train, validation_fraction=0.2))
    assert data.validation is not None
    assert (data.train.sizes, data.draws.weights) == ((8, 1), (1.0, 3.0))
    assert len(data.validation) == 2


def test_shares_of_tokens_draw_fewer_pairs_of_long_captions(tmp_path: Path) -> None:
    """Captions of 2 + 2 and 2 + 14 tokens, so a pair of the second is as many as four."""
    tokenizer = Tokenizer.from_config(
        {"context_length": 20}, Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    )
    places = [tmp_path / "short", tmp_path / "long"]
    for place, words in zip(places, ("a boat", " ".join(["boat"] * 14)), strict=True):
        save_folder(place, 20)
        for file in place.glob("*.txt"):
            file.write_text(words)
    sources = tuple(SourceConfig(str(place)) for place in places)
    config = DataConfig(train=sources, mixture="tokens")
    data = opened(config)
    assert (data.draws.weights, data.num_drawn) == ((1.0, 1.0), 40)
    draws = epoch_draws(config, data.train, tokenizer)
    assert draws.weights == pytest.approx((1.6, 0.4))
    assert draws.num_drawn == 40


def test_classes_are_balanced_and_pairs_without_a_class_refuse_it(tmp_path: Path) -> None:
    for name, number in [("cat", 1), ("cat", 2), ("cat", 3), ("dog", 1)]:
        save_image(tmp_path / "classes" / name / f"{number}.png", (number, 2, 3))
    classes = SourceConfig(str(tmp_path / "classes"))
    data = opened(DataConfig(train=(classes,), class_balance=1.0))
    drawn = [data.train.class_name(row) for row in data.draws.order(seed=0, epoch=0).tolist()]
    assert Counter(drawn) == {"cat": 2, "dog": 2}
    captioned = SourceConfig(save_folder(tmp_path / "a", 3))
    with pytest.raises(InputError, match=r"3 of 7 have captions and no class: .*leave out class_b"):
        opened(DataConfig(train=(classes, captioned), class_balance=0.5))


def test_what_a_listing_skips_counts_towards_the_limit(tmp_path: Path) -> None:
    """One of four captions has no image: a quarter."""
    place = save_folder(tmp_path / "a", 3)
    (tmp_path / "a" / "alone.txt").write_text("no image")
    train = (SourceConfig(place),)
    data = opened(DataConfig(train=train, max_bad_fraction=0.25))
    assert [Path(error.path).name for error in data.skipped] == ["alone.txt"]
    assert len(data.train) == 3
    words = r"1 of 4 pairs cannot be read, data\.max_bad_fraction allows 20\.0%: .*alone\.txt"
    with pytest.raises(InputError, match=words):
        opened(DataConfig(train=train, max_bad_fraction=0.2))


def test_the_message_names_three_and_says_that_there_are_more() -> None:
    errors = [ImageReadError(f"{number}.png", "is cut off") for number in range(4)]
    check_bad(4, 80, 0.05, errors)
    with pytest.raises(InputError) as caught:
        check_bad(4, 79, 0.05, errors)
    assert str(caught.value) == (
        "4 of 79 pairs cannot be read, data.max_bad_fraction allows 5.0%: 0.png: is cut off; "
        "1.png: is cut off; 2.png: is cut off; and 1 more. Mend them, or raise the limit"
    )


def test_a_reference_set_is_the_samples_or_class_folders(tmp_path: Path) -> None:
    place = SourceConfig(save_folder(tmp_path / "a", 3))
    assert opened(DataConfig(train=(place,)), retention_set="samples").retention_set is None
    config = DataConfig(train=(place,), templates=("a drawing of a {}.",))
    for name in ("cat", "dog"):
        save_image(tmp_path / "classes" / name / "1.png", (1, 2, 3))
    folders = opened(config, retention_set=str(tmp_path / "classes")).retention_set
    assert folders is not None
    assert folders.class_names == ("cat", "dog")
    assert folders[0].captions == ("a drawing of a cat.",)
    save_image(tmp_path / "plain" / "1.png", (1, 2, 3))
    with pytest.raises(InputError):
        opened(config, retention_set=str(tmp_path / "plain"))


def test_settings_that_no_place_uses_are_said_once_by_name(tmp_path: Path) -> None:
    trained, measured = save_folder(tmp_path / "a", 3), save_folder(tmp_path / "b", 2)
    config = DataConfig(
        train=(SourceConfig(trained, split="test"),),
        validation=(SourceConfig(measured),),
        image_column="file",
        templates=("a drawing of a {}.",),
    )
    names = WatchConfig(retention_set="samples", retention_class_names="names.json")
    warned: list[str] = []
    callbacks = Callbacks(warn=warned.append)
    run = RunConfig("run", ModelConfig(architecture="a"), config, watch=names)
    open_data(run, callbacks=callbacks)
    assert [line.partition(" is not used")[0] for line in warned] == [
        f'split = "test" of {trained}',
        "watch.retention_class_names",
        "data.image_column in RUN.toml or --image-column",
        "data.templates",
    ]
    assert (
        f"and {trained} is read as a folder of images with caption files; {measured}" in warned[2]
    )

    for name in ("cat", "dog"):
        save_image(tmp_path / "classes" / name / "1.png", (1, 2, 3))
    own = WatchConfig(retention_set=str(tmp_path / "classes"))
    warned.clear()
    open_data(replace(run, watch=own), callbacks=callbacks)
    assert not any("templates" in line for line in warned)  # the retention set uses them


def test_an_epoch_draws_pairs_by_the_weights_of_their_places(tmp_path: Path) -> None:
    places = [save_folder(tmp_path / name, 4) for name in ("a", "b")]
    weighed = zip(places, (0.5, 3.0), strict=True)
    config = DataConfig(train=tuple(SourceConfig(place, weight=w) for place, w in weighed))
    assert opened(config).num_drawn == 2 + 12


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    """Class folders: three images to train on, two to validate on, one to test on."""
    for split, number in (("train", 3), ("val", 2), ("test", 1)):
        for at in range(number):
            save_image(tmp_path / "ds" / split / "cat" / f"{at}.png", (number, at, 0))
    return tmp_path / "ds"


def resolved(data: DataConfig) -> DataConfig:
    model = ModelConfig(architecture="a")
    return with_validation_splits(RunConfig("run", model, data)).data


def test_the_split_for_validation_is_validated_on(divided: Path, tmp_path: Path) -> None:
    other = SourceConfig(save_folder(tmp_path / "a", 3))
    train = SourceConfig(str(divided))
    data = resolved(DataConfig(train=(train, other)))
    assert data.validation == (SourceConfig(str(divided), split="validation"),)
    found = opened(data)
    assert found.validation is not None
    assert (found.train.sizes, len(found.validation)) == ((3, 3), 2)


def test_what_the_config_says_comes_first(divided: Path, tmp_path: Path) -> None:
    train = (SourceConfig(str(divided)),)
    other = (SourceConfig(save_folder(tmp_path / "a", 3)),)
    kept = (
        DataConfig(train=train, validation=other),
        DataConfig(train=train, validation_fraction=0.5),
        DataConfig(train=(SourceConfig(str(divided / "train")),)),
        DataConfig(train=(SourceConfig(str(divided), split="test"),)),
        DataConfig(train=other),
    )
    for data in kept:
        assert resolved(data) == data
    # A place that is divided stands for the split that it is named for.
    found = opened(DataConfig(train=other, validation=train))
    assert found.validation is not None
    assert len(found.validation) == 2
    assert len(opened(DataConfig(train=(SourceConfig(str(divided), split="test"),))).train) == 1


def test_a_reference_set_may_be_divided_and_have_names(divided: Path, tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('{"cat": "tabby cat"}')
    config = DataConfig(train=(SourceConfig(save_folder(tmp_path / "a", 3)),))
    watch = WatchConfig(
        retention_set=str(divided), retention_class_names=str(tmp_path / "names.json")
    )
    data = open_data(RunConfig("run", ModelConfig(architecture="a"), config, watch=watch))
    assert data.retention_set is not None
    assert len(data.retention_set) == 2
    assert data.retention_set.class_names == ("tabby cat",)
