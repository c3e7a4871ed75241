"""What a terminal shows of a search before the folder is indexed, with a fake encoder.

A commit after every batch of two: no time passes for the clock that commits go by.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipkit.background_words import BACKGROUND_NAMES
from clipkit.cli import early_hits, search
from clipkit.cli.early_hits import EarlyHits, found_so_far
from clipkit.cli.terminal import LiveLines
from clipkit.search import ingest
from clipkit.search.library import PhotoLibrary
from clipkit.search.relevance import Verdict
from clipkit.search.search import SearchHit, SearchHits
from clipkit.search.sync_progress import SyncProgress
from tests.cli.conftest import Outcome
from tests.fakes import FakeEncoder, age_files, save_image

Run = Callable[..., Outcome]
NUM = 8


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    fake = FakeEncoder(batch_size=2)
    monkeypatch.setattr(search, "load_encoder", lambda arguments: fake)
    monkeypatch.setattr(ingest, "FIRST_SECONDS", 0)
    monkeypatch.setattr(ingest, "COMMIT_SECONDS", 0)
    return fake


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for number in range(NUM):
        save_image(tmp_path / "photos" / f"{number}.png", (30 * number, 0, 255))
    age_files(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_hits, "can_replace_lines", lambda: True)


def _notes(outcome: Outcome) -> list[str]:
    """Return the lines on stderr, without what moves the cursor."""
    return re.sub(r"\r|\033\[\d*[A-Z]", "", outcome.err).splitlines()


def _told(outcome: Outcome) -> list[str]:
    """Return from how many images each early answer was."""
    return re.findall(r"from (\d+ of \d+) images so far", outcome.err)


@pytest.mark.usefixtures("on_terminal")
def test_a_terminal_shows_what_there_is_after_each_commit_and_then_the_whole_answer(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = run("search", "red", "photos")
    assert _told(outcome) == ["2 of 8", "4 of 8", "6 of 8"]
    # 0 and 5 of the order are first: of these 5.png is the redder.
    first = outcome.err.partition("so far")[2]
    assert re.findall(r"photos/(\d)\.png", first)[:2] == ["5", "0"]
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "other home"))
    waited = run("search", "red", "photos", "--wait")
    assert (outcome.status, outcome.out) == (waited.status, waited.out)
    assert _notes(waited) == _notes(outcome)[-2:]


@pytest.mark.parametrize("words", [[], ["--wait"], ["--json"], ["-0"]])
def test_programs_and_who_waits_get_the_whole_answer_only(
    words: list[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    if words:
        monkeypatch.setattr(early_hits, "can_replace_lines", lambda: True)
    outcome = run("search", "red", "photos", *words)
    assert _told(outcome) == []
    assert "\033" not in outcome.err


@pytest.mark.usefixtures("on_terminal")
def test_few_new_images_are_waited_for(run: Run, photos: Path) -> None:
    run("search", "red", "photos")
    save_image(photos / "new.png", (255, 1, 0), size=5)
    save_image(photos / "new 2.png", (255, 2, 0), size=6)  # one batch: over at its commit
    outcome = run("search", "red", "photos", "-t", "1")
    assert _told(outcome) == []
    assert "new.png" in outcome.out
    assert _told(run("search", "red", "photos")) == []


@pytest.mark.usefixtures("on_terminal")
@pytest.mark.parametrize("words", [[], ["-f"]])
def test_ctrl_c_prints_the_answer_so_far_and_the_next_run_resumes(
    words: list[str], run: Run, encoder: FakeEncoder
) -> None:
    def interrupt(number: int) -> None:
        if number == 5:
            raise KeyboardInterrupt

    encoder.before_image = interrupt
    outcome = run("search", "red", "photos", "--min-relevance", "0", *words)
    assert outcome.status == 130
    assert re.findall(r"photos/(\d)\.png", outcome.out) == ["7", "5", "2", "0"]
    kept, told = _notes(outcome)[-2:]
    assert kept == "interrupted: what is indexed is kept; run the same command again to resume"
    assert told.startswith("from 4 of 8 images so far: ")
    encoder.before_image = None
    assert _notes(run("search", "red", "photos"))[-2] == "indexed: 4 new"
    assert len(set(encoder.encoded_images)) == NUM


@pytest.mark.usefixtures("on_terminal")
def test_ctrl_c_before_anything_was_seen_prints_no_answer(run: Run, encoder: FakeEncoder) -> None:
    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    encoder.before_image = interrupt
    outcome = run("search", "red", "photos")
    assert (outcome.status, outcome.out) == (130, "")
    assert "interrupted: what is indexed so far is kept (images: 0)" in outcome.err


@pytest.mark.usefixtures("on_terminal")
def test_only_broken_files_are_no_answer(run: Run, photos: Path) -> None:
    for number in range(NUM):
        (photos / f"{number}.png").write_bytes(b"no image %d" % number)
    outcome = run("search", "red", "photos")
    assert (outcome.status, outcome.out, _told(outcome)) == (1, "", [])


@pytest.mark.usefixtures("on_terminal")
def test_filters_say_how_many_of_the_images_so_far_pass(run: Run) -> None:
    outcome = run("search", "red", "photos", "--landscape", "--path", "[0-3].png")
    assert _told(outcome) == ["2 of 8", "4 of 8", "6 of 8"]
    assert outcome.err.count("of which 0 pass the filters: nothing yet") == 3
    outcome = run("search", "red", "photos", "--min-size", "2")
    assert _told(outcome) == []


@pytest.mark.usefixtures("on_terminal")
@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["--path", "[0-3].png"], "0213"),
        (["--not-path", "[4-7].png"], "0213"),
        (["--path", "[0-3].png", "--not-path", "2.png", "--min-size", "2"], "013"),
    ],
)
def test_what_can_pass_the_filters_is_indexed_and_shown_first(
    words: list[str],
    first: str,
    run: Run,
    encoder: FakeEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without filters they come in the order 0 5 2 7 4 1 6 3."""
    rest = "".join(name for name in "05274163" if name not in first)
    outcome = run("search", "red", "photos", *words)
    assert encoder.encoded_images == [f"{name}.png" for name in first + rest]
    assert _told(outcome) == ["2 of 8", "4 of 8", "6 of 8"]
    assert "from 2 of 8 images so far, of which 2 pass the filters:" in outcome.err
    assert f"from 4 of 8 images so far, of which {len(first)} pass the filters:" in outcome.err
    shown = outcome.err.partition("so far")[2]
    assert sorted(re.findall(r"photos/(\d)\.png", shown)[:2]) == sorted(first[:2])
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "other home"))
    encoder.encoded_images.clear()
    waited = run("search", "red", "photos", *words, "--wait")
    assert encoder.encoded_images == [f"{name}.png" for name in "05274163"]
    assert (outcome.status, outcome.out) == (waited.status, waited.out)
    assert _notes(waited) == _notes(outcome)[-2:]


