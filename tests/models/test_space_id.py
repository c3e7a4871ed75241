"""space_id: equal for equal numbers however they are stored, other for any change."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipkit.models.space_id import space_id

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 8,
        "quick_gelu": True,
        "vision_cfg": {"layers": 2, "width": 4, "image_size": 16},
        "text_cfg": {"context_length": 5, "tokenizer_kwargs": {"clean": "lower"}},
    },
    "preprocess_cfg": {"size": 16, "mean": [0.5, 0.5, 0.5], "std": [0.1, 0.2, 0.3]},
    "kept_dims": 4,
}
TENSORS: dict[str, NDArray[Any]] = {
    "logit_scale": np.array(2.5, np.float32),
    "text.weight": np.arange(12, dtype=np.float32).reshape(3, 4) / 8,
    "visual.bias": np.array([0.5, -1.0, 0.0], np.float32),
}
REFERENCE = space_id(CONFIG, TENSORS.items(), "tokens")


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for key, item in enumerate(value) for leaf in _leaves(item, (*path, key))]
    return [path]


def test_the_id_is_16_hex_digits_and_the_same_on_every_machine() -> None:
    assert len(REFERENCE) == 16
    assert int(REFERENCE, 16)
    big_endian = {name: tensor.astype(">f4") for name, tensor in TENSORS.items()}
    assert space_id(CONFIG, big_endian.items(), "tokens") == REFERENCE


@given(st.permutations(list(TENSORS)), st.sampled_from([np.float16, np.float32, np.float64]))
def test_order_and_storage_format_do_not_change_it(order: list[str], dtype: Any) -> None:
    stored = [(name, TENSORS[name].astype(dtype)) for name in order]
    backwards = {key: CONFIG[key] for key in reversed(CONFIG)}
    assert space_id(backwards, stored, "tokens") == REFERENCE


@given(st.sampled_from(sorted(TENSORS)), st.data())
def test_any_one_changed_weight_changes_it(name: str, data: st.DataObject) -> None:
    changed = {key: tensor.copy() for key, tensor in TENSORS.items()}
    place = data.draw(st.integers(0, changed[name].size - 1))
    changed[name].flat[place] = np.nextafter(changed[name].flat[place], np.float32(9))
    assert space_id(CONFIG, changed.items(), "tokens") != REFERENCE


@pytest.mark.parametrize("path", _leaves(CONFIG), ids=str)
def test_any_one_changed_setting_changes_it(path: tuple[Any, ...]) -> None:
    changed = deepcopy(CONFIG)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = 7.25
    assert space_id(changed, TENSORS.items(), "tokens") != REFERENCE
    del place[path[-1]]
    assert space_id(changed, TENSORS.items(), "tokens") != REFERENCE


def test_a_renamed_reshaped_or_missing_tensor_or_another_tokenizer_changes_it() -> None:
    weight = TENSORS["text.weight"]
    others: list[dict[str, Any]] = [
        {**TENSORS, "text.weight": weight.reshape(4, 3)},
        {**TENSORS, "extra": weight},
        {name: TENSORS[name] for name in TENSORS if name != "visual.bias"},
    ]
    for tensors in others:
        assert space_id(CONFIG, tensors.items(), "tokens") != REFERENCE
    assert space_id(CONFIG, TENSORS.items(), "other tokens") != REFERENCE


def test_what_does_not_enter_the_computation_does_not_change_it() -> None:
    config = deepcopy(CONFIG)
    config["model_cfg"]["text_cfg"] |= {"hf_model_name": "/a/path", "hf_model_pretrained": False}
    config["model_cfg"]["vision_cfg"]["timm_model_pretrained"] = False
    config["model_cfg"]["embed_dim"] = 8.0
    config["model_cfg"]["init_logit_bias"] = None
    config["model_cfg"]["custom_text"] = False
    config["preprocess_cfg"]["mean"] = (0.5, 0.5, 0.5)
    tensors = {
        **TENSORS,
        "logit_scale": TENSORS["logit_scale"].reshape(1),
        "text.embeddings.position_ids": np.arange(5),
        "visual.bn.num_batches_tracked": np.array(3),
        "attn_mask": np.zeros((5, 5)),
    }
    assert space_id(config, tensors.items(), "tokens") == REFERENCE
