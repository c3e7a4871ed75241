"""Directories of transformers' with a fault: refused with the reason, when they are loaded."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import clipkit
from clipkit.errors import CheckpointError
from clipkit.models import transformers_layout
from clipkit.models.transformers_preprocess import read_processor
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
    padding: dict[str, Any] = {"strategy": {"Fixed": 20}, "direction": "Left"}
    padding |= {
        "pad_to_multiple_of": None,
        "pad_id": 49407,
        "pad_type_id": 0,
        "pad_token": "<|endoftext|>",
    }
    change(directory / "tokenizer.json", {"padding": padding})
    assert "tokenizer.json pads texts on the left" in refusal(directory)
    change(directory / "tokenizer_config.json", {"padding_side": "right"})
    assert clipkit.load(directory, engine="torch", device="cpu").embed_dim == 28


def test_a_text_encoder_that_masks_another_token_than_the_padding_is_refused(
    copied: Callable[[str], Path],
) -> None:
    directory = copied("chinese_clip")
    change(directory / "config.json", {"text_config": {"pad_token_id": 3}})
    message = refusal(directory)
    assert "masks the token 3" in message
    assert "fills texts with 0, '[PAD]': set pad_token_id to 0" in message


@pytest.mark.parametrize("encoder", ["text_config", "vision_config"])
@pytest.mark.parametrize("family", ["clip", "metaclip_2", "chinese_clip", "siglip"])
def test_heads_that_do_not_divide_the_width_are_refused(
    family: str, encoder: str, copied: Callable[[str], Path]
) -> None:
    path = copied(family) / "config.json"
    change(path, {encoder: {"num_attention_heads": 7}})
    assert f'"{encoder}.num_attention_heads" must be a divisor' in refusal(path.parent)


def test_heads_that_are_missing_are_as_many_as_transformers_takes(
    copied: Callable[[str], Path],
) -> None:
    path = copied("clip") / "config.json"
    content = json.loads(path.read_text())
    del content["vision_config"]["num_attention_heads"]
    path.write_text(json.dumps(content))
    assert "which is 32; got none, which means 12" in refusal(path.parent)


WRONG_CONFIGS: list[tuple[str, dict[str, Any], str]] = [
    ("clip", {"text_config": 3}, '"text_config" must be an object; got 3'),
    ("clip", {"vision_config": ["a"]}, '"vision_config" must be an object'),
    ("clip", {"text_config_dict": "x"}, '"text_config_dict" must be an object'),
    ("clip", {"text_config": {"hidden_size": float("inf")}}, '"text_config.hidden_size"'),
    ("clip", {"vision_config": {"num_hidden_layers": 10**30}}, "from 1 to 200"),
    ("clip", {"vision_config": {"image_size": 10**30}}, '"vision_config.image_size"'),
    ("clip", {"vision_config": {"image_size": None}}, "got null"),
    ("clip", {"vision_config": {"intermediate_size": "72"}}, "got '72'"),
    ("clip", {"text_config": {"layer_norm_eps": "x"}}, "must be a number above 0"),
    ("clip", {"text_config": {"eos_token_id": 10**30}}, '"text_config.eos_token_id"'),
    ("clip", {"text_config": {"hidden_act": 3}}, '"text_config.hidden_act" must be a string'),
    ("clip", {"projection_dim": []}, '"projection_dim" must be a whole number'),
    ("chinese_clip", {"text_config": {"num_hidden_layers": 10**9}}, "from 1 to 200"),
    ("chinese_clip", {"text_config": {"pad_token_id": None}}, '"text_config.pad_token_id"'),
    ("siglip", {"text_config": {"max_position_embeddings": 1e400}}, "max_position_embeddings"),
    ("siglip", {"vision_config": {"layer_norm_eps": []}}, "must be a number above 0; got a list"),
]


@pytest.mark.parametrize(("family", "changes", "reason"), WRONG_CONFIGS)
def test_a_value_of_another_kind_or_size_in_the_config_is_refused(
    family: str, changes: dict[str, Any], reason: str, copied: Callable[[str], Path]
) -> None:
    directory = copied(family)
    change(directory / "config.json", changes)
    message = refusal(directory)
    assert message.startswith(f"{directory / 'config.json'} has a setting of another kind or size")
    assert reason in message


NO_FACTORS: list[Any] = [None, "", 0, [], 1e400]
NO_SIZES: list[Any] = ["48", 0, [], True]
NO_MEANS: list[Any] = ["x", [0.5], [1, 2, "3"], {}]
NO_DEVIATIONS: list[Any] = [0, [0, 1, 1], []]
NO_FILTERS: list[Any] = [[3], None, "3"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        *[({"rescale_factor": value}, "rescale_factor") for value in NO_FACTORS],
        *[({"size": value}, "size") for value in NO_SIZES],
        ({"size": None, "crop_size": "x"}, "crop_size"),
        *[({"crop_size": value}, "crop_size") for value in ("x", 0, [48, 48, 48])],
        *[({"image_mean": value}, "image_mean") for value in NO_MEANS],
        *[({"image_std": value}, "image_std") for value in NO_DEVIATIONS],
        *[({"resample": value}, "resample") for value in NO_FILTERS],
        ({"image_processor": 3}, "image_processor"),
    ],
)
def test_a_value_of_another_kind_or_size_in_the_image_processor_is_refused(
    changes: dict[str, Any], key: str, copied: Callable[[str], Path]
) -> None:
    path = _processor(copied("clip"))
    change(path, changes)
    message = refusal(path.parent)
    assert message.startswith(f"{path} has a setting of another kind or size")
    assert f'"{key}" must be' in message


@pytest.mark.parametrize("size", [{"shortest_edge": "48"}, {"height": 48}])
@pytest.mark.parametrize("key", ["size", "crop_size"])
def test_a_size_that_is_none_is_refused(
    key: str, size: dict[str, Any], copied: Callable[[str], Path]
) -> None:
    path = _processor(copied("clip"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {key: size}))
    assert f'"{key}" must be' in refusal(path.parent)


def test_one_mean_is_that_of_all_three_colors(copied: Callable[[str], Path]) -> None:
    path = _processor(copied("clip"))
    change(path, {"image_mean": 0, "image_std": 0.5})
    found = read_processor(path.parent)
    assert (found["mean"], found["std"]) == ([0.0] * 3, [0.5] * 3)


def _processor(directory: Path) -> Path:
    """Return the image processor's config, as older versions of transformers wrote it."""
    path = directory / "preprocessor_config.json"
    if not path.is_file():
        combined = directory / "processor_config.json"
        path.write_text(json.dumps(json.loads(combined.read_text())["image_processor"]))
        combined.unlink()
    return path


