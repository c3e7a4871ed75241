"""clipkit.evaluate from data on disk to figures: layouts, tasks, resuming, bad input."""

import dataclasses
import functools
import io
import json
import shutil
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipkit
from clipkit import EvaluationOptions, PairLayout
from clipkit.errors import InputError
from clipkit.evaluation.report import EvaluationReport
from clipkit.evaluation.report_text import report_tables
from clipkit.progress import Callbacks
from tests.fakes import FakeEncoder, save_image

COLORS = {"red": (250, 10, 0), "green": (0, 250, 10), "blue": (10, 0, 250)}


def png(color: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, "PNG")
    return file.getvalue()


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two images a class; one of green's is blue."""
    for name, color in COLORS.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(2):
            is_wrong = name == "green" and number
            save_image(
                tmp_path / "data" / name / f"{number}.png", COLORS["blue"] if is_wrong else color
            )
    return tmp_path / "data"


def bare(**changes: object) -> EvaluationOptions:
    return dataclasses.replace(EvaluationOptions(templates=("none",)), **changes)  # type: ignore[arg-type]


def test_class_folders_by_hand(folders: Path) -> None:
    report = clipkit.evaluate(FakeEncoder(), str(folders), bare())
    assert report.task == "zeroshot_classification"
    assert report.num_images == 6
    assert report.metrics["acc1"] == pytest.approx(5 / 6)
    assert report.metrics["mean_per_class_recall"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert "acc5" not in report.metrics
    assert [(entry.name, entry.taken_for) for entry in report.confusions] == [("green", "blue")]
    recalls = {entry.name: entry.recall for entry in report.classes}
    assert recalls == {"blue": 1.0, "green": 0.5, "red": 1.0}
    assert any("6 images are few" in line for line in report.warnings)


def test_the_report_is_json_in_clip_benchmarks_form(folders: Path) -> None:
    encoder = FakeEncoder(name="ViT-B-32/openai")
    found = json.loads(json.dumps(clipkit.evaluate(encoder, str(folders), bare()).to_dict()))
    assert (found["dataset"], found["model"], found["pretrained"]) == ("data", "ViT-B-32", "openai")
    assert found["metrics"]["acc1"] == pytest.approx(5 / 6)
    assert str(folders.parent) not in json.dumps(found)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("starter", ("starter", "")),
        ("hf-hub:org/repo", ("hf-hub:org/repo", "")),
        ("local-dir:/a/b", ("local-dir:/a/b", "")),
        ("ViT-B-32=/a/b.pt", ("ViT-B-32=/a/b.pt", "")),
    ],
)
def test_only_published_names_have_two_parts(model: str, expected: tuple[str, str]) -> None:
    report = EvaluationReport(model, "space", "data", "search", 1, {})
    assert (report.to_dict()["model"], report.to_dict()["pretrained"]) == expected


def test_a_table_with_labels(folders: Path) -> None:
    rows = ["file,species"] + [
        f"{path.relative_to(folders.parent)},{path.parent.name}" for path in folders.glob("*/*.png")
    ]
    table = folders.parent / "labels.csv"
    table.write_text("\n".join(rows))
    options = bare(label_column="species", layout=PairLayout(image_column="file"))
    report = clipkit.evaluate(FakeEncoder(), str(table), options)
    assert report.metrics["acc1"] == pytest.approx(5 / 6)


def benchmark_set(root: Path, *, names: str = "red\ngreen\nred\nblue\n") -> Path:
    """Class 0 and class 2 have one name, as two of ImageNet's pairs have."""
    for number, labels in enumerate([(0, 2), (1, 3)]):
        members: dict[str, bytes] = {}
        for label in labels:
            color = list(COLORS.values())[{0: 0, 1: 1, 2: 0, 3: 2}[label]]
            members |= {f"{label}.png": png(color), f"{label}.cls": str(label).encode()}
        write_shard(root / "test" / f"{number}.tar", members)
    (root / "test" / "nshards.txt").write_text("2\n")
    (root / "classnames.txt").write_text(names)
    (root / "zeroshot_classification_templates.txt").write_text("{c}\n")
    return root


def test_clip_benchmarks_layout_keeps_equal_names_apart(tmp_path: Path) -> None:
    report = clipkit.evaluate(FakeEncoder(), str(benchmark_set(tmp_path / "wds")))
    assert [entry.name for entry in report.classes] == ["red", "green", "red", "blue"]
    assert report.metrics["acc1"] == 3 / 4  # of two equal names the lower number comes first
    assert report.settings["templates"] == "of the dataset"


