"""What is locked stays the same, what is not is trained; open_clip's own functions where right."""

import copy
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clipkit.errors import InputError
from clipkit.models.building import build_model
from clipkit.models.freezing import (
    freeze_batch_norm,
    freeze_unreached,
    lock_image_tower,
    lock_text_tower,
    no_decay_names,
    set_gradient_checkpointing,
    set_patch_dropout,
)
from clipkit.models.towers import Towers
from tests.models.conftest import TINY_BERT, TINY_TEXT, tiny_config

TINY_TIMM = {"timm_pool": "", "timm_proj": "linear", "image_size": 32}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
HF_TEXT = {
    "hf_model_name": ".",
    "hf_proj_type": "linear",
    "hf_pooler_type": "mean_pooler",
    "context_length": 16,
}
HF_CONFIGS: dict[str, dict[str, Any]] = {
    "bert": TINY_BERT,
    "roberta": {**TINY_BERT, "model_type": "roberta"},
    "mt5": {
        "model_type": "mt5",
        "vocab_size": 99,
        "d_model": 32,
        "num_layers": 2,
        "num_heads": 2,
        "d_ff": 64,
        "d_kv": 16,
        "pad_token_id": 0,
    },
    "m2m_100": {
        "model_type": "m2m_100",
        "vocab_size": 99,
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "pad_token_id": 1,
    },
}
VISION: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 32, "layers": 3, "width": 64, "patch_size": 16},
    "resnet": RESNET,
    "timm-vit": {**TINY_TIMM, "timm_model_name": "test_vit"},
    "timm-random": {**TINY_TIMM, "timm_model_name": "test_vit", "timm_drop_path": 0.5},
    "timm-net": {**TINY_TIMM, "timm_model_name": "test_efficientnet", "timm_pool": "avg"},
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Towers]:
    """Return a function that builds tiny towers, native ones where it is not told otherwise."""

    def build(vision: str = "vit", text: str = "native", **changes: Any) -> Towers:
        folder = None
        text_cfg: dict[str, Any] = {**TINY_TEXT, "layers": 3}
        if text in HF_CONFIGS:
            folder, text_cfg = tmp_path, dict(HF_TEXT)
            (tmp_path / "config.json").write_text(json.dumps(HF_CONFIGS[text]))
        vision_cfg = VISION[vision] | changes.pop("vision_cfg", {})
        config = tiny_config(vision_cfg=vision_cfg, text_cfg=text_cfg, **changes)
        torch.manual_seed(0)
        model = build_model(config, "tiny", folder)
        with torch.no_grad():  # no weight is zero, so none is without a gradient by chance
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
        size = vision_cfg["image_size"]
        return Towers(
            model, model_cfg=config, preprocess_cfg={"size": size}, tokenizer_source=tmp_path
        )

    return build


def _trained(module: nn.Module) -> set[str]:
    return {name for name, item in module.named_parameters() if item.requires_grad}


def _image_names(towers: Towers) -> set[str]:
    return {name for name, _ in towers.named_parameters() if name.startswith("model.visual.")}


def _text_names(towers: Towers) -> set[str]:
    names = {name for name, _ in towers.named_parameters()} - _image_names(towers)
    return {name for name in names if not name.startswith("model.logit_")}


def _features(towers: Towers) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(4, 3, 32, 32, generator=generator)
    token_ids = torch.randint(1, 98, (4, towers.context_length), generator=generator)
    return towers.image_features(images), towers.text_features(token_ids)


def _train_step(towers: Towers) -> None:
    """Change every weight that may change, in train mode."""
    towers.train()
    image, text = _features(towers)
    torch.autograd.backward(image.sin().sum() + text.sin().sum())
    with torch.no_grad():
        for parameter in towers.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad + 0.01)


@pytest.mark.parametrize("vision", list(VISION))
def test_a_locked_image_tower_gives_the_same_features_in_train_mode_after_training(
    make: Callable[..., Towers], vision: str
) -> None:
    towers = make(vision)
    lock_image_tower(towers)
    lock_image_tower(towers)  # twice is once
    assert not _trained(towers) & _image_names(towers)
    assert _text_names(towers) < _trained(towers)
    before_image, before_text = (item.detach() for item in _features(towers))
    _train_step(towers)
    image, text = _features(towers)
    assert torch.equal(image, before_image)
    assert not torch.allclose(text, before_text)
    assert towers.training