@pytest.mark.parametrize("key", ["pad_token", "unk_token"])
def test_a_special_token_that_is_no_string_is_refused(
    key: str, copied: Callable[[str], Path]
) -> None:
    for family in ("clip", "chinese_clip"):
        directory = copied(family)
        change(directory / "tokenizer_config.json", {key: [3]})
        assert f"{key} must be a string" in refusal(directory)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "another directory, or none"),
        (".", "another directory, or none"),
        ("model.safetensors.index.json", "it names an index"),
    ],
)
def test_an_index_that_names_no_weights_file_is_refused(
    name: str, reason: str, copied: Callable[[str], Path]
) -> None:
    directory = copied("clip")
    (directory / "model.safetensors").unlink()
    content = {"weight_map": {"logit_scale": name}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(content))
    assert reason in refusal(directory)


def test_a_scale_of_two_numbers_is_refused(copied: Callable[[str], Path]) -> None:
    path = copied("siglip") / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "logit_scale": torch.zeros(2)}, path)
    assert "have logit_scale in a shape that no siglip model" in refusal(path.parent)


def test_a_directory_without_weights_says_which_it_should_have(
    copied: Callable[[str], Path],
) -> None:
    directory = copied("clip")
    (directory / "model.safetensors").rename(directory / "adapter_model.safetensors")
    assert "a LoRA adapter, adapter_model.safetensors: merge it" in refusal(directory)
    (directory / "adapter_model.safetensors").unlink()
    message = refusal(directory)
    assert "one of model.safetensors, model.safetensors.index.json, pytorch_model.bin" in message
