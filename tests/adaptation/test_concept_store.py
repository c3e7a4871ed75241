"""The user's concepts: one file each, found by name and model."""

import dataclasses
from pathlib import Path

import pytest

from clipkit.adaptation.concept import Concept, check_concept_name
from clipkit.adaptation.concept_store import ConceptStore
from clipkit.errors import InputError
from tests.adaptation.test_concept import make_concept


@pytest.fixture
def store(tmp_path: Path) -> ConceptStore:
    return ConceptStore(tmp_path / "concepts")


def test_it_is_in_the_users_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    assert ConceptStore().save(make_concept()).parent == tmp_path / "concepts"


def test_what_is_saved_is_listed_by_name_and_removed(store: ConceptStore) -> None:
    assert store.load().concepts == []
    for name in ("rex", "Bella", "Ärmel"):
        store.save(make_concept(name))
    assert [concept.name for concept in store.load().concepts] == ["Bella", "rex", "Ärmel"]
    store.remove(store.find("rex")[0])
    assert [concept.name for concept in store.load().concepts] == ["Bella", "Ärmel"]


def test_a_taken_name_needs_replace(store: ConceptStore) -> None:
    store.save(make_concept())
    with pytest.raises(InputError, match=r"Rex is there already.*--replace"):
        store.save(make_concept())
    store.save(make_concept(), replace=True)
    assert len(store.load().concepts) == 1


def test_each_model_and_each_spelling_has_a_concept_of_its_own(store: ConceptStore) -> None:
    store.save(make_concept())
    store.save(make_concept(space_id="other-space", model="big"))
    store.save(make_concept("rex"))
    assert [each.model for each in store.find("Rex")] == ["big", "fake"]
    assert [each.model for each in store.find("rex")] == ["fake"]


def test_an_unknown_name_is_refused_with_the_known_ones(store: ConceptStore) -> None:
    with pytest.raises(InputError, match="none was taught so far"):
        store.find("Rex")
    store.save(make_concept("Bella"))
    with pytest.raises(InputError, match="there are 'Bella'"):
        store.find("Rex")


def test_a_name_that_another_process_took_meanwhile_stays_its_own(
    store: ConceptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.check_free("Rex", "fake-space")  # both have asked before their work
    first = store.save(make_concept()).read_bytes()
    other = dataclasses.replace(make_concept(), num_images=9)
    with pytest.raises(InputError, match=r"Rex is there already"):
        store.save(other)
    assert store.path("Rex", "fake-space").read_bytes() == first
    assert len(list(store.directory.iterdir())) == 1  # no draft


def test_a_directory_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = ConceptStore(tmp_path / "file" / "concepts")  # a file instead of a folder
    for act in (store.check_writable, lambda: store.save(make_concept())):
        with pytest.raises(
            InputError, match=r"cannot be kept in .* \(Not a directory\): set CLIPK"
        ):
            act()
    assert store.load().concepts == []
    (damaged,) = store.load().damaged
    assert "concepts cannot be read: Not a directory" in str(damaged)
    with pytest.raises(InputError, match="1 could not be read"):
        store.find("Rex")


def test_a_name_is_found_in_either_form_of_its_accents(store: ConceptStore) -> None:
    store.save(make_concept(check_concept_name("Cafe\u0301")))
    assert store.find("Cafe\u0301") and store.find("Caf\u00e9")


def test_damaged_files_are_told_and_drafts_of_a_killed_run_left_out(store: ConceptStore) -> None:
    path = store.save(make_concept())
    (store.directory / ".clipkit-0011.safetensors").write_bytes(path.read_bytes()[:20])
    (store.directory / "notes.txt").write_text("not a concept")
    (store.directory / "cut.safetensors").write_bytes(path.read_bytes()[:-3])
    stored = store.load()
    assert [concept.name for concept in stored.concepts] == ["Rex"]
    assert len(stored.damaged) == 1
    assert "cut.safetensors" in str(stored.damaged[0])


def test_a_write_that_fails_leaves_what_was_there(
    store: ConceptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(make_concept())

    def fail(*_: object) -> None:
        raise KeyboardInterrupt  # as Ctrl-C or a kill, before the file has its name

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        store.save(make_concept(), replace=True)
    monkeypatch.undo()
    assert Concept.load(store.path("Rex", "fake-space")).name == "Rex"
    assert len(list(store.directory.iterdir())) == 1
