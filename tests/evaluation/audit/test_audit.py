"""clipkit.audit from tables on disk to findings; a biased model is found and no other."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

import clipkit
from clipkit import AuditOptions, Interval, PairLayout
from clipkit.embeddings import normalize_rows
from clipkit.errors import InputError
from clipkit.evaluation.audit.column import measure_column, num_families
from clipkit.evaluation.audit.findings import ALPHA, findings_of
from clipkit.evaluation.audit.report import CANNOT_KNOW, Association, ColumnAudit, Finding
from clipkit.evaluation.audit.scores import AuditImages, score_texts
from clipkit.runtime.base import Scoring
from tests.evaluation.audit.conftest import Table, made_images, made_texts
from tests.fakes import FakeEncoder

SEEDS = 30


def findings(images: AuditImages, groups: np.ndarray) -> list[Finding]:
    texts = made_texts()
    scores = score_texts(images, texts)
    cells = ["one" if group else "none" for group in groups]
    found = measure_column("made", cells, scores, texts, families=num_families(scores))
    return findings_of(found)


def made_groups(seed: int) -> np.ndarray:
    return np.random.default_rng(1000 + seed).permutation(np.repeat([0, 1], [160, 120]))


def test_a_fair_model_is_rarely_accused() -> None:
    """Of 30 at most 5: more would come by chance once in 300 times, at one in twenty."""
    accused = sum(
        bool(findings(made_images(seed, made_groups(seed)), made_groups(seed)))
        for seed in range(SEEDS)
    )
    most = 5
    chance = sum(
        math.comb(SEEDS, n) * ALPHA**n * (1 - ALPHA) ** (SEEDS - n) for n in range(most + 1)
    )
    assert chance > 0.99
    assert accused <= most


@pytest.mark.parametrize(
    ("toward", "kind", "subject"),
    [(6, "association", "plus"), (4, "retrieval", "first"), (0, "equalised odds", "a")],
)
def test_a_model_that_copies_the_group_is_found_out(toward: int, kind: str, subject: str) -> None:
    """Of 15 all but 1: if each were found with 99 %, more would be missed once in 100 times."""
    found = 0
    for seed in range(SEEDS // 2):
        groups = made_groups(seed)
        some = findings(made_images(seed, groups, bias=2.5, toward=toward), groups)
        found += any((one.kind, one.subject, one.group) == (kind, subject, "one") for one in some)
    assert found >= SEEDS // 2 - 1


def test_a_table_with_labels_by_hand(table: Table) -> None:
    """Of group x all 24 are right; of y a green one in two is labelled blue."""
    colors = ["red", "green"] * 24
    groups = ["x"] * 24 + ["y"] * 24
    labels = [
        "blue" if group == "y" and color == "green" and number % 4 == 1 else color
        for number, (color, group) in enumerate(zip(colors, groups, strict=True))
    ]
    path = table(colors, thing=labels, side=groups)
    options = AuditOptions(("side",), label_column="thing", templates="none", queries=("red",))
    report = clipkit.audit(FakeEncoder(), str(path), options)
    (column,) = report.columns
    assert column.classification is not None
    found = {one.name: one.accuracy.mean for one in column.classification.groups}
    assert found == {"x": 1.0, "y": 0.75}
    assert column.classification.gap.mean == pytest.approx(0.25)
    assert (column.classification.best, column.classification.worst) == ("x", "y")
    assert column.classification.macro_accuracy.mean == pytest.approx(0.875)
    assert column.classification.tpr_gap is None  # no class has 20 images in two groups
    assert [one.count for one in column.sizes] == [24, 24]
    # Reds alternate between the groups: 12 of 24 each, and the first ten have as many of both.
    assert column.queries[0].at[0].k == 10
    assert report.cannot_know == CANNOT_KNOW
    assert report.num_families == 3


def test_the_report_is_json(table: Table) -> None:
    path = table(["red", "green"] * 30, side=["x", "y", "y"] * 20)
    report = clipkit.audit(FakeEncoder(), str(path), AuditOptions(("side",), queries=("red",)))
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["columns"][0]["queries"][0]["query"] == "red"
    assert found["columns"][0]["classification"] is None
    assert str(path.parent) not in json.dumps(found)
    assert found["concept_template"] == "a photo of {}"


def test_a_group_that_the_colour_gives_away_is_found(table: Table) -> None:
    colors = ["red", "blue"] * 30
    path = table(colors, side=["x", "y"] * 30, chance=["u", "v", "v", "u"] * 15)
    options = AuditOptions(("side", "chance"), queries=("red",), concepts=())
    report = clipkit.audit(FakeEncoder(), str(path), options)
    (finding,) = report.findings
    assert (finding.column, finding.kind, finding.group) == ("side", "retrieval", "x")
    # All of the first ten are of one of the groups, once for each of two columns.
    by_chance = 2 * math.comb(30, 10) / math.comb(60, 10)
    assert finding.p == pytest.approx(2 * by_chance, abs=0.003)
    assert "'x' is 2.00 times as frequent as among all 60" in finding.sentence


def test_gaps_and_small_groups_are_counted_and_left_out(table: Table) -> None:
    groups = ["x"] * 20 + ["y"] * 20 + [""] * 5 + ["  "] * 2 + ["z"]
    path = table(["red", "green"] * 24, side=groups)
    report = clipkit.audit(FakeEncoder(), str(path), AuditOptions(("side",)))
    (column,) = report.columns
    assert (column.num_images, column.num_missing) == (40, 7)
    assert [(one.name, one.is_shown) for one in column.sizes][-1] == ("z", False)
    assert {one.group for one in column.associations} == {"x", "y"}
    assert any("images without side: 7" in line for line in report.warnings)
    assert any("groups of side of fewer than 20 images: 1" in line for line in report.warnings)


def test_class_folders_with_a_table_of_groups(table: Table, tmp_path: Path) -> None:
    path = table(["red", "green"] * 24, side=["x", "x", "y", "y"] * 12)
    for number in range(48):
        place = tmp_path / "photos" / ("red", "green")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / f"{number}.png").rename(place / f"{number}.png")
    lines = path.read_text().splitlines()
    moved = [
        line.replace("images/", f"photos/{('red', 'green')[number % 2]}/")
        for number, line in enumerate(lines[1:])
    ]
    path.write_text("\n".join([lines[0], *moved]))
    options = AuditOptions(("side",), groups_table=path, templates="none")
    report = clipkit.audit(FakeEncoder(), tmp_path / "photos", options)
    assert report.class_names == ("green", "red")
    assert report.columns[0].classification is not None
    assert report.columns[0].classification.macro_accuracy.mean == 1.0


def test_an_interrupted_audit_is_resumed(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipkit.encoder.stored_images._SAVE_SECONDS", 0)
    path = table(["red", "green"] * 24, side=["x", "y"] * 24)

    def stop(count: int) -> None:
        if count == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clipkit.audit(FakeEncoder(before_image=stop), str(path), AuditOptions(("side",)))
    again = FakeEncoder()
    clipkit.audit(again, str(path), AuditOptions(("side",)))
    assert len(again.encoded_images) == 18


def test_unreadable_images_are_listed(table: Table) -> None:
    path = table(["red", "green"] * 24, side=["x", "y"] * 24)
    (path.parent / "images" / "3.png").write_bytes(b"rotten")
    report = clipkit.audit(FakeEncoder(), str(path), AuditOptions(("side",)))
    assert report.num_images == 47
    assert [Path(error.path).name for error in report.skipped] == ["3.png"]


def test_groups_that_cannot_be_read_are_too_small(table: Table) -> None:
    path = table(["red", "green"] * 24, side=["x", "y"] * 24)
    for number in range(1, 48, 6):
        (path.parent / "images" / f"{number}.png").write_bytes(b"rotten")
    with pytest.raises(InputError, match="the group x only with 20 images"):
        clipkit.audit(FakeEncoder(), str(path), AuditOptions(("side",)))


def test_files_that_are_no_images_leave_nothing(table: Table) -> None:
    path = table(["red", "green"] * 24, side=["x", "y"] * 24)
    for image in (path.parent / "images").iterdir():
        image.write_text("no image")
    with pytest.raises(InputError, match="none of 48 images can be read; the first: "):
        clipkit.audit(FakeEncoder(), str(path), AuditOptions(("side",)))


def test_a_model_that_fails_says_so(table: Table) -> None:
    path = table(["red", "green"] * 24, side=["x", "y"] * 24)

    def fail(count: int) -> None:
        raise clipkit.CheckpointError("the weights are damaged")

    with pytest.raises(clipkit.CheckpointError, match="damaged"):
        clipkit.audit(FakeEncoder(before_image=fail), str(path), AuditOptions(("side",)))


def test_ten_thousand_classes() -> None:
    """Each image is one of its own; nothing can be said of a class, and all of the accuracy."""
    rng = np.random.default_rng(0)
    classes = normalize_rows(rng.normal(size=(10_000, 16)))
    texts = dataclasses.replace(
        made_texts(), class_names=tuple(map(str, range(10_000))), classes=classes
    )
    labels = rng.permutation(10_000)[:200]
    images = AuditImages(classes[labels], labels, Scoring(log_scale=3.0))
    cells = ["x", "y"] * 100
    found = measure_column("side", cells, score_texts(images, texts), texts, families=3)
    assert found.classification is not None
    assert found.classification.macro_accuracy.mean == 1.0
    assert found.classification.tpr_gap is None


def test_one_class_has_no_accuracy(table: Table) -> None:
    path = table(["red"] * 48, side=["x", "y"] * 24, thing=["red"] * 48)
    options = AuditOptions(("side",), label_column="thing")
    report = clipkit.audit(FakeEncoder(), str(path), options)
    assert report.columns[0].classification is None
    assert any("one class only, red" in line for line in report.warnings)
    assert report.findings == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (AuditOptions(()), "needs the name of a column"),
        (AuditOptions(("gone",)), "has no column gone; it has filepath, side"),
        (AuditOptions(("side",), label_column="gone"), "has no column gone"),
        (AuditOptions(("side",), concepts=()), "needs classes, queries or concepts"),
        (AuditOptions(("side",), queries=(" ",)), "one of the queries is empty"),
        (AuditOptions(("side",), queries=tuple(map(str, range(101)))), "at most 100 queries"),
        (AuditOptions(("side",), templates="nonsense"), "neither a template"),
        (AuditOptions(("side",), groups_table="other.csv"), "is a table"),
        (AuditOptions(("side",), layout=PairLayout(image_column="gone")), "has no column gone"),
        (AuditOptions(("side",), layout=PairLayout(class_names="x")), "are for class folders"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    table: Table, options: AuditOptions, message: str
) -> None:
    path = table(["red", "green"] * 24, side=["x", "y"] * 24)
    with pytest.raises(InputError, match=message):
        clipkit.audit(FakeEncoder(), str(path), options)


def test_groups_without_a_class_in_common_are_told(table: Table) -> None:
    """The accuracy of "side" is that of red against that of green; "other" has both in each."""
    colors = ["red", "green"] * 40
    columns = {"side": ["x", "y"] * 40, "other": ["x", "x", "y", "y"] * 20}
    path = table(colors, thing=colors, **columns)
    options = AuditOptions(("side", "other"), label_column="thing")
    found = [
        line
        for line in clipkit.audit(FakeEncoder(), str(path), options).warnings
        if line.startswith("each class is in one group")
    ]
    assert len(found) == 1
    assert "one group of side only" in found[0]


def test_options_that_change_nothing_are_told(table: Table) -> None:
    path = table(["red", "green"] * 24, side=["x", "y"] * 24)
    swaps = (("man", "woman"), ("cat", "dog"), ("red", "blue"))
    options = AuditOptions(("side",), queries=("red",), swaps=swaps, templates="photo")
    warnings = clipkit.audit(FakeEncoder(), str(path), options).warnings
    assert [line.split(":")[0] for line in warnings] == [
        "the swap cat = dog changes nothing",
        "the templates are not used",
    ]


def test_of_two_groups_that_mirror_each_other_the_closer_one_is_named() -> None:
    some = tuple(
        Association("plus", group, Interval(effect, effect, effect, 90), 0.001)
        for group, effect in (("x", -0.5), ("y", 0.5))
    )
    (found,) = findings_of(ColumnAudit("side", 90, 0, (), associations=some))
    assert found.group == "y"
    assert "closer to 'plus'" in found.sentence
