"""next_to_label on coloured images: what is named, what never is, and what is refused."""

from pathlib import Path

import pytest
from PIL import Image

from clipkit.adaptation.labelling import next_in_list, next_to_label
from clipkit.adaptation.options import AdaptationOptions
from clipkit.errors import InputError
from tests.fakes import FakeEncoder

OPTIONS = AdaptationOptions(templates="{}")
COLORS = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four reds, four greens and four blues that differ a little."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, color in COLORS.items():
        for number in range(4):
            shade = tuple(max(value, 12 * number) for value in color)
            Image.new("RGB", (4, 4), shade).save(folder / f"{name}{number}.png")
    return folder


def names(paths: list[str]) -> list[str]:
    return sorted(Path(path).stem[:-1] for path in paths)


def test_with_class_names_alone_one_of_each_comes_first(photos: Path) -> None:
    report = next_to_label(
        FakeEncoder(), photos, class_names=["red", "green", "blue"], count=3, options=OPTIONS
    )
    assert names([image.path for image in report.images]) == ["blue", "green", "red"]
    for image in report.images:
        assert image.path.startswith(str(photos))
        assert Path(image.path).stem.startswith(image.likely[0][0])
    assert sum(image.num_like for image in report.images) == 12
    assert (report.num_labelled, report.num_unlabelled, report.without_labels) == (
        0,
        12,
        ("red", "green", "blue"),
    )


def test_labelled_images_and_their_copies_are_never_named(photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "pets"
    for name in ("red", "green"):
        (data / name).mkdir(parents=True)
        for number in range(3):
            content = (photos / f"{name}{number}.png").read_bytes()
            (data / name / f"{number}.png").write_bytes(content)
    for count in (2, 50):
        report = next_to_label(FakeEncoder(), photos, data=data, count=count, options=OPTIONS)
        found = [Path(image.path).stem for image in report.images]
        assert found[0].startswith("blue")  # nothing tells of these yet
        assert len(found) == len(set(found)) == min(count, 6)
        assert set(found) <= {"red3", "green3", *(f"blue{number}" for number in range(4))}
    assert (report.num_labelled, report.num_unlabelled, report.num_already_labelled) == (6, 6, 6)
    assert len(report.labelled_files) == 6
    assert report.without_labels == ()


def test_a_filled_in_table_is_taken_in_the_next_round(photos: Path, tmp_path: Path) -> None:
    encoder, table = FakeEncoder(), tmp_path / "labels.csv"
    report = next_to_label(
        encoder, photos, class_names=["red", "green", "blue"], count=4, options=OPTIONS
    )
    lines = report.table(table).splitlines()
    for place, image in enumerate(report.images[:3], start=1):
        label = Path(image.path).stem[:-1]
        lines[place] = lines[place].replace(",,", f",{label},", 1)
    table.write_text("\n".join(lines))
    options = AdaptationOptions(templates="{}", label_column="label")
    again = next_to_label(encoder, photos, data=table, count=50, options=options)
    assert again.num_labelled == 3
    done = {image.path for image in report.images[:3]}
    assert report.images[3].path in {image.path for image in again.images}
    assert not done & {image.path for image in again.images}


def test_what_cannot_be_answered_is_refused(photos: Path, tmp_path: Path) -> None:
    encoder, two = FakeEncoder(), ["red", "blue"]
    for count in (0, -1, 2.5):
        with pytest.raises(InputError, match="number of images to label"):
            next_to_label(encoder, photos, class_names=two, count=count)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="two or more, got 'red'"):
        next_to_label(encoder, photos, class_names=["red"])
    with pytest.raises(InputError, match="must be an Encoder"):
        next_to_label("starter", photos, class_names=two)  # type: ignore[arg-type]
    data = tmp_path / "pets"
    for name in COLORS:
        (data / name).mkdir(parents=True)
        for file in photos.glob(f"{name}*.png"):
            (data / name / file.name).write_bytes(file.read_bytes())
    with pytest.raises(
        InputError, match="labelled already, or to the model the same as labelled ones"
    ):
        next_to_label(encoder, photos, data=data)


def test_images_of_a_list_are_named_as_those_of_a_folder(photos: Path, tmp_path: Path) -> None:
    encoder = FakeEncoder()
    data = tmp_path / "pets"
    for name in ("green", "red"):
        (data / name).mkdir(parents=True)
        (data / name / "0.png").write_bytes((photos / f"{name}0.png").read_bytes())
    paths = sorted(photos.iterdir())
    rows = encoder.encode_images(paths)
    at = {path.stem: place for place, path in enumerate(paths)}
    listed = next_in_list(
        encoder, paths, rows, labelled=rows[[at["green0"], at["red0"]]], labels=["green", "red"],
        class_names=["blue"], count=5, options=OPTIONS,
    )  # fmt: skip
    folder = next_to_label(
        encoder, photos, data=data, class_names=["blue"], count=5, options=OPTIONS
    )
    assert listed.images == folder.images
    assert listed.class_names == folder.class_names == ("green", "red", "blue")
    with pytest.raises(InputError, match="got 11 paths for 12 embeddings"):
        next_in_list(encoder, paths[1:], rows, class_names=["red", "blue"])
    with pytest.raises(InputError, match="two or more"):
        next_in_list(encoder, paths, rows, class_names=["red"])
