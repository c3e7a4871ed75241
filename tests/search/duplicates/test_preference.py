"""The order of preference, one step after the other, and on real files."""

from pathlib import Path

from PIL import Image, ImageOps

from clipkit.inputs.metadata import Provenance
from clipkit.search.duplicates.preference import Merits, best_first, read_merits
from clipkit.search.store.records import ImageFile
from tests.conftest import SAMPLES
from tests.search.duplicates.drawn import camera_exif, save, scaled


def test_each_step_outweighs_all_that_come_after_it() -> None:
    # From the least: each file is better in one step than the one before, and worse in the next.
    steps = [
        (ImageFile("b", None, 9, 9, 9), Merits(False, Provenance(), 9)),
        (ImageFile("a", None, 9, 9, 9), Merits(False, Provenance(), 9)),
        (ImageFile("c", None, 9, 9, 9, num_names=2), Merits(False, Provenance(), 9)),
        (ImageFile("d", None, 10, 9, 9), Merits(False, Provenance(), 9)),
        (ImageFile("e", None, 9, 9, 9), Merits(False, Provenance(has_exif=True), 9)),
        (ImageFile("f", None, 9, 9, 9), Merits(False, Provenance(), 10)),
        (ImageFile("g", None, 9, 9, 9), Merits(False, Provenance(is_from_camera=True), 9)),
        (
            ImageFile("h", None, 8, 9, 9),
            Merits(False, Provenance(is_from_camera=True, is_turned_by_tag=True), 8),
        ),
        (ImageFile("i", None, 9, 9, 9), Merits(False, Provenance(is_raw=True), 9)),
        (ImageFile("j", None, 9, 9, 9), Merits(True, Provenance(), 9)),
    ]
    merits = {file.path: seen for file, seen in steps}
    merits["link"] = Merits(True, Provenance(is_raw=True, is_from_camera=True), 99)
    link = ImageFile("link", None, 99, 9, 9, is_link=True)
    found = best_first([link, *(file for file, _ in steps)], merits)
    assert "".join(file.path for file in found) == "jihgfedcablink"


def _best(folder: Path, **images: Path) -> str:
    files = []
    for name, path in images.items():
        with Image.open(path) as image:
            width, height = ImageOps.exif_transpose(image).size
        relative = path.relative_to(folder).as_posix()
        files.append(ImageFile(relative, name.encode(), path.stat().st_size, width, height))
    return best_first(files, read_merits(files, folder))[0].path


def test_a_grey_copy_of_many_bytes_is_not_the_best_of_a_colour_photograph(tmp_path: Path) -> None:
    photo = Image.open(SAMPLES / "parrot.jpg").convert("RGB")
    color = save(tmp_path / "color.jpg", scaled(photo, 0.8), quality=80)
    grey = save(tmp_path / "a.tif", ImageOps.grayscale(photo).convert("I;16"))
    assert grey.stat().st_size > color.stat().st_size
    assert _best(tmp_path, color=color, grey=grey) == "color.jpg"


def test_the_cameras_own_file_is_better_than_a_larger_one_saved_again(tmp_path: Path) -> None:
    photo = Image.open(SAMPLES / "castle.jpg").convert("RGB")
    original = save(tmp_path / "b.jpg", photo, quality=85, exif=camera_exif(photo.size))
    bordered = ImageOps.expand(photo, 20, "white")
    again = save(tmp_path / "a.jpg", bordered, quality=99, exif=camera_exif(photo.size))
    assert _best(tmp_path, original=original, again=again) == "b.jpg"


def test_turned_by_a_tag_is_better_than_turned_in_its_pixels(tmp_path: Path) -> None:
    photo = Image.open(SAMPLES / "castle.jpg").convert("RGB")
    exif = camera_exif(photo.size)
    exif[0x0112] = 6
    original = save(tmp_path / "b.jpg", photo, quality=85, exif=exif)
    turned = photo.transpose(Image.Transpose.ROTATE_270)
    again = save(tmp_path / "a.jpg", turned, quality=95, exif=camera_exif(turned.size))
    assert _best(tmp_path, original=original, again=again) == "b.jpg"


def test_an_enlarged_copy_is_not_the_best(tmp_path: Path) -> None:
    photo = scaled(Image.open(SAMPLES / "castle.jpg").convert("RGB"), 0.5)
    original = save(tmp_path / "b.jpg", photo, quality=80)
    enlarged = save(tmp_path / "a.jpg", scaled(photo, 2), quality=98)
    assert enlarged.stat().st_size > original.stat().st_size
    assert _best(tmp_path, original=original, enlarged=enlarged) == "b.jpg"
    smaller = save(tmp_path / "c.jpg", scaled(photo, 0.5), quality=95)
    assert _best(tmp_path, original=original, smaller=smaller) == "b.jpg"


def test_of_equal_pixels_exif_data_count_before_bytes(tmp_path: Path) -> None:
    photo = Image.open(SAMPLES / "castle.jpg").convert("RGB")
    exif = camera_exif(photo.size, changed="2024:07:01 00:00:00")
    kept = save(tmp_path / "b.jpg", photo, quality=70, exif=exif)
    stripped = save(tmp_path / "a.jpg", photo, quality=95)
    assert _best(tmp_path, kept=kept, stripped=stripped) == "b.jpg"


def test_a_file_that_cannot_be_read_is_the_least(tmp_path: Path) -> None:
    files = [ImageFile("a.jpg", None, 999, 99, 99), ImageFile("b.jpg", None, 9, 9, 9)]
    save(tmp_path / "b.jpg", Image.open(SAMPLES / "parrot.jpg"))
    assert best_first(files, read_merits(files, tmp_path))[0].path == "b.jpg"
