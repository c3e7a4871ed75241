"""Directories of transformers' with a fault: refused with the reason, when they are loaded."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import clipkit
from clipkit.errors import CheckpointError
from clipkit.models import transformers_layout
from tests.models.transformers_models import TINY_TIMM, TransformersModel, make


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "clipkit"))
    monkeypatch.setitem(transformers_layout.TIMM_SIGLIP, (32, 2, 2, 16), TINY_TIMM)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], TransformersModel]]:
    """Return a function that gives a family's model, made once."""
    made: dict[str, TransformersModel] = {}

    def get(family: str) -> TransformersModel:
        if family not in made:
            made[family] = make(family, tmp_path_factory.mktemp("models") / family)
        return made[family]

    yield get


@pytest.fixture
def copied(model: Callable[[str], TransformersModel], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that gives a new directory with a family's model."""

    def copy(family: str) -> Path:
        target = tmp_path / family
        ignored = shutil.ignore_patterns("clip_files")
        return Path(shutil.copytree(model(family).directory, target, ignore=ignored))

    return copy


def change(path: Path, changes: dict[str, Any]) -> None:
    """Change values of a JSON file; None as a JSON null, objects key by key."""
    content = json.loads(path.read_text())
    for key, value in changes.items():
        is_part = isinstance(value, dict) and isinstance(content.get(key), dict)
        content[key] = content[key] | value if is_part else value
    path.write_text(json.dumps(content))


def refusal(directory: Path | str) -> str:
    """Return why a directory is refused."""
    with pytest.raises(CheckpointError) as caught:
        clipkit.load(directory, engine="torch", device="cpu")
    return str(caught.value)


@pytest.mark.parametrize(
    ("family", "other", "reason"),
    [
        ("chinese_clip", "clip", "has 40 tokens, and the tokenizer has ids up to 49407"),
        ("siglip", "clip", "has 40 tokens, and the tokenizer has ids up to 49407"),
        ("metaclip_2", "clip", "has 40 tokens, and the tokenizer has ids up to 49407"),
        ("clip", "metaclip_2", "takes 15 as the end of a text (pool_type argmax), and the"),
        ("metaclip_2", "siglip", "takes 2 as the end of a text (pool_type eos), and the"),
    ],
)
def test_the_tokenizer_of_another_model_is_refused(
    family: str,
    other: str,
    reason: str,
    copied: Callable[[str], Path],
    model: Callable[[str], TransformersModel],
) -> None:
    directory = copied(family)
    for path in model(other).directory.glob("*token*"):
        shutil.copy(path, directory)
    message = refusal(directory)
    assert reason in message
    assert "copy the tokenizer's files" in message


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("clip", "takes 49407 as the end of a text (pool_type argmax), and the tokenizer marks no"),
        ("metaclip_2", "takes 2 as the end of a text (pool_type eos), and the tokenizer marks no"),
        ("chinese_clip", "takes its features from the start of a text, and the tokenizer marks no"),
    ],
)
def test_a_tokenizer_without_marks_is_refused(
    family: str, reason: str, copied: Callable[[str], Path]
) -> None:
    directory = copied(family)
    change(directory / "tokenizer.json", {"post_processor": None})
    assert reason in refusal(directory)


def test_added_tokens_that_no_text_needs_are_no_fault(copied: Callable[[str], Path]) -> None:
    directory = copied("clip")
    path = directory / "tokenizer.json"
    content = json.loads(path.read_text())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"].append({"id": 49408, "content": "<x>", "special": False, **flags})
    path.write_text(json.dumps(content))
    assert clipkit.load(directory, engine="torch", device="cpu").embed_dim == 28


def test_a_tokenizer_of_clips_without_its_normalizer_is_refused(
    copied: Callable[[str], Path],
) -> None:
    directory = copied("clip")
    change(directory / "tokenizer.json", {"normalizer": None})
    assert "has no normalizer, and transformers' CLIPTokenizer always has one" in refusal(directory)


def test_padding_on_the_left_in_the_tokenizers_own_file_is_refused(
    copied: Callable[[str], Path],
) -> None:
    directory = copied("clip")
    padding = {"strategy": {"Fixed": 20}, "direction": "Left", "pad_to_multiple_of": None}
    padding |= {"pad_id": 49407, "pad_type_id": 0, "pad_token": "<|endoftext|>"}
    change(directory / "tokenizer.json", {"padding": padding})
    assert "tokenizer.json pads texts on the left" in refusal(directory)
    change(directory / "tokenizer_config.json", {"padding_side": "right"})
    assert clipkit.load(directory, engine="torch", device="cpu").embed_dim == 28


@pytest.mark.parametrize("number", [3, None])
def test_a_text_encoder_that_masks_another_token_than_the_padding_is_refused(
    number: int | None, copied: Callable[[str], Path]
) -> None:
    directory = copied("chinese_clip")
    change(directory / "config.json", {"text_config": {"pad_token_id": number}})
    message = refusal(directory)
    assert f"masks the token {number}" in message
    assert "fills texts with 0, '[PAD]': set pad_token_id to 0" in message
