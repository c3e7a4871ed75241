"""What is made of selected images: the lists are read back, and the command is run."""

import csv
import io
import subprocess
from pathlib import Path, PurePosixPath

import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

import clipkit
from clipkit.demo.image_store import ImageStore
from clipkit.demo.selection import copy_command, described, selected, sheet_of, text_of

STRANGE = ["it's.jpg", "-rf.jpg", "$(touch owned).jpg", "a b/`id`.jpg", "é\u202f1.jpg", "\\.jpg"]


def hit(path: str, relevance: float) -> clipkit.SearchHit:
    return clipkit.SearchHit(0.25, relevance, Path("/photos") / path, 40, 30, "2024-06-01", None)


def listed(*paths: str) -> list[clipkit.LibraryImage]:
    return [clipkit.LibraryImage(Path("/photos") / path) for path in paths]


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(clipkit.PhotoLibrary.open(tmp_path))


def test_all_that_is_found_but_what_was_taken_out_and_with_what_was_put_in(
    store: ImageStore,
) -> None:
    hits = [hit("a.jpg", 0.9), hit("b.jpg", 0.4), hit("c.jpg", 0.39), hit("d.jpg", 0.1)]
    a, b, _, d = (store.key_of(image.path) for image in hits)
    for keys, is_all, names in (
        (set(), True, "ab"), ({b}, True, "a"), ({b, d}, True, "ad"), ({d, a}, False, "ad"),
        (set(), False, ""), ({"0" * 32}, False, ""),
    ):  # fmt: skip
        found = selected(hits, keys, store, is_all=is_all)
        assert "".join(image.path.stem for image in found) == names


def test_the_command_copies_each_file_whatever_it_is_called(tmp_path: Path) -> None:
    for name in STRANGE:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    command = copy_command([PurePosixPath(name) for name in STRANGE])
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    copies = {file.name: file.read_text() for file in (tmp_path / "selection").iterdir()}
    assert copies == {PurePosixPath(name).name: name for name in STRANGE}
    assert not (tmp_path / "owned").exists()


def test_files_of_one_name_keep_their_folders(tmp_path: Path) -> None:
    names = ["a/1.jpg", "b/c/1.JPG", "2.jpg", "a/3.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    subprocess.run(
        ["sh", "-ec", copy_command([PurePosixPath(name) for name in names])], cwd=tmp_path,
        check=True,
    )  # fmt: skip
    target = tmp_path / "selection"
    copies = {str(file.relative_to(target)) for file in target.rglob("*") if file.is_file()}
    assert copies == set(names)
    assert copy_command([]) == ""


def test_the_lists_can_be_read_back() -> None:
    folder = Path("/photos")
    images = [described(hit("a b/c,d.jpg", 0.5), folder)]
    images += [described(image, folder) for image in listed('"q".jpg')]
    assert text_of("list", images)["text"].splitlines() == ["a b/c,d.jpg", '"q".jpg']
    rows = list(csv.DictReader(io.StringIO(text_of("table", images)["text"])))
    assert rows[0] == {
        "path": "a b/c,d.jpg", "taken_at": "2024-06-01", "width": "40", "height": "30",
        "camera": "", "relevance": "0.5000", "similarity": "0.2500",
    }  # fmt: skip
    assert (rows[1]["path"], rows[1]["relevance"]) == ('"q".jpg', "")


def test_names_that_are_no_text_are_left_out_and_this_is_told() -> None:
    names = ("a\n.jpg", "\x1b[2J.jpg", "\udcff.jpg", "fine.jpg")
    images = [described(image, Path("/photos")) for image in listed(*names)]
    for kind in ("list", "table", "command"):
        made = text_of(kind, images)
        assert "Left out for names that are no text: 3." in made["told"]
        assert "1 image" in made["told"]
        assert "fine.jpg" in made["text"]
        assert not set("\x1b\udcff") & set(made["text"])


def test_a_sheet_does_not_say_where_the_folder_lies() -> None:
    images = [described(image, Path("/photos")) for image in listed("trips/a b.jpg")]
    made = sheet_of(images, "<b>", {Path("trips/a b.jpg"): b"jpeg"})
    assert 'href="trips/a%20b.jpg"' in made["text"]
    assert "data:image/jpeg;base64,anBlZw==" in made["text"]
    assert "<b>" not in made["text"].partition("<body>")[2].partition("relevance")[0][:60]
    assert "/photos" not in made["text"]