def test_clip_benchmarks_sets_are_read_from_an_address(tmp_path: Path) -> None:
    benchmark_set(tmp_path / "sets" / "wds")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "sets"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/wds"
        report = clipkit.evaluate(FakeEncoder(), address)
        server.shutdown()
    assert report.metrics["acc1"] == 3 / 4
    assert report.data == address


def test_clip_benchmarks_retrieval_sets(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for name, color in COLORS.items():
        members |= {f"{name}.png": png(color), f"{name}.txt": f"{name}\n{name} dark".encode()}
    write_shard(tmp_path / "wds" / "test" / "0.tar", members)
    (tmp_path / "wds" / "test" / "nshards.txt").write_text("1")
    (tmp_path / "wds" / "dataset_type.txt").write_text("retrieval\n")
    report = clipkit.evaluate(FakeEncoder(), str(tmp_path / "wds"))
    assert report.task == "zeroshot_retrieval"
    assert report.settings["captions"] == 6
    assert report.metrics["text_retrieval_recall@1"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("test/nshards.txt", "many"), "must hold a number of shards, got 'many'"),
        (("dataset_type.txt", "multilabel"), "is a multilabel dataset"),
        (("classnames.txt", ""), "has no classnames.txt"),
        (("classnames.txt", "red\n"), "1 of 4|hold no image|3 samples|one class"),
    ],
)
def test_a_benchmark_set_that_lacks_something_says_so(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    root = benchmark_set(tmp_path / "wds")
    (root / change[0]).write_text(change[1])
    with pytest.raises(InputError, match=message):
        clipkit.evaluate(FakeEncoder(), str(root))


def test_a_split_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    root = benchmark_set(tmp_path / "wds")
    with pytest.raises(InputError, match=r'has no split "val".*it has test'):
        clipkit.evaluate(FakeEncoder(), str(root), EvaluationOptions(split="val"))


def test_a_probe_finds_test_images_in_the_training_data(folders: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 3)):
        for name, color in COLORS.items():
            (folders.parent / part / name).mkdir(parents=True)
            for number in range(count):
                noisy = np.clip(np.array(color) + rng.integers(-40, 40, (64, 64, 3)), 0, 255)
                place = folders.parent / part / name / f"{number}.png"
                Image.fromarray(noisy.astype(np.uint8)).save(place)
    train, test = folders.parent / "train", folders.parent / "test"
    shutil.copy(train / "red" / "3.png", test / "red" / "1.png")
    options = EvaluationOptions(train=str(train), shots=4)
    report = clipkit.evaluate(FakeEncoder(), str(test), options)
    assert report.metrics["lp_acc1"] == 1.0
    assert report.settings["train_images"] == 12
    found = [(entry.test, entry.train) for entry in report.near_duplicates]
    assert found == [("red/1.png", "red/3.png")]
    assert "1 of 9 test images are in the training data" in report.warnings[0]


def test_classes_that_differ_are_named(folders: Path) -> None:
    other = folders.parent / "other"
    shutil.copytree(folders, other)
    (other / "red").rename(other / "pink")
    with pytest.raises(
        InputError, match=r"1 \('pink'\) only in training, 1 \('red'\) only in the test"
    ):
        clipkit.evaluate(FakeEncoder(), str(folders), EvaluationOptions(train=str(other)))


def test_a_class_without_training_images_is_named(folders: Path) -> None:
    train = folders.parent / "train"
    shutil.copytree(folders, train)
    for path in (train / "green").iterdir():
        path.write_bytes(b"rotten")
    with pytest.raises(InputError, match=r"1 of 3 classes have no training image.*: green"):
        clipkit.evaluate(FakeEncoder(), str(folders), EvaluationOptions(train=str(train)))


def test_a_probe_keeps_classes_of_equal_names_apart(tmp_path: Path) -> None:
    """Of two classes called red one is dark: the names tell nothing, the numbers do."""
    for part in ("train", "test"):
        members: dict[str, bytes] = {}
        for label, color in enumerate([(250, 0, 0), (0, 250, 0), (0, 0, 0), (0, 0, 250)]):
            for number in range(3):
                shown = (color[0], color[1], color[2] + number)
                key = f"{label}-{number}"
                members |= {f"{key}.png": png(shown), f"{key}.cls": str(label).encode()}
        write_shard(tmp_path / "wds" / part / "0.tar", members)
        (tmp_path / "wds" / part / "nshards.txt").write_text("1")
    (tmp_path / "wds" / "classnames.txt").write_text("red\ngreen\nred\nblue\n")
    report = clipkit.evaluate(FakeEncoder(), str(tmp_path / "wds"), EvaluationOptions(task="probe"))
    assert report.metrics["lp_acc1"] == 1.0
    assert {entry.recall for entry in report.classes} == {1.0}