@pytest.mark.usefixtures("on_terminal")
def test_the_query_is_embedded_and_fetched_once(
    run: Run, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[object] = []

    def encode_images(_: object, images: list[object], *, allow_urls: bool) -> np.ndarray:
        fetched.extend(images)
        return np.array([[0, 0, 1, 0]], dtype=np.float32)

    monkeypatch.setattr(FakeEncoder, "encode_images", encode_images)
    outcome = run("search", "red", "+", "https://example.org/a.png", "photos")
    assert len(_told(outcome)) == 3
    assert [text for text in encoder.encoded_texts if text not in BACKGROUND_NAMES] == ["red"]
    assert fetched == ["https://example.org/a.png"]


@pytest.mark.usefixtures("on_terminal")
def test_a_mistake_in_the_query_ends_it_at_once(run: Run, encoder: FakeEncoder) -> None:
    outcome = run("search", "red", "photos", "-", "3:red")
    assert outcome.status == 2
    assert "cancel out" in outcome.err.splitlines()[-1]
    assert len(encoder.encoded_images) < NUM


def test_it_is_looked_for_again_when_there_is_a_tenth_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(LiveLines, "show", lambda _, lines: shown.extend(lines))
    early = EarlyHits(SearchHits, "photos")
    for number in (0, 100, 109, 110, 120, 121, 999):
        early.show(SyncProgress(number, 5000))
    assert [int(re.findall(r"\d+", line)[0]) for line in shown] == [100, 110, 121, 999]
    assert shown[0] == "from 100 of 5 000 images so far: nothing yet"


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("found", "found 3 or more"),
        ("not sure", "not sure that any of these fits"),
        ("probably nothing", "probably nothing yet; these are the closest"),
    ],
)
def test_an_early_answer_speaks_of_the_images_so_far_only(verdict: Verdict, said: str) -> None:
    hit = SearchHit(0.3, 0.5, Path("a.jpg"))
    hits = SearchHits([hit], verdict=verdict, num_found=3, num_searched=180, may_be_more=True)
    so_far = SyncProgress(180, 10_000)
    told = found_so_far(hits, so_far, is_filtered=False)
    assert told == f"from 180 of 10 000 images so far: {said}"


def test_an_interrupted_index_is_whole_afterwards(run: Run, photos: Path, tmp_path: Path) -> None:
    """Whatever the order and the interruptions: as one that was built in one go."""
    library = PhotoLibrary.open(photos, FakeEncoder(batch_size=3))
    for most in (1, 4):

        def stop(so_far: SyncProgress, most: int = most) -> None:
            if so_far.num_indexed > most:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            library.sync(on_commit=stop)
    library.sync()
    fresh = PhotoLibrary.open(photos, FakeEncoder(), location=tmp_path / "fresh")
    fresh.sync(order="newest")
    assert library.search("red", k=NUM) == fresh.search("red", k=NUM)
