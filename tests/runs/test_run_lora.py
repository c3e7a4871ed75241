"""Runs that train adapters: what comes out, that it resumes bit for bit, and what is refused."""

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import clipkit
from clipkit.errors import CheckpointError, InputError, SpaceMismatchError
from clipkit.models.lora_info import LORA_NAME, read_info
from clipkit.progress import Callbacks
from clipkit.training.config import RunConfig
from tests.runs.conftest import Train, final_weights

# Tiny runs are warned of: few steps, small batches, few pairs to validate on.
pytestmark = pytest.mark.filterwarnings("ignore::clipkit.errors.ClipkitWarning")

WEIGHTS = "open_clip_model.safetensors"
FineTune = Callable[..., Path]


def _lora(fine_tune: FineTune, name: str = "tuned", **changes: Any) -> Path:
    model = {"lora_rank": 2, **changes.pop("model", {})}
    return fine_tune(name, model=model, **changes)


def _adapter_alone(run: Path, folder: Path, base: Path) -> Path:
    """Return a directory with the adapter of a run and a link to its base model."""
    folder.mkdir()
    shutil.copy(run.with_suffix("") / "final" / LORA_NAME, folder)
    (folder / "base").symlink_to(base)
    return folder


def test_run_leaves_a_whole_model_and_the_adapters_alone(
    fine_tune: FineTune, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = _lora(fine_tune, watch={"wise_ft": False})
    said: list[str] = []

    report = clipkit.train(RunConfig.from_toml(path), callbacks=Callbacks(say=said.append))

    assert 0 < report.num_trained < 0.01 * report.num_parameters
    assert f"{report.num_trained:,} of {report.num_parameters:,}" in " ".join(said)
    base, final = (load_file(folder / WEIGHTS) for folder in (tiny_checkpoint, report.checkpoint))
    changed = {name for name, value in base.items() if not np.array_equal(value, final[name])}
    assert changed == {name for name in base if name.endswith("in_proj_weight")}
    card = (report.checkpoint / "README.md").read_text()
    assert "- LoRA: rank 2, alpha 1, image and text encoder; lora.safetensors" in card
    assert str(tmp_path) not in (report.checkpoint / LORA_NAME).read_bytes().decode("latin-1")

    whole = clipkit.load(report.checkpoint, engine="torch")
    folder = _adapter_alone(path, tmp_path / "adapter", tiny_checkpoint)
    merged = clipkit.load(folder, engine="torch")
    assert merged.space_id == whole.space_id
    assert clipkit.load(folder / LORA_NAME, engine="torch").space_id == whole.space_id
    texts = ["a photo of a fig", "lightning"]
    np.testing.assert_array_equal(merged.encode_texts(texts), whole.encode_texts(texts))
    merged.save(tmp_path / "saved")
    assert clipkit.load(tmp_path / "saved", engine="torch").space_id == whole.space_id
    assert not (tmp_path / "saved" / LORA_NAME).exists()


@pytest.mark.slow
def test_wise_ft_scales_the_adapters(
    fine_tune: FineTune, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    # Without validation pairs alpha is 0.5, unless the retention set asks for less.
    path = _lora(fine_tune, data={"validation_fraction": 0.0}, watch={"retention_set": ""})

    report = clipkit.train(RunConfig.from_toml(path))

    assert report.alpha == 0.5
    assert read_info(report.checkpoint / LORA_NAME).alpha == 0.5
    trained = path.with_suffix("") / "checkpoints" / f"step-{report.best_step:08}"
    weights = [load_file(folder / WEIGHTS) for folder in (tiny_checkpoint, trained)]
    final = load_file(report.checkpoint / WEIGHTS)
    for name, value in final.items():
        expected = 0.5 * weights[0][name] + 0.5 * weights[1][name]
        np.testing.assert_allclose(value, expected, atol=1e-6)
    folder = _adapter_alone(path, tmp_path / "adapter", tiny_checkpoint)
    space_id = clipkit.load(report.checkpoint, engine="torch").space_id
    assert clipkit.load(folder, engine="torch").space_id == space_id

    again = clipkit.choose_again(path.with_suffix(""), ["watch.wise_ft=false"])

    assert again.alpha is None
    assert (again.checkpoint / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()
    assert (again.checkpoint / LORA_NAME).read_bytes() == (trained / LORA_NAME).read_bytes()


@pytest.mark.slow
def test_a_run_that_was_not_worth_it_ends_with_the_base_model_bit_for_bit(
    fine_tune: FineTune, tiny_checkpoint: Path
) -> None:
    path = _lora(fine_tune, watch={"max_forgetting": 0.0}, optimizer={"lr": 0.0})
    report = clipkit.train(RunConfig.from_toml(path))
    assert report.alpha == 0
    final, base = (
        clipkit.load(folder, engine="torch") for folder in (report.checkpoint, tiny_checkpoint)
    )
    assert final.space_id == base.space_id


@pytest.mark.slow
@pytest.mark.parametrize("model", [{}, {"lora_towers": "text"}, {"patch_dropout": 0.5}])
def test_killed_run_goes_on_bit_for_bit(
    fine_tune: FineTune, train: Train, model: dict[str, Any]
) -> None:
    changes = {"model": model, "compute": {"chunk_size": 3}}
    whole, killed = (_lora(fine_tune, name, **changes) for name in ("whole", "killed"))
    assert train(whole).status == 0
    words = (killed, "--set", "watch.checkpoint_steps=1")

    first = train(*words, signal_at=(3, signal.SIGKILL))
    second = train(*words)

    assert first.status == -signal.SIGKILL
    assert second.status == 0, second.err
    assert "resuming after step 2 of 4" in second.err
    assert final_weights(killed) == final_weights(whole)
    adapters = [run.with_suffix("") / "final" / LORA_NAME for run in (whole, killed)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()


@pytest.mark.slow
def test_features_of_images_are_kept_where_the_text_encoder_alone_is_adapted(
    fine_tune: FineTune,
) -> None:
    path = _lora(fine_tune, model={"lora_towers": "text"}, data={"crop_scale": [1.0, 1.0]})
    clipkit.train(RunConfig.from_toml(path))
    assert list((path.with_suffix("") / "features").iterdir())


@pytest.mark.slow
def test_an_adapter_without_its_base_or_with_another(
    fine_tune: FineTune, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path = _lora(fine_tune, watch={"wise_ft": False})
    clipkit.train(RunConfig.from_toml(path))
    final = path.with_suffix("") / "final"
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(final / LORA_NAME, folder)
    with pytest.raises(CheckpointError, match="put the directory of that model, or a link to it"):
        clipkit.load(folder, engine="torch")
    (folder / "base").symlink_to(final)
    with pytest.raises(SpaceMismatchError, match="Put that base model"):
        clipkit.load(folder, engine="torch")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"lock_image": True}, r"model\.lock_image keeps the image encoder as it is, and lora_tow"),
        (
            {"lock_text": True, "lora_towers": "text"},
            r'model\.lock_text .* set lora_towers = "image"',
        ),
        ({"lora_towers": "vision"}, r'model\.lora_towers must be one of "both", "image", "text"'),
        ({"lora_targets": ["query"]}, r'lora_targets must be one of "q", "k", "v", "out", "line'),
        ({"lora_rank": -1}, r"model\.lora_rank must be 0 or more, got -1"),
        ({"lora_alpha": 0}, r"model\.lora_alpha must be above 0"),
        ({"lora_rank": 0, "lora_alpha": 2}, "go with a lora_rank above 0"),
        ({"freeze_batch_norm": False}, "model.lora_rank keeps the batch norms of the base model"),
        (
            {"lock_image": True, "unlocked_image_groups": 1, "lora_towers": "text"},
            "trains adapters and no weight of the base model",
        ),
        ({"base": "", "architecture": "ViT-B-32"}, r"lora_rank = 2 adapts a base model"),
    ],
)
def test_settings_that_contradict_lora(model: dict[str, Any], message: str) -> None:
    settings = {"base": "starter", "lora_rank": 2} | model
    with pytest.raises(InputError, match=message):
        RunConfig.from_dict({"output": "run", "model": settings, "data": {"train": "photos"}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"lora_rank": 33}}, r"model\.lora_rank must be at most 32, got 33: transformer"),
        ({"model": {"lora_targets": ["q", "conv"]}}, "lora_targets names conv, which no adapted"),
        (
            {"model": {"lora_towers": "text", "patch_dropout": 0.5}},
            r'an image tower that is trained, and lora_towers = "text" keeps it',
        ),
        ({"loss": {"kind": "sigmoid"}}, r'needs a logit bias, .* set loss\.kind = "infonce"'),
    ],
)
def test_what_the_towers_cannot_do_is_refused_before_the_first_step(
    fine_tune: FineTune, changes: dict[str, Any], message: str
) -> None:
    path = _lora(fine_tune, **changes)
    with pytest.raises(InputError, match=message):
        clipkit.train(RunConfig.from_toml(path))


def test_defaults_and_the_preflight_know_lora(fine_tune: FineTune, tmp_path: Path) -> None:
    path = _lora(fine_tune)
    text = path.read_text().replace("lr = 0.001", "")
    path.write_text(text)
    config = RunConfig.from_toml(path)
    assert config.resolve().optimizer.lr == 2e-4

    found = clipkit.check(config)

    assert found.num_trained < 0.01 * found.num_parameters
    (line,) = (line for line in found.lines() if "weights (" in line)
    assert re.search(r"\(0\.\d+%\) are trained$", line)
    assert not [line for line in found.warnings if "optimizer.lr" in line]
    assert json.loads(json.dumps(found.to_dict()))["num_trained"] == found.num_trained