@pytest.mark.parametrize("text", ["native", *HF_CONFIGS])
def test_a_locked_text_tower_gives_the_same_features_in_train_mode_after_training(
    make: Callable[..., Towers], text: str
) -> None:
    towers = make(text=text)
    lock_text_tower(towers)
    assert not _trained(towers) & _text_names(towers)
    assert _image_names(towers) < _trained(towers)
    before_image, before_text = (item.detach() for item in _features(towers))
    _train_step(towers)
    image, features = _features(towers)
    assert torch.equal(features, before_text)
    assert not torch.allclose(image, before_image)


@pytest.mark.parametrize("is_custom", [False, True])
@pytest.mark.parametrize("num_unlocked", [0, 1, 2, 3, 4])
def test_native_towers_are_locked_as_open_clip_locks_them(
    make: Callable[..., Towers], num_unlocked: int, is_custom: bool
) -> None:
    mine, theirs = (make(custom_text=is_custom) for _ in range(2))
    lock_image_tower(mine, unlocked_groups=num_unlocked)
    lock_text_tower(mine, unlocked_layers=num_unlocked)
    theirs.model.lock_image_tower(unlocked_groups=num_unlocked)
    theirs.model.lock_text_tower(unlocked_layers=num_unlocked)
    assert _trained(mine) == _trained(theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vision", "num_groups", "last_groups"),
    [
        ("vit", 5, ["visual.proj", "visual.transformer.resblocks.2"]),
        ("resnet", 6, ["visual.attnpool", "visual.layer4", "visual.layer3"]),
        ("timm-vit", 8, ["visual.head.proj"]),
        ("timm-net", None, ["visual.head.proj", "visual.trunk.conv_head"]),
    ],
)
def test_groups_of_the_image_tower_are_unlocked_from_its_output(
    make: Callable[..., Towers], vision: str, num_groups: int | None, last_groups: list[str]
) -> None:
    trained: set[str] = set()
    for number, prefix in enumerate(last_groups, start=1):
        towers = make(vision)
        lock_image_tower(towers, unlocked_groups=number)
        now = _trained(towers) & _image_names(towers)
        assert trained < now
        assert any(name.startswith(f"model.{prefix}") for name in now - trained)
        trained = now
    with pytest.raises(InputError, match=r"unlocked_image_groups must be 0 to (\d+), got 99") as no:
        lock_image_tower(make(vision), unlocked_groups=99)
    if num_groups is not None:
        assert f"must be 0 to {num_groups - 1}, got" in str(no.value)
    with pytest.raises(InputError, match="got -1"):
        lock_image_tower(make(vision), unlocked_groups=-1)


@pytest.mark.parametrize("vision", list(VISION))
def test_all_groups_but_the_first_leave_only_the_start_locked(
    make: Callable[..., Towers], vision: str
) -> None:
    towers = make(vision)
    try:
        lock_image_tower(towers, unlocked_groups=99)
    except InputError as error:
        largest = int(str(error).split(" to ")[1].split(",")[0])
    lock_image_tower(towers, unlocked_groups=largest)
    locked = _image_names(towers) - _trained(towers)
    assert 0 < len(locked) < 11
    ends = ("model.visual.proj", "model.visual.head", "model.visual.attnpool")
    assert not any(name.startswith(ends) for name in locked)


@pytest.mark.slow
@pytest.mark.parametrize("text", list(HF_CONFIGS))
def test_layers_of_a_hugging_face_tower_are_unlocked_from_its_output(
    make: Callable[..., Towers], text: str
) -> None:
    def trained(number: int) -> set[str]:
        towers = make(text=text)
        lock_text_tower(towers, unlocked_layers=number)
        return _trained(towers) & _text_names(towers)

    assert trained(1) == {"model.text.proj.weight"}
    assert all(".1." in name or "norm" in name.lower() for name in trained(2) - trained(1))
    assert all(".0." in name for name in trained(3) - trained(2))
    assert all("embed" in name for name in _text_names(make(text=text)) - trained(3))
    assert trained(1) < trained(2) < trained(3)
    with pytest.raises(InputError, match=r"unlocked_text_layers must be 0 to 3, got 4"):
        trained(4)


def test_locking_never_unlocks_fixed_positions(make: Callable[..., Towers]) -> None:
    towers = make(vision_cfg={"pos_embed_type": "sin_cos_2d"})
    assert "model.visual.positional_embedding" not in _trained(towers)
    lock_image_tower(towers, unlocked_groups=4)
    assert "model.visual.positional_embedding" not in _trained(towers)


def _norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


