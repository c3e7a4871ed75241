"""The layouts that pairs come in, through ``clipkit train --check`` and ``clipkit filter``.

Each is written by hand below, with what is in it: so many pairs, these classes, this caption first.
"""

import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from tests.cli.conftest import Outcome
from tests.runs.conftest import save_architecture, save_run

Run = Callable[..., Outcome]
Content = bytes | str


def image(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), (number, 255 - number, number * 7 % 256)).save(file, "PNG")
    return file.getvalue()


def images(folder: str, numbers: range) -> dict[str, Content]:
    return {f"{folder}/{number:03}.png": image(number) for number in numbers}


def tar(members: Mapping[str, Content]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as shard:
        for name, content in members.items():
            content = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, io.BytesIO(content))
    return file.getvalue()


def parquet() -> bytes:
    import pyarrow
    from pyarrow import parquet

    cells = [{"bytes": image(number), "path": f"{number}.png"} for number in range(6)]
    table = pyarrow.table({"image": cells, "text": [f"image {number}" for number in range(6)]})
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def captions(folder: str, suffix: str = ".txt") -> dict[str, Content]:
    return {f"{folder}/{number:03}{suffix}": f"image {number}" for number in range(6)}


class Layout(NamedTuple):
    files: Mapping[str, Content]
    pairs: int = 6
    classes: tuple[str, ...] = ()
    first: str = "image 0"
    said: str = ""  # a part of what is printed
    place: str = "ds"
    settings: Mapping[str, str] = {}  # of [data]; paths of the layout


