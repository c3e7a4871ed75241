"""The everyday words that scores are weighed against."""

from clipkit.background_words import BACKGROUND_NAMES


def test_names_are_plain_words_each_once() -> None:
    assert len(set(BACKGROUND_NAMES)) == len(BACKGROUND_NAMES)
    assert all(name and name == " ".join(name.split()) for name in BACKGROUND_NAMES)
    assert "cup of coffee" in BACKGROUND_NAMES  # one that spans words, and lines of the file


def test_there_are_enough_to_know_a_spread_and_few_enough_to_embed() -> None:
    # A user's text tower takes milliseconds for each; a deviation of 150 is good to 6 %.
    assert 150 <= len(BACKGROUND_NAMES) <= 300
