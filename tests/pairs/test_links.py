import os
from pathlib import Path

from clipkit.pairs.links import distinct_files, file_identity


def test_a_file_is_listed_under_the_path_that_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/real", "other", "hard"):
        (tmp_path / name).write_bytes(b"same bytes")  # which makes no two of them one file
    (tmp_path / "a_link").symlink_to("b/real")
    (tmp_path / "away").symlink_to(tmp_path / "b" / "real")
    os.link(tmp_path / "hard", tmp_path / "a_hard")
    (tmp_path / "gone").symlink_to("nowhere")

    found = distinct_files(
        tmp_path, ["a_hard", "a_link", "b/real", "gone", "hard", "other"], ["away", "nothing"]
    )

    assert found.paths == ["a_hard", "b/real", "gone", "other"]
    assert found.others == {"a_hard": ["hard"], "b/real": ["a_link", "away"]}


def test_a_file_that_only_links_lead_to_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("two", "one"):
        (tmp_path / name).symlink_to("file")
    assert distinct_files(tmp_path, ["one", "two"], []) == (["one"], {"one": ["two"]})


def test_a_file_seen_through_two_folders_is_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    (tmp_path / "b").symlink_to("a")
    paths = [tmp_path / "a" / "file", tmp_path / "b" / "file"]
    assert len({file_identity(path) for path in paths}) == 1
    gone = [tmp_path / "a" / "gone", tmp_path / "b" / "gone", Path("null\0")]
    assert len({file_identity(path) for path in gone}) == 3