ROWS = [f"{number:03}.png,image {number}" for number in range(6)]
LAYOUTS = {
    "splits of classes": Layout(
        {
            **images("ds/train/cat", range(3)),
            **images("ds/train/dog", range(3, 6)),
            **images("ds/val/cat", range(6, 8)),
            **images("ds/val/dog", range(8, 10)),
        },
        classes=("cat", "dog"),
        first="a photo of a cat.",
        said="ds is divided into splits: {place}/train is read, not val",
    ),
    "numbered classes": Layout(
        {
            **images("ds/001.Black_footed_Albatross", range(3)),
            **images("ds/002.Laysan_Albatross", range(3, 6)),
        },
        classes=("Black footed Albatross", "Laysan Albatross"),
        first="a photo of a Black footed Albatross.",
        said="001.Black_footed_Albatross is Black footed Albatross",
    ),
    "numbers of WordNet with names": Layout(
        {
            **images("ds/n01440764", range(3)),
            **images("ds/n01443537", range(3, 6)),
            "names.txt": "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n",
        },
        classes=("tench", "goldfish"),
        first="a photo of a tench.",
        settings={"class_names": "names.txt"},
    ),
    "numbers of WordNet without names": Layout(
        {**images("ds/n01440764", range(3)), **images("ds/n01443537", range(3, 6))},
        classes=("n01440764", "n01443537"),
        first="a photo of a n01440764.",
        said="warning: 2 of 2 class names are numbers of WordNet",
    ),
    "images beside captions": Layout(
        {**images("ds/images", range(6)), **captions("ds/captions")},
        said="images are read from the folder images, and captions to them in captions",
    ),
    "an image folder with metadata.csv": Layout(
        {**images("ds", range(6)), "ds/metadata.csv": "\n".join(["file_name,text", *ROWS])},
        said="captions are those of {place}/metadata.csv",
    ),
    "splits with metadata.csv each": Layout(
        {
            **images("ds/train", range(6)),
            "ds/train/metadata.csv": "\n".join(["file_name,text", *ROWS]),
            **images("ds/test", range(6, 8)),
            "ds/test/metadata.csv": "file_name,text\n006.png,a\n007.png,b\n",
        },
        said="{place}/train is read, not test",
    ),
    "images inside Parquet": Layout({"ds.parquet": parquet()}, place="ds.parquet"),
    "numbers of classes in shards": Layout(
        {
            "ds.tar": tar(
                {
                    f"{number}.{suffix}": content
                    for number in range(6)
                    for suffix, content in (("png", image(number)), ("cls", str(number // 3)))
                }
            ),
            "names.json": '["cat", "great_white_shark"]',
        },
        classes=("cat", "great white shark"),
        first="a photo of a cat.",
        place="ds.tar",
        settings={"class_names": "names.json"},
    ),
    "a member of another name": Layout(
        {
            "ds.tar": tar(
                {
                    f"{number}.{suffix}": content
                    for number in range(6)
                    for suffix, content in (
                        ("png", image(number)),
                        ("txt", "alt text"),
                        ("en.txt", f"image {number}"),
                    )
                }
            )
        },
        place="ds.tar",
        settings={"caption_ending": "en.txt"},
    ),
    "an unsorted tar": Layout(
        {
            "ds.tar": tar(
                {f"{number}.png": image(number) for number in range(6)}
                | {f"{number}.txt": f"image {number}" for number in range(6)}
            )
        },
        said="ds.tar is an unsorted tar: the members of 6 samples do not lie beside each other "
        "(0; 1; 2; and 3 more)",
        place="ds.tar",
    ),
    "caption files": Layout({**images("ds", range(6)), **captions("ds", ".caption")}),
    "an empty text beside a good one": Layout(
        {
            **images("ds", range(6)),
            **captions("ds"),
            "ds/000.txt": "\n",
            "ds/000.json": '{"caption": "image 0"}',
        },
        said="1 caption files hold no caption, so another of the same name was read: 000.txt",
    ),
    "an export of Excel": Layout(
        {
            **images("ds/photos", range(6)),
            "ds/t.csv": "sep=;\r\nfilepath;title\r\n"
            + "".join(f"photos\\{number:03}.png;image {number}\r\n" for number in range(6)),
        },
        place="ds/t.csv",
    ),
    "an export in UTF-16": Layout(
        {
            **images("ds", range(6)),
            "ds/t.csv": "\r\n".join(["filepath,title", *ROWS]).encode("utf-16"),
        },
        place="ds/t.csv",
    ),
}


@pytest.fixture
def build(tmp_path: Path) -> Callable[[Mapping[str, Content]], None]:
    def build(files: Mapping[str, Content]) -> None:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    return build


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_check_says_what_is_there(
    name: str, run: Run, build: Callable[[Mapping[str, Content]], None], tmp_path: Path
) -> None:
    layout = LAYOUTS[name]
    build(layout.files)
    settings = {
        key: str(tmp_path / value) if key == "class_names" else value
        for key, value in layout.settings.items()
    }
    toml = save_run(
        tmp_path / "run.toml",
        save_architecture(tmp_path / "tiny.json"),
        tmp_path / layout.place,
        data=settings,
        compute={"batch_size": 3, "epochs": 1},
    )

    outcome = run("train", toml, "--check")

    assert outcome.status == 0, outcome.err
    lines = [line.strip() for line in outcome.out.splitlines()]
    place = tmp_path / layout.place
    assert lines[1].startswith(f"{layout.pairs} pairs with "), lines
    assert f"the first caption: {layout.first}" in lines
    if layout.classes:
        assert f"{len(layout.classes)} classes: {'; '.join(layout.classes)}" in lines
    assert layout.said.format(place=place) in outcome.err + outcome.out
    assert "0 pairs cannot be read" in lines


@pytest.mark.parametrize("name", LAYOUTS)
def test_filter_reads_the_same_pairs(
    name: str, run: Run, build: Callable[[Mapping[str, Content]], None], tmp_path: Path
) -> None:
    layout = LAYOUTS[name]
    build(layout.files)
    words: list[object] = []
    for key, value in layout.settings.items():
        option = f"--{key.replace('_', '-')}"
        words += [option, tmp_path / value if key == "class_names" else value]

    outcome = run(
        "filter", tmp_path / layout.place, "--min-words", 99, "--dry-run", "--report",
        tmp_path / "report.json", *words,
    )  # fmt: skip

    assert outcome.status == 1  # nothing has so many words
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["pairs"], report["skipped"]) == (layout.pairs, [])
    assert layout.said.format(place=tmp_path / layout.place) in outcome.err


@pytest.mark.slow
def test_a_run_validates_on_the_split_for_it(
    run: Run, build: Callable[[Mapping[str, Content]], None], tmp_path: Path
) -> None:
    build(LAYOUTS["splits of classes"].files)
    architecture = save_architecture(tmp_path / "tiny.json")
    changes = {"compute": {"batch_size": 3, "epochs": 1}, "watch": {"patience": 1}}
    toml = save_run(tmp_path / "run.toml", architecture, tmp_path / "ds", **changes)

    check = json.loads(run("train", toml, "--check", "--json").out)
    report = json.loads(run("train", toml, "--json").out)

    assert (check["train"]["num_pairs"], check["validation"]["num_pairs"]) == (6, 4)
    assert set(report["final"]) == {"accuracy", "accuracy_log_probability"}  # of its classes
    assert "validated on `ds`" in (tmp_path / "run/final/README.md").read_text()


def test_links_are_one_image(
    run: Run, build: Callable[[Mapping[str, Content]], None], tmp_path: Path
) -> None:
    build({"ds/a.png": image(1), "ds/a.txt": "an apple", "ds/b.png": image(2), "ds/b.txt": "a bee"})
    build({"ds/fruit.txt": "a fruit"})
    (tmp_path / "ds/fruit.png").symlink_to("a.png")
    os.link(tmp_path / "ds/b.png", tmp_path / "ds/c.png")

    outcome = run("filter", tmp_path / "ds", "--max-words", 9, "--out", tmp_path / "kept.jsonl")

    assert outcome.status == 0
    rows = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_text().splitlines()]
    assert rows == [
        {"filepath": "ds/a.png", "title": ["an apple", "a fruit"]},
        {"filepath": "ds/b.png", "title": ["a bee"]},
    ]
    assert "a.png = fruit.png; b.png = c.png" in outcome.err
