"""``clipkit concepts``: what was taught is listed, shown, exported, imported and removed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clipkit.adaptation.concept import Concept
from clipkit.adaptation.concept_store import ConceptStore
from clipkit.cli import concepts
from clipkit.search.library import PhotoLibrary
from clipkit.search.query import QueryPart
from tests.adaptation.test_concept import make_concept
from tests.cli.conftest import Outcome
from tests.fakes import FakeEncoder, save_image

Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConceptStore:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(concepts, "load", lambda name: FakeEncoder(name=name))
    return ConceptStore()


def test_the_list_has_a_row_each(run: Run, store: ConceptStore) -> None:
    outcome = run("concepts")
    assert (outcome.status, outcome.out) == (0, "")
    assert "nothing was taught so far" in outcome.err
    store.save(make_concept())
    store.save(make_concept("Bella"))
    for words in (("concepts",), ("concepts", "list")):
        lines = run(*words).out.splitlines()
        assert [line.split("\t")[0].strip() for line in lines[2:]] == ["Bella", "Rex"]
        assert lines[3].split("\t")[1:] == ["fake", "5", "2", "a dog", "2026-01-31"]
    found = json.loads(run("concepts", "--json").out)
    assert found == [make_concept("Bella").to_dict(), make_concept().to_dict()]


def test_damaged_files_are_told(run: Run, store: ConceptStore) -> None:
    path = store.save(make_concept())
    path.write_bytes(b"damaged")
    outcome = run("concepts")
    assert outcome.status == 1
    assert f"{path} is no concept, or a damaged one" in outcome.err


def test_show_says_what_is_known(run: Run, store: ConceptStore) -> None:
    store.save(make_concept())
    assert json.loads(run("concepts", "show", "Rex", "--json").out) == make_concept().to_dict()
    assert json.loads(run("concepts", "--json", "show", "Rex").out) == make_concept().to_dict()
    assert "num_images       5" in run("concepts", "show", "Rex").out


def test_several_are_removed_and_all_are_checked_first(run: Run, store: ConceptStore) -> None:
    for name in ("Rex", "Bella", "Tom"):
        store.save(make_concept(name))
    outcome = run("concepts", "remove", "Rex", "Gone", "Bella")
    assert outcome.status == 2
    assert "Gone" in outcome.err
    assert len(store.load().concepts) == 3
    outcome = run("concepts", "remove", "Rex", "Bella", "Rex")
    assert outcome.status == 0
    assert outcome.err == "removed Rex, for fake\nremoved Bella, for fake\n"
    assert [concept.name for concept in store.load().concepts] == ["Tom"]
    outcome = run("concepts", "show", "Tom", "photos", "Rex")
    assert "too many words: Rex; see  clipkit concepts show --help" in outcome.err


def test_show_in_a_folder_lists_what_it_finds(
    run: Run, store: ConceptStore, tmp_path: Path
) -> None:
    concept = make_concept()
    store.save(concept)
    for number, color in enumerate([(255, 0, 0), (60, 120, 180), (10, 20, 30)]):
        save_image(tmp_path / "photos" / f"{number}.png", color)
    outcome = run("concepts", "show", "Rex", "photos")
    assert (outcome.status, "has not been indexed" in outcome.err) == (2, True)
    library = PhotoLibrary.open("photos", FakeEncoder())
    library.sync()
    hits = library.search(QueryPart(concept.embedding), k=2)
    outcome = run("concepts", "show", "Rex", "photos", "--top", 2, "--json")
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert [each["similarity"] for each in found] == [round(hit.similarity, 6) for hit in hits]
    assert outcome.err.startswith(f"{hits.verdict}: ")
    assert outcome.status == (1 if hits.verdict == "probably nothing" else 0)


def test_a_concept_goes_out_and_in_again(run: Run, store: ConceptStore, tmp_path: Path) -> None:
    store.save(make_concept())
    assert run("concepts", "export", "Rex", "rex.safetensors").status == 0
    assert Concept.load("rex.safetensors").to_dict() == make_concept().to_dict()
    outcome = run("concepts", "import", "rex.safetensors")
    assert (outcome.status, "Rex is there already" in outcome.err) == (2, True)
    assert run("concepts", "import", "rex.safetensors", "--replace").status == 0
    assert run("concepts", "remove", "Rex").status == 0
    assert store.load().concepts == []
    assert run("concepts", "import", "rex.safetensors").status == 0
    assert [each.name for each in store.load().concepts] == ["Rex"]


def test_bad_files_are_refused_and_others_kept(
    run: Run, store: ConceptStore, tmp_path: Path
) -> None:
    store.save(make_concept())
    (tmp_path / "mine.safetensors").write_text("mine")
    for words, message in (
        (("export", "Rex", "rex.txt"), "ends in .safetensors, got rex.txt"),
        (("export", "Rex", "mine.safetensors"), "is there already"),
        (("import", "mine.safetensors"), "is no concept"),
        (("import", "gone.safetensors"), "cannot be read"),
        (("remove", "Bella"), "there is no concept 'Bella': there are 'Rex'"),
    ):
        outcome = run("concepts", *words)
        assert outcome.status == 2
        assert message in outcome.err
    assert (tmp_path / "mine.safetensors").read_text() == "mine"
    assert run("concepts", "export", "Rex", "mine.safetensors", "--force").status == 0


def test_of_two_models_one_must_be_named(run: Run, store: ConceptStore) -> None:
    store.save(make_concept())
    store.save(make_concept(space_id="other", model="big"))
    outcome = run("concepts", "show", "Rex")
    assert (outcome.status, "was taught with big, fake: name one" in outcome.err) == (2, True)
    assert json.loads(run("concepts", "show", "Rex", "--model", "big", "--json").out)["model"] == (
        "big"
    )
    assert run("concepts", "remove", "Rex", "--model", "big").status == 0
    assert [each.model for each in store.load().concepts] == ["fake"]
    assert run("concepts", "remove", "Rex", "--model", "none").status == 2
