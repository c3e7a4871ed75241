"""Adapters on both towers: nothing changes at first, only they are trained, files merge exactly."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils import parametrize

from clipkit.errors import CheckpointError, InputError, SpaceMismatchError
from clipkit.models.freezing import (
    count_weights,
    freeze_unreached,
    no_decay_names,
    set_gradient_checkpointing,
)
from clipkit.models.lora import (
    LoraSettings,
    merge_lora,
    read_lora,
    scale_lora,
    write_lora,
)
from clipkit.models.lora_info import read_info
from clipkit.models.low_rank import adapters, plain_state
from clipkit.models.safetensors_header import read_metadata
from tests.models.lora_towers import DIGEST, TEXT, VISION, adapt, features_of, make_towers

KINDS = [*((vision, "native") for vision in VISION), *(("vit", text) for text in TEXT)]
kinds = pytest.mark.parametrize(("vision", "text"), KINDS)


@kinds
def test_new_adapters_change_no_bit(vision: str, text: str, tmp_path: Path) -> None:
    base, towers = (make_towers(tmp_path, vision, text) for _ in range(2))
    adapt(towers, is_trained=False)
    # torch rounds attention otherwise where weights ask for gradients, even under no_grad().
    base.requires_grad_(False)
    with torch.no_grad():
        assert torch.equal(features_of(towers), features_of(base))
    assert towers.space_id(DIGEST) == base.space_id(DIGEST)
    assert towers.lora is not None
    assert towers.lora.base_space_id == base.space_id(DIGEST)


@kinds
def test_merged_is_unmerged_also_from_a_file(vision: str, text: str, tmp_path: Path) -> None:
    base, merged, towers = (make_towers(tmp_path, vision, text) for _ in range(3))
    adapt(towers)
    write_lora(towers, tmp_path / "lora.safetensors")

    merge_lora(merged, tmp_path / "lora.safetensors")

    with torch.no_grad():
        unmerged = features_of(towers)
        assert (unmerged - features_of(base)).abs().max() > 0.01
        torch.testing.assert_close(features_of(merged), unmerged, rtol=0, atol=1e-5)
    assert not any(parametrize.is_parametrized(module) for module in merged.modules())
    assert merged.space_id(DIGEST) == towers.space_id(DIGEST) != base.space_id(DIGEST)


@kinds
def test_only_adapters_get_gradients(vision: str, text: str, tmp_path: Path) -> None:
    towers = make_towers(tmp_path, vision, text)
    adapt(towers)
    assert freeze_unreached(towers) == []
    towers.train()
    torch.autograd.backward(features_of(towers).sin().sum())

    with_gradient = {name for name, item in towers.named_parameters() if item.grad is not None}
    ours = {name for name, _ in towers.named_parameters() if name.endswith((".lora_A", ".lora_B"))}
    assert with_gradient == ours
    for name, item in towers.named_parameters():
        assert item.grad is None or item.grad.abs().max() > 0, name
    assert not towers.model.logit_scale.requires_grad
    assert count_weights(towers)[0] == sum(
        item.numel() for name, item in towers.named_parameters() if name in ours
    )


@pytest.mark.parametrize("chosen", ["image", "text"])
def test_one_tower_alone(chosen: str, tmp_path: Path) -> None:
    towers = make_towers(tmp_path)
    adapt(towers, LoraSettings(towers=chosen))  # type: ignore[arg-type]
    names = {name for name, _ in adapters(towers.model)}
    assert {name.startswith("visual.") for name in names} == {chosen == "image"}


def test_batch_norms_keep_their_running_means(tmp_path: Path) -> None:
    towers = make_towers(tmp_path, "resnet")
    adapt(towers)
    before = {name: value.clone() for name, value in towers.named_buffers()}
    features_of(towers.train())
    assert all(torch.equal(value, before[name]) for name, value in towers.named_buffers())


@pytest.mark.parametrize(("vision", "text"), [("vit", "native"), ("timm vit", "bert")])
def test_gradient_checkpointing_gives_the_same_gradient(
    vision: str, text: str, tmp_path: Path
) -> None:
    gradients = []
    for is_on in (False, True):
        towers = make_towers(tmp_path, vision, text)
        adapt(towers)
        set_gradient_checkpointing(towers, is_on=is_on)
        towers.train()
        for module in towers.modules():  # which draws random numbers
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        torch.autograd.backward(features_of(towers).sin().sum())
        gradients.append([item.grad for item in towers.parameters() if item.requires_grad])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("rank", [1, 2])
def test_weight_decay_draws_adapters_of_any_rank(rank: int, tmp_path: Path) -> None:
    towers = make_towers(tmp_path, text="bert")
    adapt(towers, LoraSettings(rank=rank))
    assert not [name for name in no_decay_names(towers) if "lora" in name]


def test_the_scale_is_alpha_by_the_root_of_the_rank(tmp_path: Path) -> None:
    base, towers = make_towers(tmp_path), make_towers(tmp_path)
    adapt(towers, LoraSettings(rank=4, alpha=3.0, targets=("v",)))
    name, adapter = next(adapters(towers.model))
    product = adapter.lora_B[0] @ adapter.lora_A[0]
    q, k, v = plain_state(towers.model)[name].chunk(3)
    before = base.model.state_dict()[name].chunk(3)
    assert torch.equal(q, before[0])
    assert torch.equal(k, before[1])
    torch.testing.assert_close(v, before[2] + 3.0 / math.sqrt(4) * product)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_share_of_the_adapters_is_an_interpolation_of_the_weights(
    share: float, tmp_path: Path
) -> None:
    base, towers = make_towers(tmp_path), make_towers(tmp_path)
    adapt(towers)
    before, after = base.model.state_dict(), plain_state(towers.model)

    scale_lora(towers, share)

    for name, tensor in plain_state(towers.model).items():
        expected = (1 - share) * before[name] + share * after[name]
        torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-6)


def test_the_ends_of_the_interpolation_are_bit_for_bit(tmp_path: Path) -> None:
    base, towers = make_towers(tmp_path), make_towers(tmp_path)
    adapt(towers)
    trained = towers.space_id(DIGEST)

    scale_lora(towers, 0.5)
    assert towers.space_id(DIGEST) not in (trained, base.space_id(DIGEST))
    scale_lora(towers, 0.0)
    assert towers.space_id(DIGEST) == base.space_id(DIGEST)
    scale_lora(towers, 1.0)
    assert towers.space_id(DIGEST) == trained


def test_a_scaled_adapter_is_written_as_it_is_scaled(tmp_path: Path) -> None:
    towers, merged = make_towers(tmp_path), make_towers(tmp_path)
    adapt(towers, LoraSettings(alpha=3.0))
    scale_lora(towers, 0.4)
    write_lora(towers, tmp_path / "lora.safetensors")
    assert read_info(tmp_path / "lora.safetensors").alpha == 0.4 * 3.0
    merge_lora(merged, tmp_path / "lora.safetensors")
    assert merged.space_id(DIGEST) == towers.space_id(DIGEST)


def test_a_file_goes_back_into_adapters_bit_for_bit(tmp_path: Path) -> None:
    trained, resumed = make_towers(tmp_path), make_towers(tmp_path)
    adapt(trained)
    adapt(resumed, is_trained=False)
    write_lora(trained, tmp_path / "lora.safetensors")
    read_lora(resumed, tmp_path / "lora.safetensors")
    for (_, one), (_, two) in zip(adapters(trained.model), adapters(resumed.model), strict=True):
        assert torch.equal(one.lora_A, two.lora_A)
        assert torch.equal(one.lora_B, two.lora_B)


def test_a_file_names_its_base_and_no_folder_of_this_machine(tmp_path: Path) -> None:
    towers = make_towers(tmp_path)
    adapt(towers)
    write_lora(towers, tmp_path / "lora.safetensors")

    said = json.loads(read_metadata(tmp_path / "lora.safetensors")["clipkit_lora"])

    assert said["base"] == "local-dir:birds"
    assert said["base_space_id"] == make_towers(tmp_path).space_id(DIGEST)
    assert (said["rank"], said["alpha"]) == (2, 1.0)
    assert "/models" not in str(said)
    tensors = load_file(tmp_path / "lora.safetensors")
    name = "visual.transformer.resblocks.0.attn.in_proj_weight.q"
    assert tensors[f"{name}.lora_A"].shape == (2, 64)
    assert tensors[f"{name}.lora_B"].shape == (64, 2)
    assert (tmp_path / "lora.safetensors").stat().st_size < 30_000


def test_a_rank_larger_than_a_weight(tmp_path: Path) -> None:
    message = r"model\.lora_rank must be at most 32, got 33: transformer\.\S+ has no more rows"
    with pytest.raises(InputError, match=message):
        adapt(make_towers(tmp_path), LoraSettings(rank=33))


def test_another_base_is_refused(tmp_path: Path) -> None:
    towers, other = make_towers(tmp_path), make_towers(tmp_path)
    adapt(towers)
    write_lora(towers, tmp_path / "lora.safetensors")
    with torch.no_grad():
        other.model.visual.ln_post.bias[0] += 1e-3
    before = other.space_id(DIGEST)
    message = (
        f"belongs to local-dir:birds of space {make_towers(tmp_path).space_id(DIGEST)}, .* is of "
        rf"space {before}.* Put that base model, or a link to it, at {tmp_path / 'base'}"
    )
    with pytest.raises(SpaceMismatchError, match=message):
        merge_lora(other, tmp_path / "lora.safetensors")
    assert other.space_id(DIGEST) == before


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _cut_to_nothing(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5])


def _with_nan(path: Path) -> None:
    tensors, said = load_file(path), read_metadata(path)
    tensors[sorted(tensors)[0]][0, 0] = torch.nan
    save_file(tensors, path, metadata=said)


def _of_another(path: Path) -> None:
    said = read_metadata(path)
    save_file({"visual.layer9.weight.conv.lora_A": torch.zeros(2, 3)}, path, metadata=said)


def _without_b(path: Path) -> None:
    tensors, said = load_file(path), read_metadata(path)
    del tensors[next(name for name in tensors if name.endswith("lora_B"))]
    save_file(tensors, path, metadata=said)


def _say(path: Path, **changes: object) -> None:
    """Write a file that says something else of itself; None: nothing of that."""
    said = json.loads(read_metadata(path)["clipkit_lora"]) | changes
    kept = {name: value for name, value in said.items() if value is not None}
    save_file(load_file(path), path, metadata={"clipkit_lora": json.dumps(kept)})


def _of_another_rank(path: Path) -> None:
    _say(path, rank=3)


def _unsaid(path: Path) -> None:
    save_file(load_file(path), path)


def _newer(path: Path) -> None:
    _say(path, format=2)


def _without_rank(path: Path) -> None:
    _say(path, rank=None)


def _of_rank_zero(path: Path) -> None:
    _say(path, rank=0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_cut, "is damaged or cut short"),
        (_cut_to_nothing, "is damaged or cut short: .* is too short"),
        (_with_nan, r"holds numbers that are not finite, in \S+lora_A: it is damaged, or its"),
        (_of_another, r"it adapts visual\.layer9\.weight\.conv, which is not adapted there"),
        (_without_b, r"does not fit its base model or these settings: \S+lora_B is missing, and"),
        (_of_another_rank, r"lora_A is \(2, \d+\), and should be \(3, \d+\)"),
        (_unsaid, "is no adapter of clipkit's: it does not name its base model"),
        (_newer, "has format 2, this clipkit reads 1"),
        (_without_rank, "what it says of its rank, scale or base model cannot be read"),
        (_of_rank_zero, r"is damaged: its rank is 0 and its alpha 1\.0"),
        (Path.unlink, "cannot be read: No such file"),
    ],
)
def test_files_that_are_no_good(
    spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    towers, path = make_towers(tmp_path), tmp_path / "lora.safetensors"
    adapt(towers)
    write_lora(towers, path)
    spoil(path)
    with pytest.raises(CheckpointError, match=message):
        merge_lora(make_towers(tmp_path), path)


def test_settings_say_what_a_file_must_have(tmp_path: Path) -> None:
    towers, other = make_towers(tmp_path), make_towers(tmp_path)
    adapt(towers)
    write_lora(towers, tmp_path / "lora.safetensors")
    adapt(other, replace(LoraSettings(), targets=("q", "v")))
    with pytest.raises(CheckpointError, match=r"adapts \S+\.k, which is not adapted there"):
        read_lora(other, tmp_path / "lora.safetensors")
