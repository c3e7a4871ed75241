"""``clipkit teach``, and taught names in queries and labels, with a fake encoder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import clipkit
from clipkit.adaptation.concept import Concept
from clipkit.adaptation.concept_store import ConceptStore
from clipkit.cli import classify, search, teach
from clipkit.search.library import PhotoLibrary
from clipkit.search.query import Query, QueryPart
from tests.adaptation.test_concept import make_concept
from tests.cli.conftest import Outcome
from tests.fakes import FakeEncoder, age_files, save_image

Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    fake = FakeEncoder()
    for command in (classify, search, teach):
        monkeypatch.setattr(command, "load_encoder", lambda arguments: fake)
    return fake


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for number, red in enumerate((250, 240, 230)):
        save_image(tmp_path / "photos" / "rex" / f"{number}.png", (red, 10 * number, 5))
    generator = np.random.default_rng(0)
    for number in range(40):
        color = tuple(generator.integers(0, 256, 3).tolist())
        save_image(tmp_path / "photos" / f"{number}.png", color)
    age_files(tmp_path)
    return tmp_path / "photos"


@pytest.fixture
def library(photos: Path, encoder: FakeEncoder) -> PhotoLibrary:
    library = PhotoLibrary.open(photos, encoder)
    library.sync()
    encoder.encoded_images.clear()
    return library


@pytest.fixture
def rex(run: Run, library: PhotoLibrary, photos: Path) -> Concept:
    assert run("teach", "Rex", photos / "rex").status == 0
    return ConceptStore().find("Rex")[0]


def test_images_of_an_indexed_folder_are_not_embedded_again(
    run: Run, library: PhotoLibrary, encoder: FakeEncoder
) -> None:
    words = ("Rex", "photos/rex/0.png", "photos/rex/1.png", "photos/rex/0.png")
    outcome = run("teach", *words, "--not", "photos/3.png", "--as", "red")
    assert outcome.status == 0
    assert outcome.out == 'taught Rex; use it as in  clipkit search "Rex + beach"\n'
    assert "images looked up in the index of " in outcome.err
    assert encoder.encoded_images == []
    concept = ConceptStore().find("Rex")[0]
    assert (concept.num_images, concept.num_negatives, concept.kind) == (2, 1, "red")
    assert concept.has_center


def test_without_an_index_it_says_what_would_be_better(run: Run, encoder: FakeEncoder) -> None:
    outcome = run("teach", "Rex", "photos/rex")
    assert outcome.status == 0
    assert "made of everyday words alone" in outcome.err
    assert "clipkit index photos/rex" in outcome.err
    assert encoder.encoded_images == ["0.png", "1.png", "2.png"]


def test_an_index_to_be_told_among_can_be_named(run: Run, photos: Path, tmp_path: Path) -> None:
    outcome = run("teach", "Rex", photos / "rex", "--among", photos)
    assert outcome.status == 2
    assert "has not been indexed with fake: run  clipkit index" in outcome.err
    PhotoLibrary.open(photos, FakeEncoder()).sync()
    outside = tmp_path / "outside"
    shutil.copytree(photos / "rex", outside)
    assert run("teach", "Rex", outside, "--among", photos).status == 0
    assert ConceptStore().find("Rex")[0].has_center


def test_json_is_what_is_known_of_it(run: Run, photos: Path) -> None:
    outcome = run("teach", "Rex", photos / "rex", "--json")
    found = json.loads(outcome.out)
    assert (found["name"], found["num_images"], found["skipped"]) == ("Rex", 3, [])


def test_unreadable_images_are_listed_and_the_others_used(run: Run, photos: Path) -> None:
    (photos / "rex" / "broken.png").write_bytes(b"no image")
    outcome = run("teach", "Rex", photos / "rex", "gone.png", "--strict")
    assert outcome.status == 1
    assert "2 images skipped:" in outcome.err
    assert "broken.png" in outcome.err
    assert "gone.png" in outcome.err
    assert ConceptStore().find("Rex")[0].num_images == 3
    assert run("teach", "Rex", photos / "rex", "gone.png", "--replace").status == 0


def test_what_cannot_be_read_of_a_folder_is_named_with_its_folder(run: Run, photos: Path) -> None:
    (photos / "rex" / "gone.png").symlink_to("nowhere")
    assert "  photos/rex/gone.png: is a link" in run("teach", "Rex", "photos/rex").err


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    run: Run, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "file"))
    outcome = run("teach", "Rex", "photos/rex")
    assert outcome.status == 2
    assert "set CLIPKIT_HOME to a directory that can be written" in outcome.err
    assert encoder.encoded_images == []


def test_the_use_of_another_models_concept_names_the_model(run: Run) -> None:
    outcome = run("teach", "Rex", "photos/rex", "--model", "ViT-B-32/openai")
    assert outcome.out.endswith('clipkit search "Rex + beach" --model ViT-B-32/openai\n')


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("", "photos/rex"), "a concept needs a name"),
        (("a + b", "photos/rex"), "cannot be the name of a concept"),
        (("a/b", "photos/rex"), "cannot be the name of a concept"),
        (("Rex", "gone.png"), "none of the 1 images of Rex can be read"),
        (("Rex", "empty"), "Rex needs at least one image"),
        (("Rex", "photos/rex", "--not", "photos/rex/1.png"), "and as a negative one"),
        (("Rex", "photos/rex", "--as", " "), "kind must say in words"),
        (("Rex", "photos/rex", "-o", "rex.npy"), "ends in .safetensors, got rex.npy"),
        (("Rex", "photos/rex", "-o", "no/rex.safetensors"), "there is no folder no"),
        (("Rex", "photos/rex", "-o", "mine.safetensors"), "is there already"),
        (("Rex",), "PATH"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    run: Run, words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine.safetensors").write_text("mine")
    outcome = run("teach", *words)
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.out == ""
    assert ConceptStore().load() == ([], [])
    assert (tmp_path / "mine.safetensors").read_text() == "mine"


def test_a_taken_name_needs_replace_before_anything_is_embedded(
    run: Run, rex: Concept, encoder: FakeEncoder
) -> None:
    save_image(Path("outside.png"), (1, 2, 3))
    outcome = run("teach", "Rex", "outside.png")
    assert (outcome.status, encoder.encoded_images) == (2, [])
    assert "Rex is there already: choose another name, or say --replace" in outcome.err
    assert ConceptStore().find("Rex")[0].to_dict() == rex.to_dict()
    assert run("teach", "Rex", "photos/3.png", "--replace").status == 0
    assert ConceptStore().find("Rex")[0].num_images == 1


def test_a_query_may_name_a_concept(run: Run, rex: Concept, library: PhotoLibrary) -> None:
    query = Query((QueryPart(rex.embedding, 2), QueryPart("green"), QueryPart("blue", -1.0)))
    expected = [str(hit.path) for hit in library.search(query, k=5)]
    for words in (("2:Rex + green - blue",), ("2:Rex", "+", "green", "-", "blue")):
        outcome = run("search", *words, library.folder, "-f", "-t", 5, "--min-relevance", 0)
        assert outcome.out.splitlines() == expected
        assert "Rex is taken for the concept taught from 3 images; for words, put a space in " in (
            outcome.err
        )


def test_a_space_in_front_and_an_option_make_words_of_a_name(
    run: Run, rex: Concept, library: PhotoLibrary, encoder: FakeEncoder
) -> None:
    for words, text in (([" Rex"], "Rex"), (["Rex + green", "--no-concepts"], "Rex + green")):
        encoder.encoded_texts.clear()
        outcome = run("search", words[0], library.folder, *words[1:])
        assert "is taken for the concept" not in outcome.err
        assert encoder.encoded_texts == [text]


def test_without_a_name_in_it_a_text_stays_whole(
    run: Run, rex: Concept, library: PhotoLibrary, encoder: FakeEncoder
) -> None:
    encoder.encoded_texts.clear()
    run("search", "rex + green", library.folder)
    assert encoder.encoded_texts == ["rex + green"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("a photo of Rex in snow", '"Rex + a photo in snow"'),
        ("my rex on the beach", '"Rex + the beach"'),
        ("REX", "Rex"),
        ("2:rex", "Rex"),
        ("rex + green - blue", '"Rex + green - blue"'),
        ("green - the big rex", '"green - Rex - the big"'),
    ],
)
def test_a_name_among_words_is_told_with_what_to_write(
    run: Run, rex: Concept, library: PhotoLibrary, typed: str, meant: str
) -> None:
    outcome = run("search", typed, library.folder)
    (line,) = [line for line in outcome.err.splitlines() if "there is a concept Rex" in line]
    assert line.endswith(f"though there is a concept Rex: write  {meant}")
    assert "there is a concept" not in run("search", typed, library.folder, "--no-concepts").err


def test_what_is_no_name_is_not_told(
    run: Run, rex: Concept, library: PhotoLibrary, photos: Path
) -> None:
    save_image(photos / "rex.png", (1, 2, 3))
    ConceptStore().save(make_concept("green", space_id="other", model="big"))
    for typed in ("Rexona", "T-rexes", " my Rex", "2: my Rex", "Rex", str(photos / "rex.png")):
        assert "there is a concept" not in run("search", typed, library.folder).err
    assert "there is a concept" not in run("search", "a green hat", library.folder).err


def test_a_label_with_a_name_in_it_is_told(run: Run, rex: Concept, photos: Path) -> None:
    outcome = run("classify", photos / "0.png", "--labels", "my rex, green")
    assert "rex is taken for words, though there is a concept Rex: write  Rex as the label" in (
        outcome.err
    )
    outcome = run("classify", photos / "0.png", "--labels", "my rex, green, Rex")
    assert "there is a concept" in outcome.err


def test_a_file_of_a_concept_is_one_too(run: Run, library: PhotoLibrary, photos: Path) -> None:
    outcome = run("teach", "Rex", photos / "rex", "-o", "rex.safetensors")
    assert 'clipkit search "rex.safetensors + beach"' in outcome.out
    assert ConceptStore().load().concepts == []
    concept = Concept.load("rex.safetensors")
    query = Query((QueryPart(concept.embedding), QueryPart("green", -1.0)))
    expected = [str(hit.path) for hit in library.search(query, k=5)]
    outcome = run(
        "search", "./rex.safetensors - green", library.folder, "-f", "-t", 5, "--min-relevance", 0
    )
    assert outcome.out.splitlines() == expected
    outcome = run("classify", photos / "0.png", "--labels", "rex.safetensors, green", "--json")
    assert {each["label"] for each in json.loads(outcome.out)["labels"]} == {"Rex", "green"}
    outcome = run("search", "gone.safetensors", library.folder)
    assert (outcome.status, "gone.safetensors: there is no such file" in outcome.err) == (2, True)


def test_a_label_may_be_a_concept(
    run: Run, rex: Concept, photos: Path, encoder: FakeEncoder
) -> None:
    words = ("classify", photos / "0.png", "--labels", "Rex, green", "--templates", "{}", "--json")
    outcome = run(*words)
    classifier = clipkit.ZeroShotClassifier(
        encoder, {"Rex": rex.embedding, "green": None}, templates="{}"
    )
    expected = classifier.classify([photos / "0.png"])[0]
    found = json.loads(outcome.out)["labels"]
    assert [each["label"] for each in found] == [each["label"] for each in expected]
    assert found[0]["score"] == pytest.approx(expected[0]["score"], abs=1e-4)
    assert "Rex is taken for the concept taught from 3 images; for words, say --no-concepts" in (
        outcome.err
    )
    encoder.encoded_texts.clear()
    outcome = run(*words, "--no-concepts")
    assert "is taken for" not in outcome.err
    assert encoder.encoded_texts == ["Rex", "green"]


def test_labels_with_prompts_of_their_own_are_no_concepts(
    run: Run, rex: Concept, photos: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    (tmp_path / "labels.json").write_text('{"Rex": "red", "green": "green"}')
    encoder.encoded_texts.clear()
    outcome = run("classify", photos / "0.png", "--labels-file", "labels.json")
    assert (outcome.status, encoder.encoded_texts) == (0, ["red", "green"])


def test_another_models_concept_says_what_to_run(
    run: Run, library: PhotoLibrary, photos: Path
) -> None:
    ConceptStore().save(make_concept(space_id="other", model="big"))
    for words in (
        ("search", "Rex", library.folder),
        ("classify", photos / "0.png", "--labels", "Rex, green"),
    ):
        outcome = run(*words)
        assert outcome.status == 2
        assert 'clipkit teach "Rex" … --model fake, or load big' in outcome.err
    ConceptStore().save(make_concept())  # also for this model: that one is taken
    assert run("search", "Rex", library.folder, "--min-relevance", 0).status == 0


def test_a_damaged_concept_is_told_and_does_not_stop_a_search(
    run: Run, rex: Concept, library: PhotoLibrary, encoder: FakeEncoder
) -> None:
    path = ConceptStore().path("Rex", "fake-space")
    path.write_bytes(path.read_bytes()[:-4])
    encoder.encoded_texts.clear()
    outcome = run("search", "Rex", library.folder)
    assert "is a damaged concept" in outcome.err
    assert encoder.encoded_texts == ["Rex"]