@pytest.mark.parametrize("vision", ["resnet", "timm-net"])
def test_frozen_batch_norms_survive_train_mode_copies_and_saving(
    make: Callable[..., Towers], vision: str
) -> None:
    towers = make(vision)
    names = set(towers.state_dict())
    assert freeze_batch_norm(towers) == len(_norms(towers)) > 0
    assert set(towers.state_dict()) == names
    for current in (towers, copy.deepcopy(towers)):
        before = copy.deepcopy([norm.state_dict() for norm in _norms(current)])
        current.train()
        current.train(mode=False).train()
        _train_step(current)
        for norm, state in zip(_norms(current), before, strict=True):
            assert all(
                torch.equal(tensor, state[name]) for name, tensor in norm.state_dict().items()
            )
        assert all(norm.train() is norm for norm in _norms(current))


def test_batch_norms_that_are_not_frozen_do_change(make: Callable[..., Towers]) -> None:
    towers = make("timm-net")
    before = _norms(towers)[0].running_mean
    assert before is not None
    before = before.clone()
    _train_step(towers)
    assert not torch.equal(before, _norms(towers)[0].running_mean)  # type: ignore[arg-type]


def test_a_frozen_batch_norm_keeps_timms_activation(make: Callable[..., Towers]) -> None:
    towers = make("timm-net")
    expected, _ = _features(towers.eval())
    freeze_batch_norm(towers)
    assert torch.equal(_features(towers.train())[0], expected)


def test_batch_norms_of_locked_groups_keep_their_statistics(make: Callable[..., Towers]) -> None:
    towers = make("resnet")
    lock_image_tower(towers, unlocked_groups=2)  # the pooling and the last stage
    before = copy.deepcopy(towers.state_dict())
    _train_step(towers)
    changed = {
        name.split(".")[2]
        for name, tensor in towers.state_dict().items()
        if name.endswith("running_mean") and not torch.equal(tensor, before[name])
    }
    assert changed == {"layer4"}


