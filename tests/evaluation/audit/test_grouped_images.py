"""Groups of a column that can be compared, and those that cannot."""

from pathlib import Path

import pytest

from clipkit.data.pair import PairLayout
from clipkit.errors import InputError
from clipkit.evaluation.audit.grouped_images import column_groups, open_grouped
from clipkit.progress import Callbacks
from tests.evaluation.audit.conftest import Table


def test_groups_are_those_with_enough_images() -> None:
    cells = ["b"] * 25 + [None] * 3 + ["a"] * 20 + ["c"] * 19
    found = column_groups("side", cells)
    assert found.names == ("a", "b")
    assert found.images.tolist() == [*range(25), *range(28, 48)]
    assert found.groups.tolist() == [1] * 25 + [0] * 20
    assert [(one.name, one.count, one.is_shown) for one in found.sizes] == [
        ("b", 25, True),
        ("a", 20, True),
        ("c", 19, False),
    ]
    assert found.num_missing == 3


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([None] * 40, "has nothing for any image"),
        (["x"] * 40, r"has the group x only with 20 images or more \(x \(40\)\)"),
        (["x"] * 40 + ["y"], r"the group x only .*\(x \(40\); y \(1\)\)"),
        (["x", "y"] * 19, "has no group with 20 images or more"),
        (
            [str(n) for n in range(10_000)],
            "has 10,000 different values for 10,000 images.*names or",
        ),
        ([str(n // 20) for n in range(10_000)], "500 groups of 20 images or more, and at most 100"),
        ([], "has nothing for any image"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(cells: list[str | None], message: str) -> None:
    with pytest.raises(InputError, match=f"^the column side .*{message}" if cells else message):
        column_groups("side", cells)


def open_data(data: Path, **words: str) -> None:
    open_grouped(
        str(data),
        ("side",),
        groups_table=words.get("groups_table", ""),
        label_column=words.get("label_column", ""),
        layout=PairLayout(),
        callbacks=Callbacks(),
    )


def test_folders_need_a_table_of_groups(table: Table, tmp_path: Path) -> None:
    path = table(["red"] * 2, side=["x", "y"])
    with pytest.raises(InputError, match=r"is no table .* no column side: give the table"):
        open_data(tmp_path)
    with pytest.raises(InputError, match="so it has no column thing: its folders are"):
        open_data(tmp_path, groups_table=str(path), label_column="thing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no"):
        open_data(tmp_path / "empty", groups_table=str(path))
    other = tmp_path / "other" / "cat"
    other.mkdir(parents=True)
    (tmp_path / "images" / "0.png").rename(other / "0.png")
    with pytest.raises(InputError, match="says nothing of the images in"):
        open_data(tmp_path / "other", groups_table=str(path))


def test_a_label_column_without_labels(table: Table) -> None:
    path = table(["red"] * 2, side=["x", "y"], thing=["", ""])
    with pytest.raises(InputError, match="has nothing in the column thing"):
        open_data(path, label_column="thing")


def test_rows_of_one_image_that_differ_are_told_from_gaps(table: Table) -> None:
    path = table(["red"] * 2, side=["x", "y"])
    path.write_text("filepath,side\nimages/0.png,x\nimages/0.png,y\n")
    with pytest.raises(InputError, match="different things in the column side, for 1 of 1 images"):
        open_data(path)
