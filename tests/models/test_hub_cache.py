"""The hub's cache on this machine: files, and the commits that branches were at."""

from pathlib import Path

from clipkit.models.hub_cache import (
    cached_commit,
    cached_file,
    hub_cache,
    repo_directory,
    set_cached_commit,
)


def test_a_cache_directory_given_by_hand_wins(tmp_path: Path) -> None:
    assert hub_cache(tmp_path) == tmp_path
    assert repo_directory("org/tiny", tmp_path) == tmp_path / "models--org--tiny"


def test_files_are_found_at_the_commit_that_a_branch_is_noted_at(tmp_path: Path) -> None:
    for commit in ("a" * 40, "b" * 40):
        snapshot = repo_directory("org/tiny", tmp_path) / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").touch()
    assert cached_commit("org/tiny", None, tmp_path) is None
    assert cached_file("org/tiny", "config.json", cache_dir=tmp_path) is None
    for revision in (None, "refs/pr/1"):
        for commit in ("a" * 40, "b" * 40):
            set_cached_commit("org/tiny", revision, commit, tmp_path)
            assert cached_commit("org/tiny", revision, tmp_path) == commit
            path = cached_file("org/tiny", "config.json", revision=revision, cache_dir=tmp_path)
            assert path is not None
            assert path.parent.name == commit


def test_a_commit_needs_no_note(tmp_path: Path) -> None:
    set_cached_commit("org/tiny", "a" * 40, "a" * 40, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_no_repository_can_have_is_nowhere(tmp_path: Path) -> None:
    assert cached_file("org--x/tiny", "config.json", cache_dir=tmp_path) is None