@pytest.mark.parametrize("vision", ["vit", "timm-vit"])
def test_patch_dropout_leaves_patches_out_in_train_mode_only(
    make: Callable[..., Towers], vision: str
) -> None:
    towers = make(vision)
    seen: list[int] = []
    visual = towers.model.visual
    blocks = visual.trunk.blocks if vision == "timm-vit" else visual.transformer.resblocks
    blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    names = set(towers.state_dict())
    for share in (0.5, 0.0):
        set_patch_dropout(towers, share)
        _features(towers.train())
        _features(towers.eval())
    whole = seen[1]
    assert seen == [1 + (whole - 1) // 2, whole, whole, whole]  # one class token
    assert set(towers.state_dict()) == names


def test_patch_dropout_of_rotary_towers_drops_positions_too(make: Callable[..., Towers]) -> None:
    small = {"timm_model_name": "eva02_tiny_patch14_224", "image_size": 224}
    towers = make("timm-vit", vision_cfg=small)
    towers.model.visual.trunk.blocks = towers.model.visual.trunk.blocks[:2]
    set_patch_dropout(towers, 0.75)
    seen: list[torch.Size] = []
    block = towers.model.visual.trunk.blocks[1]
    block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    torch.autograd.backward(towers.train().image_features(torch.randn(1, 3, 224, 224)).sum())
    assert seen == [(1, 1 + 256 // 4, 192)]
    set_patch_dropout(towers, 0)
    assert towers.model.visual.trunk.patch_drop is None


def test_patch_dropout_of_a_config_is_switched_off(make: Callable[..., Towers]) -> None:
    towers = make(vision_cfg={"patch_dropout": 0.5})
    set_patch_dropout(towers, 0)
    assert torch.equal(_features(towers.train())[0], _features(towers.eval())[0])


@pytest.mark.parametrize("vision", ["resnet", "timm-net"])
def test_patch_dropout_without_patches_is_refused(make: Callable[..., Towers], vision: str) -> None:
    towers = make(vision)
    set_patch_dropout(towers, 0)
    with pytest.raises(InputError, match=r"(ModifiedResNet|EfficientNet) does not"):
        set_patch_dropout(towers, 0.5)
    with pytest.raises(InputError, match="below 1, got 1"):
        set_patch_dropout(towers, 1)


@pytest.mark.parametrize(
    ("vision", "text"),
    [("vit", "native"), ("timm-vit", "native"), ("timm-net", "bert"), ("vit", "mt5")],
)
def test_gradient_checkpointing_gives_the_same_gradients_and_computes_twice(
    make: Callable[..., Towers], vision: str, text: str
) -> None:
    towers = make(vision, text)
    freeze_batch_norm(towers)
    trained = [item for item in towers.parameters() if item.requires_grad]
    calls = Counter[str]()
    for name, part in towers.named_modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            tower = "image" if name.startswith("model.visual.") else "text"
            part.register_forward_pre_hook(lambda *_, tower=tower: calls.update([tower]))
    results = []
    for is_on in (False, True, False):
        set_gradient_checkpointing(towers, is_on=is_on)
        towers.train()
        torch.manual_seed(1)  # BERT and mT5 have dropout
        calls.clear()
        image, features = _features(towers)
        gradients = torch.autograd.grad(image.sum() + features.sum(), trained, allow_unused=True)
        results.append((dict(calls), gradients))
    assert results[0][0] == results[2][0]
    for tower in ("image", "text"):
        assert results[0][0][tower] < results[1][0][tower]
    for plain, again in zip(results[0][1], results[1][1], strict=True):
        assert (plain is None) == (again is None)
        if plain is not None and again is not None:
            assert torch.allclose(plain, again, atol=1e-6)


def test_gradient_checkpointing_where_there_is_none_is_refused(make: Callable[..., Towers]) -> None:
    towers = make("resnet")
    set_gradient_checkpointing(towers, is_on=False)
    with pytest.raises(InputError, match="ModifiedResNet cannot"):
        set_gradient_checkpointing(towers, is_on=True)


def test_no_decay_is_open_clips_rule_and_the_positions(make: Callable[..., Towers]) -> None:
    towers = make(init_logit_bias=-10.0)

    def exclude(name: str, parameter: Tensor) -> bool:  # open_clip_train/main.py
        is_named = any(part in name for part in ("bn", "ln", "bias", "logit_scale"))
        return parameter.ndim < 2 or is_named

    theirs = {name for name, item in towers.named_parameters() if exclude(name, item)}
    positions = {"model.positional_embedding", "model.visual.positional_embedding"}
    assert no_decay_names(towers) == theirs | positions
    assert {"model.logit_scale", "model.logit_bias", "model.visual.class_embedding"} <= theirs
    assert "model.visual.proj" not in no_decay_names(towers)


def test_no_decay_asks_timm_and_hugging_face_towers(make: Callable[..., Towers]) -> None:
    towers = make("timm-vit", "bert")
    matrices = {name for name, item in towers.named_parameters() if item.ndim >= 2}
    embeddings = "model.text.transformer.embeddings"
    assert no_decay_names(towers) & matrices == {
        "model.visual.trunk.pos_embed",
        *({"model.visual.trunk.cls_token"} & matrices),
        *({"model.visual.trunk.reg_token"} & matrices),
        f"{embeddings}.position_embeddings.weight",
    }
    assert f"{embeddings}.word_embeddings.weight" in matrices


def test_gains_with_axes_of_size_one_get_no_decay(make: Callable[..., Towers]) -> None:
    towers = make(vision_cfg={"block_type": "custom", "scale_heads": True, "head_width": 16})
    gains = {name for name, _ in towers.named_parameters() if name.endswith("head_scale")}
    assert len(gains) == 3
    assert gains <= no_decay_names(towers)


def test_what_no_feature_depends_on_is_frozen(make: Callable[..., Towers], tmp_path: Path) -> None:
    config = tiny_config(
        vision_cfg={
            **VISION["vit"],
            "output_tokens": True,
            "attentional_pool": True,
            "attn_pooler_heads": 2,
            "attn_pooler_queries": 4,
        },
        text_cfg={**TINY_TEXT, "embed_cls": True, "output_tokens": True},
        multimodal_cfg={
            "context_length": 16,
            "vocab_size": 99,
            "width": 24,
            "heads": 2,
            "layers": 1,
        },
        custom_text=True,
    )
    model = build_model(config, "coca", None)
    towers = Towers(
        model, model_cfg=config, preprocess_cfg={"size": 32}, tokenizer_source=tmp_path
    ).train()
    decoder = {name for name in _trained(towers) if name.startswith("model.text_decoder.")}
    assert len(decoder) > 10
    assert set(freeze_unreached(towers)) == decoder
    assert "model.logit_scale" in _trained(towers)
    assert towers.training
    assert all(item.grad is None for item in towers.parameters())


@pytest.mark.parametrize(
    ("vision", "text"), [("vit", "native"), ("resnet", "roberta"), ("timm-net", "m2m_100")]
)
def test_towers_without_idle_weights_stay_trained(
    make: Callable[..., Towers], vision: str, text: str
) -> None:
    towers = make(vision, text)
    lock_text_tower(towers)
    trained, state = _trained(towers), copy.deepcopy(towers.state_dict())
    assert freeze_unreached(towers) == []
    assert _trained(towers) == trained
    assert all(torch.equal(tensor, state[name]) for name, tensor in towers.state_dict().items())
    lock_image_tower(towers)
    assert freeze_unreached(towers) == []