def test_an_interrupted_evaluation_is_resumed(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipkit.encoder.stored_images._SAVE_SECONDS", 0)

    def stop(count: int) -> None:
        if count == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clipkit.evaluate(FakeEncoder(before_image=stop), str(folders), bare())
    again = FakeEncoder()
    report = clipkit.evaluate(again, str(folders), bare())
    assert len(again.encoded_images) == 2
    assert report.metrics["acc1"] == pytest.approx(5 / 6)
    other = FakeEncoder(space_id="another")
    clipkit.evaluate(other, str(folders), bare())
    assert len(other.encoded_images) == 6


def test_a_cache_that_cannot_be_written_stops_nothing(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "file"))
    said: list[str] = []
    callbacks = clipkit.Callbacks(say=said.append)
    report = clipkit.evaluate(FakeEncoder(), str(folders), bare(), callbacks=callbacks)
    assert report.metrics["acc1"] == pytest.approx(5 / 6)
    assert any("embeddings are not kept" in line for line in said)


def test_unreadable_images_are_listed(folders: Path) -> None:
    (folders / "red" / "0.png").write_bytes(b"rotten")
    report = clipkit.evaluate(FakeEncoder(), str(folders), bare())
    assert report.num_images == 5
    assert [Path(error.path).name for error in report.skipped] == ["0.png"]
    assert clipkit.evaluate(FakeEncoder(), str(folders), bare()).skipped[0].reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (EvaluationOptions(task="search"), "give a file with queries"),
        (EvaluationOptions(task="guess"), "task must be one of auto, "),  # type: ignore[arg-type]
        (EvaluationOptions(templates=("nonsense",)), "neither a template"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    folders: Path, options: EvaluationOptions, message: str
) -> None:
    with pytest.raises(clipkit.ClipkitError, match=message):
        clipkit.evaluate(FakeEncoder(), str(folders), options)


def test_one_class_measures_nothing(folders: Path) -> None:
    shutil.rmtree(folders / "red")
    shutil.rmtree(folders / "green")
    with pytest.raises(InputError, match="are of one class, blue"):
        clipkit.evaluate(FakeEncoder(), str(folders))


def test_images_of_which_none_can_be_read(folders: Path) -> None:
    for path in folders.glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none of 6 images can be read; the first: "):
        clipkit.evaluate(FakeEncoder(), str(folders))


def test_ten_thousand_classes(tmp_path: Path) -> None:
    """Names beyond the images' own, by number, in a file."""
    write_shard(tmp_path / "0.tar", {"a.png": png((250, 0, 0)), "a.cls": b"9999"})
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"word{number}" for number in range(9999)) + "\nred")
    options = bare(layout=PairLayout(class_names=str(names)))
    report = clipkit.evaluate(FakeEncoder(), str(tmp_path / "0.tar"), options)
    assert report.metrics["acc5"] == 1.0
    assert any("9999 of 10000 classes have no image" in line for line in report.warnings)


def test_folders_whose_names_are_in_a_file_are_not_asked_for_words(tmp_path: Path) -> None:
    for folder in ("n01440764", "n01443537", "red_fox", "red-fox"):
        (tmp_path / "ds" / folder).mkdir(parents=True)
        save_image(tmp_path / "ds" / folder / "a.png", (200, 0, 0))
    names = tmp_path / "names.txt"
    names.write_text("red\nblue\nred\ngreen\n")
    options = bare(layout=PairLayout(class_names=str(names)))
    told: list[str] = []
    report = clipkit.evaluate(
        FakeEncoder(), str(tmp_path / "ds"), options, callbacks=Callbacks(told.append, told.append)
    )
    assert report.metrics["acc1"] == 0.25  # of two classes of one name the first is right
    assert not [line for line in told if "WordNet" in line or "without their numbers" in line]


def write_table(path: Path, folders: Path, *rows: tuple[str, str], column: str = "kind") -> Path:
    lines = [f"{folders / name},{label}" for name, label in rows]
    path.write_text("\n".join([f"filepath,{column}", *lines]))
    return path


def test_paths_need_not_be_texts(folders: Path) -> None:
    options = EvaluationOptions(train=folders)
    report = clipkit.evaluate(FakeEncoder(), folders, options)
    assert report.settings["train"] == report.data == "data"


