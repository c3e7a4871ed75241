"""The trial of bf16 against float32: the gate, and towers that stay what they were."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models.checkpoint import load_towers
from clipkit.models.sources import resolve_source
from clipkit.models.towers import Towers
from clipkit.runtime import parity, torch_autotune
from clipkit.runtime.autotune import Trial
from clipkit.runtime.torch_autotune import autotune_torch_precision, cast_copy

pytestmark = pytest.mark.filterwarnings("ignore::clipkit.inputs.tokenizer.TextCutWarning")


class Trials:
    """Stands in for the measurement: whoever passes the check is taken for the fastest."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.features: dict[str, Any] = {}

    def __call__(
        self,
        candidates: Mapping[str, Callable[[], object]],
        *,
        key: str,
        check: Callable[[str], str | None],
    ) -> Trial:
        self.keys.append(key)
        self.features = {name: call() for name, call in candidates.items()}
        safest, other = candidates
        reason = check(other)
        chosen = other if reason is None else safest
        return Trial(chosen, {}, {} if reason is None else {other: reason})


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> Trials:
    trials = Trials()
    monkeypatch.setattr(torch_autotune, "choose_fastest", trials)
    return trials


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch, samples: list[Path]) -> None:
    monkeypatch.setattr(torch_autotune, "reference_images", lambda: samples[:6])
    # An untrained model of 5 dimensions hardly tells images apart: any rounding changes orders.
    monkeypatch.setattr(parity, "_LEAST_SPREAD", 0.1)


@pytest.fixture
def towers(small_checkpoint: Path) -> Towers:
    torch.set_num_threads(1)
    return load_towers(resolve_source(small_checkpoint))


def _fastest(towers: Towers) -> Trial:
    return autotune_torch_precision(
        towers,
        Preprocess.from_config(towers.preprocess_cfg, towers.image_size),
        Tokenizer.from_config(towers.model_cfg["text_cfg"], towers.tokenizer_source),
        space_id="0123456789abcdef",
    )


def test_bf16_is_taken_if_it_keeps_the_embeddings(trials: Trials, towers: Towers) -> None:
    before = {name: tensor.clone() for name, tensor in towers.state_dict().items()}

    assert _fastest(towers) == Trial("bf16", {})

    fp32, bf16 = trials.features["fp32"], trials.features["bf16"]
    assert fp32.shape == bf16.shape
    assert not np.array_equal(fp32, bf16)  # it was bf16 that was tried
    for name, tensor in towers.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name]), name


def test_bf16_is_refused_with_the_figures_if_it_does_not(
    trials: Trials, towers: Towers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(towers: Towers, dtype: torch.dtype) -> Towers:
        other = cast_copy(towers, dtype)
        with torch.no_grad():
            other.model.text.proj.weight.mul_(torch.linspace(0.1, 2, 32, dtype=dtype))
        return other

    monkeypatch.setattr(torch_autotune, "cast_copy", damaged)
    trial = _fastest(towers)
    assert trial.chosen == "fp32"
    assert trial.refused["bf16"].startswith("cosine mean 0.99")  # the images' is not to blame
    assert "6 images" in trial.refused["bf16"]


def test_the_key_names_what_the_trial_depends_on(trials: Trials, towers: Towers) -> None:
    _fastest(towers)
    (key,) = trials.keys
    for fact in ("0123456789abcdef", f"torch {torch.__version__}", "threads", "cores"):
        assert fact in key


@pytest.mark.slow
def test_a_trial_is_not_run_twice(
    towers: Towers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    first = _fastest(towers)
    monkeypatch.setattr(torch_autotune, "TorchRuntime", None)
    assert _fastest(towers) == first


def test_a_cast_copy_shares_nothing_with_the_original() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    model.add_module("tied", model[0])
    config = {"embed_dim": 2, "text_cfg": {}}
    towers = Towers(model, model_cfg=config, preprocess_cfg={}, tokenizer_source=Path())

    copied = cast_copy(towers, torch.bfloat16)

    assert type(copied) is Towers
    assert copied.model.tied.weight is copied.model[0].weight
    originals = towers.state_dict()
    for name, tensor in copied.state_dict().items():
        counts = name.endswith("num_batches_tracked")
        assert tensor.dtype == (torch.int64 if counts else torch.bfloat16)
        assert tensor.data_ptr() != originals[name].data_ptr()
        assert torch.equal(tensor, originals[name].to(tensor.dtype))
    assert isinstance(copied.model[0].weight, torch.nn.Parameter)
