"""Each fault that raises nothing is planted alone, and found; its healthy twin passes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import clipkit
from clipkit.doctor.diagnose import diagnose
from clipkit.doctor.health import Diagnosis
from clipkit.doctor.model import diagnose_model
from clipkit.inputs.preprocess import OPENAI_MEAN, OPENAI_STD
from clipkit.models.known_models import known_architectures
from clipkit.models.sources import resolve_source
from clipkit.runtime.bundle import GOLDEN_VECTORS, MANIFEST, stored_file
from clipkit.runtime.cache import compile_into_cache
from tests.models.conftest import TINY_TEXT, make_open_clip, tiny_config, write_directory

pytestmark = pytest.mark.slow


def found(diagnosis: Diagnosis) -> set[str]:
    """Return the names of the checks that found a problem."""
    return {check.name for check in diagnosis.checks if check.verdict == "problem"}


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def starter_copy(starter_folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "starter"
    shutil.copytree(starter_folder, copy, ignore=shutil.ignore_patterns("recipe"))
    return copy


def other_images(**values: object) -> Callable[[Path], None]:
    def plant(directory: Path) -> None:
        edit(
            directory / "open_clip_config.json",
            lambda content: content["preprocess_cfg"].update(values),  # type: ignore[attr-defined]
        )

    return plant


def upper_case(directory: Path) -> None:
    edit(
        directory / "tokenizer.json",
        lambda content: content["normalizer"].update(lowercase=False),  # type: ignore[attr-defined]
    )


def truncated_weights(directory: Path) -> None:
    weights = directory / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100_000])


GOLDEN = "golden vectors, fp32 on onnx"
FAULTS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "nothing": (lambda directory: None, set()),
    "swapped mean and std": (
        other_images(mean=list(OPENAI_STD), std=list(OPENAI_MEAN)),
        {"mean and std", GOLDEN},
    ),
    "mean and std of another family": (
        other_images(mean=list(OPENAI_MEAN), std=list(OPENAI_STD)),
        {GOLDEN},
    ),
    "squash for crop": (other_images(resize_mode="squash"), {GOLDEN}),
    "upper case": (upper_case, {"case of texts", GOLDEN}),
    "truncated weights": (truncated_weights, {"weights file", "compiled files"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_starter_is_found_and_nothing_else(fault: str, starter_copy: Path) -> None:
    plant, names = FAULTS[fault]
    plant(starter_copy)
    diagnosis = diagnose_model(starter_copy)
    assert found(diagnosis) == names, diagnosis.problems
    assert diagnosis.is_healthy == (fault == "nothing")


def test_unpadded_texts_are_found(starter_copy: Path) -> None:
    vocabulary = json.loads((starter_copy / "tokenizer.json").read_text())["model"]["vocab"]
    other = next(word for word in vocabulary if word not in ("[PAD]", "[UNK]"))
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        edit(starter_copy / name, lambda content: content.update(pad_token=other))
    diagnosis = diagnose_model(starter_copy)
    assert found(diagnosis) == {"padding of texts", GOLDEN}
    assert "and the text tower ignores 0" in diagnosis.problems[0]


def test_a_wrong_activation_is_found_by_golden_vectors(starter_copy: Path) -> None:
    def on_torch() -> Diagnosis:
        return diagnose_model(starter_copy, engine="torch", device="cpu")

    assert found(on_torch()) == set()
    edit(starter_copy / "config.json", lambda content: content.update(hidden_act="relu"))
    assert found(on_torch()) == {"golden vectors, fp32 on torch"}


def test_a_wrong_activation_is_found_by_the_name_of_the_weights(tmp_path: Path) -> None:
    repo = known_architectures()["ViT-B-32"].tags["openai"].repo
    snapshot = tmp_path / f"models--{repo.replace('/', '--')}" / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    text_cfg = {**TINY_TEXT, "vocab_size": 49408, "context_length": 77}
    config = tiny_config(text_cfg=text_cfg, quick_gelu=True)
    write_directory(snapshot, make_open_clip(config), config)
    usual = {"mean": OPENAI_MEAN, "std": OPENAI_STD, "resize_mode": "shortest"}
    other_images(**usual)(snapshot)
    assert found(diagnose_model(snapshot, engine="torch", device="cpu")) == set()
    edit(
        snapshot / "open_clip_config.json",
        lambda content: content["model_cfg"].update(quick_gelu=False),  # type: ignore[attr-defined]
    )
    (problem,) = diagnose_model(snapshot, engine="torch", device="cpu").problems
    assert "these are the weights of ViT-B-32/openai, and image activation is GELU" in problem


def test_random_weights_are_found(tmp_path: Path) -> None:
    import open_clip

    config = tiny_config(text_cfg={**TINY_TEXT, "vocab_size": 49408})
    torch.manual_seed(0)
    write_directory(tmp_path, open_clip.CLIP(**config), config)
    names = {"training of the image encoder", "training of the text encoder"}
    assert found(diagnose_model(tmp_path, engine="torch", device="cpu")) == names


def test_a_logit_scale_that_is_no_logarithm_is_found(tmp_path: Path) -> None:
    config = tiny_config(text_cfg={**TINY_TEXT, "vocab_size": 49408})
    model = make_open_clip(config)
    with torch.no_grad():
        model.logit_scale.fill_(100.0)
    write_directory(tmp_path, model, config)
    assert found(diagnose_model(tmp_path, engine="torch", device="cpu")) == {"logit scale"}


def test_a_truncated_torch_file_is_found(tmp_path: Path) -> None:
    config = tiny_config(text_cfg={**TINY_TEXT, "vocab_size": 49408})
    model = make_open_clip(config)
    write_directory(tmp_path, model, config)
    (tmp_path / "open_clip_model.safetensors").unlink()
    path = tmp_path / "epoch_1.pt"
    torch.save({"state_dict": model.state_dict()}, path)
    assert found(diagnose_model(tmp_path, engine="torch", device="cpu")) == set()
    path.write_bytes(path.read_bytes()[:-1000])
    diagnosis = diagnose_model(tmp_path, engine="torch", device="cpu")
    assert found(diagnosis) == {"weights file"}
    assert diagnosis.model is None


def test_an_int8_bundle_with_damaged_features_is_found(tiny_checkpoint: Path) -> None:
    directory = compile_into_cache(resolve_source(tiny_checkpoint))
    diagnosis = diagnose_model(tiny_checkpoint)
    both = {"golden vectors, fp32 on onnx", "golden vectors, int8 on onnx"}
    assert both <= {check.name for check in diagnosis.checks}
    assert found(diagnosis) == set()
    path = directory / "image_tower.int8.bin"
    rounded = np.fromfile(path, dtype=np.int8)
    np.random.default_rng(0).permutation(rounded).tofile(path)
    assert found(diagnose_model(tiny_checkpoint)) == {"compiled files"}
    # The same with a manifest that says that all is well.
    manifest = json.loads((directory / MANIFEST).read_text())
    stored = stored_file(path)
    manifest["files"][path.name] = {"size": stored.size, "sha256": stored.sha256}
    (directory / MANIFEST).write_text(json.dumps(manifest))
    assert found(diagnose_model(tiny_checkpoint)) == {"golden vectors, int8 on onnx"}


def test_golden_vectors_that_cannot_be_read_are_found(starter_copy: Path) -> None:
    (starter_copy / GOLDEN_VECTORS).write_bytes(b"no vectors")
    assert found(diagnose_model(starter_copy)) == {"compiled files"}


def test_an_index_of_another_model_is_found(
    starter: clipkit.Encoder, samples: list[Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(samples[0], folder)
    clipkit.PhotoLibrary.open(folder, starter).sync()
    assert found(diagnose(folder)) == found(diagnose(folder, model="starter")) == set()
    diagnosis = diagnose(folder, model=tiny_checkpoint, device="cpu")
    assert found(diagnosis) == {"model of the index"}
    assert "uses it: run  clipkit index" in diagnosis.problems[0]
