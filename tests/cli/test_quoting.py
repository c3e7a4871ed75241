"""Values that were typed without quotes or commas: each message ends with what to type."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("classify photos --labels cat dog", '--labels "cat, dog"'),
        ("classify photos --labels cat dog owl --top 3", '--labels "cat, dog, owl"'),
        ("classify photos --labels cat dog --top 3 owl", '--labels "cat, dog"'),
        ("classify photos --labels cat, big dog", '--labels "cat, big dog"'),
        ("classify --labels cat dog photos", '--labels "cat, dog"'),
        ("classify --labels cat, dog photos", '--labels "cat, dog"'),
        ("adapt --labels cat dog --next 3 --from photos", '--labels "cat, dog"'),
        ("adapt photos --labels cat dog --next 3 --from photos", '--labels "cat, dog"'),
        ("map photos --labels cat dog", '--labels "cat, dog"'),
        ("map --labels cat dog", '--labels "cat, dog"'),
        (
            "classify photos --labels cat --templates a photo of {}",
            '--templates "a photo of {}"',
        ),
        ("classify photos --labels cat --domain wild animal", '--domain "wild animal"'),
        ("evaluate photos --templates a photo of {}", '--templates "a photo of {}"'),
        ("audit photos --group kind --templates a photo of {}", '--templates "a photo of {}"'),
        ("map photos --labels cat --templates a photo of {}", '--templates "a photo of {}"'),
        ("teach Rex photos --as a dog", '--as "a dog"'),
        ("search cat photos --camera Canon EOS", '--camera "Canon EOS"'),
    ],
)
def test_what_to_type_is_told(run: Run, words: str, meant: str) -> None:
    outcome = run(*words.split())
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert outcome.err.rstrip().endswith(meant)


@pytest.mark.parametrize("typed", [["--labels", "cat, dog"], ["--labels=cat"], ["--labels", "cat"]])
def test_what_is_right_is_no_mistake(run: Run, typed: list[str]) -> None:
    assert "commas" not in run("classify", *typed, "photos").err
    assert "commas" not in run("classify", "photos", *typed).err
    assert "commas" not in run("classify", *typed, "./absent").err


def test_what_may_be_a_misspelt_folder_is_said_to_be_none(run: Run) -> None:
    error = run("classify", "--labels", "cat", "phots").err
    assert "phots: there is no such file or folder; if it is a label: labels are separated" in error


def test_surplus_words_after_a_number_are_no_value(run: Run) -> None:
    error = run("classify", "photos", "--labels", "cat", "--top", "3", "owl").err
    assert error.rstrip().endswith("images come before the options:  clipkit classify owl …")
