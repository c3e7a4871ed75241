"""What can be adapted in towers of open_clip's, timm's and transformers'."""

from collections import Counter
from pathlib import Path

import pytest

from clipkit.errors import InputError
from clipkit.models.lora_targets import adaptable_weights, chosen_weights
from tests.models.lora_towers import make_towers

# Of each tower: how many weights have these parts.
QKV = ("q", "k", "v")
IMAGE = {
    "vit": {QKV: 2, ("out",): 2, ("linear",): 4},
    "attentional pooling": {
        QKV: 2,
        ("q",): 1,
        ("k",): 1,
        ("v",): 1,
        ("out",): 3,
        ("linear",): 4,
    },
    "resnet": {("conv",): 12, ("q",): 1, ("k",): 1, ("v",): 1, ("out",): 1},
}
TEXTS = {
    "native": {QKV: 2, ("out",): 2, ("linear",): 4},
    "bert": {("q",): 2, ("k",): 2, ("v",): 2, ("out",): 2, ("linear",): 5},
    "mt5": {("q",): 2, ("k",): 2, ("v",): 2, ("out",): 2, ("linear",): 7},
}


@pytest.mark.parametrize("kind", IMAGE)
def test_parts_of_image_towers(kind: str, tmp_path: Path) -> None:
    weights = adaptable_weights(make_towers(tmp_path, vision=kind).model)
    assert Counter(weight.parts for weight in weights if weight.tower == "image") == IMAGE[kind]


@pytest.mark.parametrize("kind", TEXTS)
def test_parts_of_text_towers(kind: str, tmp_path: Path) -> None:
    weights = adaptable_weights(make_towers(tmp_path, text=kind).model)
    assert Counter(weight.parts for weight in weights if weight.tower == "text") == TEXTS[kind]


def test_names_are_those_of_the_state_dict(tmp_path: Path) -> None:
    model = make_towers(tmp_path, text="bert").model
    state = model.state_dict()
    for weight in adaptable_weights(model):
        assert state[weight.name].data_ptr() == weight.tensor.data_ptr()


@pytest.mark.parametrize(
    ("vision", "expected"),
    [
        ("vit", {"q", "k", "v"}),
        ("timm vit", {"q", "k", "v"}),
        ("resnet", {"q", "k", "v", "conv"}),
        ("timm convolutions", {"conv"}),
        ("timm linear", {"linear"}),
    ],
)
def test_what_is_adapted_if_nothing_is_named(
    vision: str, expected: set[str], tmp_path: Path
) -> None:
    chosen = chosen_weights(make_towers(tmp_path, vision=vision).model, ("image",), ())
    assert {part for _, parts in chosen for part in parts} == expected
    assert {weight.tower for weight, _ in chosen} == {"image"}


def test_named_targets_are_adapted_and_nothing_else(tmp_path: Path) -> None:
    chosen = chosen_weights(make_towers(tmp_path).model, ("image", "text"), ("q", "v", "out"))
    assert Counter(parts for _, parts in chosen) == {("q", "v"): 4, ("out",): 4}


@pytest.mark.parametrize(
    ("vision", "towers", "targets", "message"),
    [
        (
            "timm convolutions",
            ("image", "text"),
            ("q", "k"),
            r"the image tower has none of model\.lora_targets = q, k: it has linear, conv\. Name "
            r'one of these too, or adapt the other tower alone by lora_towers = "text"',
        ),
        (
            "vit",
            ("image", "text"),
            ("q", "conv"),
            r"lora_targets names conv, which no adapted tower has: there are q, k, v, out, linear",
        ),
    ],
)
def test_targets_that_are_not_there(
    vision: str,
    towers: tuple[str, ...],
    targets: tuple[str, ...],
    message: str,
    tmp_path: Path,
) -> None:
    model = make_towers(tmp_path, vision=vision).model
    with pytest.raises(InputError, match=message):
        chosen_weights(model, towers, targets)  # type: ignore[arg-type]
