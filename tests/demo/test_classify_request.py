"""Labels as people type and paste them."""

import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

from clipkit.demo.classify_request import read_labels


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("cat, dog", ["cat", "dog"]),
        ("cat\ndog\r\n\nbird", ["cat", "dog", "bird"]),
        ("cat, dog\nbird;boat", ["cat", "dog", "bird", "boat"]),
        ("cat\tdog\nbird\tboat", ["cat", "dog", "bird", "boat"]),
        ("| animal |\n|---|\n| cup of coffee |", ["animal", "cup of coffee"]),
        ('"salt, pepper"\noil', ["salt, pepper", "oil"]),
        ('a sign that says "exit", cat', ['a sign that says "exit"', "cat"]),
        ("cat, cat ,cat", ["cat"]),
        ("t-shirt, -", ["t-shirt"]),
        (" , ;\n", []),
    ],
)
def test_labels_are_parted_and_named_once(text: str, labels: list[str]) -> None:
    assert read_labels(text) == labels