def test_a_table_without_captions_is_told_of_the_column_of_labels(folders: Path) -> None:
    table = write_table(folders.parent / "t.csv", folders, ("red/0.png", "a"), ("blue/0.png", "b"))
    with pytest.raises(InputError, match=r"it has filepath, kind.*\(--label-column\)"):
        clipkit.evaluate(FakeEncoder(), table)
    with pytest.raises(InputError, match=r"no column sort.*--label-column") as error:
        clipkit.evaluate(FakeEncoder(), table, bare(label_column="sort"))
    assert "--caption-column" not in str(error.value)


def test_labels_that_are_numbers_are_told(folders: Path) -> None:
    table = write_table(folders.parent / "t.csv", folders, ("red/0.png", "1"), ("blue/0.png", "2"))
    told: list[str] = []
    callbacks = Callbacks(warn=told.append)
    clipkit.evaluate(FakeEncoder(), table, bare(label_column="kind"), callbacks=callbacks)
    assert told[0].startswith("2 of 2 class names are only numbers")
    assert told[0].endswith("1; 2. Write their names into the column")


def test_a_column_of_labels_is_of_a_table(folders: Path) -> None:
    with pytest.raises(InputError, match="leave --label-column out"):
        clipkit.evaluate(FakeEncoder(), folders, bare(label_column="kind"))


def test_an_image_of_two_classes_is_refused(folders: Path) -> None:
    rows = (("red/0.png", "a"), ("blue/0.png", "b"), ("red/0.png", "b"), ("blue/0.png", "b"))
    table = write_table(folders.parent / "t.csv", folders, *rows)
    with pytest.raises(InputError, match=r"1 of 2 images.*red/0\.png with 'a', 'b'"):
        clipkit.evaluate(FakeEncoder(), table, bare(label_column="kind"))


def test_one_class_that_is_left_says_what_was_skipped(folders: Path) -> None:
    rows = (("red/0.png", "a"), ("blue/0.png", ""), ("gone.png", "c"))
    table = write_table(folders.parent / "t.csv", folders, *rows)
    with pytest.raises(InputError, match=r"one class, a, .*2 were skipped, such as .* line 3"):
        clipkit.evaluate(FakeEncoder(), table, bare(label_column="kind"))


def test_a_probe_without_training_data_is_refused(folders: Path) -> None:
    """Trained on the test images it would be right."""
    with pytest.raises(InputError, match="--train PAIRS"):
        clipkit.evaluate(FakeEncoder(), folders, EvaluationOptions(task="probe"))


def test_a_split_of_class_folders_can_be_named(folders: Path) -> None:
    root = folders.parent / "parts"
    for split in ("train", "test"):
        shutil.copytree(folders, root / split)
    shutil.rmtree(root / "train" / "red")
    report = clipkit.evaluate(FakeEncoder(), root, bare(split="train"))
    assert report.num_images == 4


def test_a_perfect_model_has_a_perfect_mean_recall(folders: Path) -> None:
    (folders / "green" / "1.png").unlink()
    report = clipkit.evaluate(FakeEncoder(), folders, bare())
    found = report.intervals["mean_per_class_recall"]
    assert (found.low, found.high) == (1.0, 1.0)


def test_a_table_that_is_cut_says_so(folders: Path) -> None:
    for number in range(11):
        shutil.copytree(folders / "red", folders / f"red {number} {'x' * 90}")
    report = clipkit.evaluate(FakeEncoder(), folders, bare())
    tables = dict(report_tables(report))
    rows = tables["classes, least found first (10 of 14, with --json more)"]
    assert len(rows) == 11
    assert max(len(row[0]) for row in rows) == 60


def test_few_captions_are_warned_of_and_one_image_is_refused(folders: Path) -> None:
    rows = [("red/0.png", "red"), ("blue/0.png", "blue"), ("green/0.png", "green")]
    table = write_table(folders.parent / "t.csv", folders, *rows, column="caption")
    report = clipkit.evaluate(FakeEncoder(), table)
    assert "3 images are few: image_retrieval_recall@1 is" in report.warnings[0]
    write_table(table, folders, *rows[:1], column="caption")
    with pytest.raises(InputError, match="has one image only"):
        clipkit.evaluate(FakeEncoder(), table)


def test_templates_are_not_passed_over_where_there_are_captions(folders: Path) -> None:
    rows = [("red/0.png", "red"), ("blue/0.png", "blue")]
    table = write_table(folders.parent / "t.csv", folders, *rows, column="caption")
    said: list[str] = []
    clipkit.evaluate(FakeEncoder(), table, bare(), callbacks=Callbacks(warn=said.append))
    assert [line for line in said if "templates are not used" in line]
