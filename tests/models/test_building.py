"""Towers from scratch: open_clip's own weights for a seed, and a vocabulary that fits."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from tokenizers import Tokenizer, models, processors

from clipkit.errors import CheckpointError
from clipkit.models.building import build_towers, with_logit_bias
from clipkit.models.checkpoint import load_towers, save_towers
from clipkit.models.open_clip_config import DEFAULT_PREPROCESS
from clipkit.models.sources import resolve_source
from clipkit.models.towers import Towers
from tests.models.conftest import TINY_BERT, TINY_TEXT, Family, make_open_clip, tiny_config

CLIP_TEXT = {**TINY_TEXT, "vocab_size": 49408}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def _write_config(folder: Path, **changes: Any) -> str:
    path = folder / "tiny.json"
    path.write_text(json.dumps(tiny_config(**{"text_cfg": CLIP_TEXT, **changes})))
    return str(path)


def _write_tokenizer(folder: Path, *, size: int, end_id: int, is_ended: bool = True) -> str:
    vocabulary = {f"w{number}": number for number in range(size)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    if is_ended:
        end = f"w{end_id}"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", special_tokens=[(end, end_id)]
        )
    tokenizer.enable_padding(length=8, pad_id=0)  # files in use have it on as often as not
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder)


def _features(model: Any, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        return model.encode_image(IMAGES), model.encode_text(token_ids)


def _token_ids(largest: int = 49407) -> torch.Tensor:
    token_ids = torch.randint(1, largest, (3, 16), generator=torch.Generator().manual_seed(2))
    token_ids[:, 9] = largest  # the end of the text
    return token_ids


def _assert_opens_in_open_clip(towers: Towers, directory: Path, token_ids: torch.Tensor) -> None:
    save_towers(towers, directory)
    loaded = load_towers(resolve_source(directory))
    upstream = open_clip.create_model(f"local-dir:{directory}").eval()
    expected = _features(towers.model, token_ids)
    for model in (loaded.model, upstream):
        for mine, theirs in zip(expected, _features(model, token_ids), strict=True):
            assert torch.equal(mine, theirs)
    assert torch.equal(upstream.logit_scale, towers.model.logit_scale)
    assert loaded.logit_bias == towers.logit_bias
    digest = "any"
    assert loaded.space_id(digest) == towers.space_id(digest)


def test_weights_are_those_that_open_clip_makes_after_the_same_seed(tmp_path: Path) -> None:
    towers = build_towers(_write_config(tmp_path), seed=3)
    torch.manual_seed(3)
    expected = open_clip.CLIP(**tiny_config(text_cfg=CLIP_TEXT)).state_dict()
    state = towers.model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert towers.logit_scale == pytest.approx(math.log(1 / 0.07))
    assert towers.logit_bias is None
    assert not any(module.training for module in towers.modules())


def test_building_leaves_the_random_state_of_the_process_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_towers(_write_config(tmp_path), seed=3)
    assert torch.equal(torch.rand(3), expected)


def test_another_seed_makes_other_weights(tmp_path: Path) -> None:
    path = _write_config(tmp_path)
    first, second = (build_towers(path, seed=seed).model.visual.proj for seed in (0, 1))
    assert not torch.equal(first, second)


def test_built_towers_are_saved_loaded_and_opened_by_open_clip(tmp_path: Path) -> None:
    towers = build_towers(_write_config(tmp_path), seed=0)
    assert towers.preprocess_cfg == {"size": 32, **DEFAULT_PREPROCESS}
    _assert_opens_in_open_clip(towers, tmp_path / "saved", _token_ids())


@pytest.mark.slow
def test_a_name_is_spelt_as_anywhere_else() -> None:
    towers = build_towers("rn50", seed=0)
    assert towers.model_cfg == open_clip.get_model_config("RN50")
    assert towers.image_size == (224, 224)
    assert towers.tokenizer_source.name == "bpe_simple_vocab_16e6.txt.gz"


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(CheckpointError, match=r"no architecture \"ViT-B-31\"; near it: .*ViT-B-32"):
        build_towers("ViT-B-31", seed=0)


def test_preprocess_of_a_file_is_kept(tmp_path: Path) -> None:
    model_cfg = tiny_config(text_cfg=CLIP_TEXT)
    content = {"model_cfg": model_cfg, "preprocess_cfg": {"mean": [0.5] * 3, "size": 99}}
    path = tmp_path / "full.json"
    path.write_text(json.dumps(content))
    towers = build_towers(str(path), seed=0)
    assert towers.preprocess_cfg == {**DEFAULT_PREPROCESS, "mean": [0.5] * 3, "size": 32}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "cannot be read"),
        ("[]", "must hold one JSON object in UTF-8, got a list"),
        ('{"embed_dim": 8, "vision_cfg": {}}', 'no valid "text_cfg"'),
        ('{"embed_dim": 8, "vision_cfg": {"wigth": 3}, "text_cfg": {}}', "wigth"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match=problem):
        build_towers(str(path), seed=0)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        build_towers(str(tmp_path / "none.json"), seed=0)


def test_sigmoid_starts_at_its_own_scale_and_bias(tmp_path: Path) -> None:
    towers = build_towers(_write_config(tmp_path), seed=0, is_sigmoid=True)
    assert towers.logit_scale == pytest.approx(math.log(10))
    assert towers.logit_bias == -10
    _assert_opens_in_open_clip(towers, tmp_path / "saved", _token_ids())


def test_scale_and_bias_of_a_config_are_respected(tmp_path: Path) -> None:
    path = _write_config(tmp_path, init_logit_scale=1.5, init_logit_bias=-2.5)
    for is_sigmoid in (False, True):
        towers = build_towers(path, seed=0, is_sigmoid=is_sigmoid)
        assert (towers.logit_scale, towers.logit_bias) == (1.5, -2.5)


@pytest.mark.parametrize("is_nonscalar", [False, True])
def test_a_bias_added_to_softmax_towers_lasts(tmp_path: Path, is_nonscalar: bool) -> None:
    config = {"nonscalar_logit_scale": True} if is_nonscalar else {}
    towers = build_towers(_write_config(tmp_path, **config), seed=0)
    assert with_logit_bias(towers) is towers
    assert towers.logit_scale == pytest.approx(math.log(10))
    assert towers.logit_bias == -10
    parameters = dict(towers.named_parameters())
    assert parameters["model.logit_bias"].shape == parameters["model.logit_scale"].shape
    _assert_opens_in_open_clip(towers, tmp_path / "saved", _token_ids())


def test_towers_with_a_bias_keep_it() -> None:
    config = tiny_config(init_logit_bias=-3.0)
    model = make_open_clip(config)  # sets 3.25 and -7.5
    towers = Towers(model, model_cfg=config, preprocess_cfg={}, tokenizer_source=Path())
    with_logit_bias(towers)
    assert (towers.logit_scale, towers.logit_bias) == (3.25, -7.5)


def test_a_vocabulary_of_ones_own_goes_into_the_checkpoint(tmp_path: Path) -> None:
    tokenizer = _write_tokenizer(tmp_path / "words", size=99, end_id=98)
    towers = build_towers(_write_config(tmp_path, text_cfg=TINY_TEXT), tokenizer=tokenizer, seed=0)
    assert towers.tokenizer_source == tmp_path / "words"
    _assert_opens_in_open_clip(towers, tmp_path / "saved", _token_ids(98))
    assert (tmp_path / "saved" / "tokenizer.json").read_bytes() == (
        tmp_path / "words" / "tokenizer.json"
    ).read_bytes()
    assert load_towers(resolve_source(tmp_path / "saved")).tokenizer_source == tmp_path / "saved"


def test_a_vocabulary_larger_than_the_tower_is_refused(tmp_path: Path) -> None:
    small = _write_config(tmp_path, text_cfg=TINY_TEXT)
    with pytest.raises(CheckpointError, match=r"has 99 tokens, too few for the 49408"):
        build_towers(small, seed=0)
    tokenizer = _write_tokenizer(tmp_path / "words", size=100, end_id=99)
    with pytest.raises(CheckpointError, match=r"vocab_size must be at least 100"):
        build_towers(small, tokenizer=tokenizer, seed=0)


@pytest.mark.parametrize(
    ("text_cfg", "end_id", "is_ended", "problem"),
    [
        ({}, 3, True, r"takes 49 as the end .* ends texts with 3.*\"eos_id\": 3"),
        ({}, 49, False, "marks no end of a text.*must add an end token"),
        ({"pool_type": "eos", "eos_id": 4}, 49, True, r"takes 4 as the end .* with 49"),
        ({"pool_type": "eos", "eos_id": 3}, 3, True, None),
        ({"pool_type": "last"}, 3, True, None),
    ],
)
def test_an_end_that_the_tower_would_miss_is_refused(
    tmp_path: Path, text_cfg: dict[str, Any], end_id: int, is_ended: bool, problem: str | None
) -> None:
    path = _write_config(tmp_path, text_cfg={**TINY_TEXT, **text_cfg})
    words = _write_tokenizer(tmp_path / "words", size=50, end_id=end_id, is_ended=is_ended)
    if problem is None:
        build_towers(path, tokenizer=words, seed=0)
    else:
        with pytest.raises(CheckpointError, match=problem):
            build_towers(path, tokenizer=words, seed=0)


def test_a_directory_without_a_tokenizer_or_with_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = _write_config(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds no tokenizer\.json"):
        build_towers(path, tokenizer=str(tmp_path), seed=0)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is not a tokenizer file"):
        build_towers(path, tokenizer=str(tmp_path), seed=0)


@pytest.mark.parametrize(
    ("name", "problem"),
    [("ViT-B-16-SigLIP", "takes its vocabulary from the hub"), ("roberta-ViT-B-32", "text tower")],
)
def test_what_needs_the_hub_says_what_to_do(name: str, problem: str, no_network: list[str]) -> None:
    with pytest.raises(CheckpointError, match=rf"{problem}.*model\.tokenizer"):
        build_towers(name, seed=0)
    assert no_network == []


def test_a_hugging_face_text_tower_is_built_from_its_folder_and_moves_with_it(
    family: Callable[[str], Family], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = family("hf-text").directory
    text_cfg: dict[str, Any] = {"hf_model_name": "some/bert", "hf_tokenizer_name": "some/bert"}
    text_cfg |= {"hf_proj_type": "linear", "hf_pooler_type": "mean_pooler", "context_length": 16}
    path = _write_config(tmp_path, text_cfg=text_cfg)
    first, second = (build_towers(path, tokenizer=str(folder), seed=7) for _ in range(2))
    state = second.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in first.state_dict().items())
    embedding = first.model.text.transformer.embeddings.word_embeddings.weight
    assert embedding.shape == (TINY_BERT["vocab_size"], TINY_BERT["hidden_size"])
    assert float(embedding.detach().std()) == pytest.approx(
        0.02, rel=0.1
    )  # BERT's initializer_range

    monkeypatch.chdir(folder)  # where open_clip looks for "."
    _assert_opens_in_open_clip(first, tmp_path / "saved", _token_ids(98))


def test_the_folder_of_a_file_is_where_its_text_tower_is_looked_for(
    family: Callable[[str], Family],
) -> None:
    case = family("hf-text")
    towers = build_towers(str(case.directory / "open_clip_config.json"), seed=0)
    assert towers.tokenizer_source == case.directory
    assert towers.model.text.config.model_type == "bert"


def test_a_text_tower_of_a_folder_named_by_its_whole_path_is_found(
    family: Callable[[str], Family], tmp_path: Path
) -> None:
    folder = str(family("hf-text").directory)
    text_cfg: dict[str, Any] = {"hf_model_name": folder, "hf_tokenizer_name": folder}
    text_cfg |= {"hf_proj_type": "linear", "hf_pooler_type": "mean_pooler", "context_length": 16}
    towers = build_towers(_write_config(tmp_path, text_cfg=text_cfg), seed=0)
    assert towers.model.text.config.model_type == "bert"
    assert towers.tokenizer_source == Path(folder)


def test_a_timm_tower_is_not_fetched(
    family: Callable[[str], Family], tmp_path: Path, no_network: list[str]
) -> None:
    vision_cfg = {**family("convnext").model_cfg["vision_cfg"], "timm_model_pretrained": True}
    towers = build_towers(_write_config(tmp_path, vision_cfg=vision_cfg), seed=0)
    assert towers.image_size == (64, 64)
    assert no_network == []
