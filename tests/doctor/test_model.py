"""diagnose_model: what it says of a model, and that it notices when embeddings are wrong."""

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from clipkit.doctor.description import ModelDescription
from clipkit.doctor.health import Diagnosis
from clipkit.doctor.model import diagnose_model
from clipkit.models import transformers_layout
from clipkit.runtime.bundle import GOLDEN_VECTORS, MANIFEST, Bundle, Parity, stored_file
from tests.models.conftest import TINY_TEXT, make_open_clip, tiny_config, write_directory
from tests.models.transformers_models import MAKERS, TINY_TIMM, make


def golden_of(diagnosis: Diagnosis) -> Parity:
    parity = described(diagnosis).golden
    assert parity is not None
    return parity


def described(diagnosis: Diagnosis) -> ModelDescription:
    assert diagnosis.model is not None, diagnosis.problems
    return diagnosis.model


@pytest.fixture
def copied_starter(starter_folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "starter"
    shutil.copytree(starter_folder, copy, ignore=shutil.ignore_patterns("recipe"))
    return copy


def test_the_starter_is_healthy_and_described_as_its_files_say(starter_folder: Path) -> None:
    diagnosis = diagnose_model("starter")
    config = json.loads((starter_folder / "open_clip_config.json").read_text())
    assert diagnosis.is_healthy
    assert diagnosis.problems == ()
    assert golden_of(diagnosis).num_images == 45
    # Golden vectors are kept in half precision: 1 - 2**-22 is what that leaves of a cosine.
    assert golden_of(diagnosis).p1_image_cosine > 1 - 1e-6
    assert golden_of(diagnosis).p1_text_cosine > 1 - 1e-6
    assert golden_of(diagnosis).same_first_image == 1
    assert list(described(diagnosis).image.mean) == config["preprocess_cfg"]["mean"]
    assert list(described(diagnosis).image.std) == config["preprocess_cfg"]["std"]
    assert described(diagnosis).image.resize_mode == config["preprocess_cfg"]["resize_mode"]
    assert described(diagnosis).image.size == (config["model_cfg"]["vision_cfg"]["image_size"],) * 2
    assert (
        described(diagnosis).text.context_length
        == config["model_cfg"]["text_cfg"]["context_length"]
    )
    assert described(diagnosis).text.pad_id == 0
    assert described(
        diagnosis
    ).text.is_lower_cased  # by its vocabulary: the cleaning keeps the case
    assert described(diagnosis).text.cleaning == "whitespace"
    assert (
        described(diagnosis).engine,
        described(diagnosis).device,
        described(diagnosis).precision,
    ) == ("onnx", "cpu", "fp32")


def test_a_diagnosis_is_json_with_the_names_of_its_fields() -> None:
    diagnosis = diagnose_model("starter")
    values = json.loads(json.dumps(diagnosis.to_dict()))
    assert set(values) == {
        *(entry.name for entry in dataclasses.fields(ModelDescription)),
        *("kind", "checks", "remarks", "problems", "is_healthy"),
    }
    assert values["checks"][0] == dataclasses.asdict(diagnosis.checks[0])
    assert values["is_healthy"]
    assert values["space_id"] == "99e77e9679ba13d0"
    assert Path(values["weights"]) == described(diagnosis).weights
    compilation = described(diagnosis).compilation
    assert compilation is not None
    assert Path(values["compilation"]["directory"]) == compilation.directory
    assert values["golden"]["same_first_image"] == golden_of(diagnosis).same_first_image


@pytest.mark.slow
def test_torch_is_compared_with_the_same_golden_vectors() -> None:
    diagnosis = diagnose_model("starter", engine="torch", device="cpu", precision="bf16")
    assert (described(diagnosis).engine, described(diagnosis).precision) == ("torch", "bf16")
    assert 0.99 < golden_of(diagnosis).mean_image_cosine < 1 - 1e-6


@pytest.mark.slow
def test_other_embeddings_are_a_problem(copied_starter: Path) -> None:
    # The same model with another mean: what a wrong preprocess costs, and nothing else tells.
    config = json.loads((copied_starter / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.1, 0.5, 0.9]
    (copied_starter / "open_clip_config.json").write_text(json.dumps(config))
    diagnosis = diagnose_model(copied_starter)
    assert not diagnosis.is_healthy
    (problem,) = diagnosis.problems
    assert problem.startswith("fp32 on onnx is too far from the original: cosine mean 0.")
    assert golden_of(diagnosis).mean_image_cosine < 0.999
    assert golden_of(diagnosis).mean_text_cosine > 0.999999


@pytest.mark.slow
def test_changed_bytes_are_a_problem(copied_starter: Path) -> None:
    path = copied_starter / "open_clip_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    diagnosis = diagnose_model(copied_starter)
    assert any("is not the file this bundle was compiled with" in p for p in diagnosis.problems)


def test_golden_vectors_of_other_inputs_are_not_compared(copied_starter: Path) -> None:
    manifest = json.loads((copied_starter / MANIFEST).read_text())
    (copied_starter / MANIFEST).write_text(json.dumps({**manifest, "reference": "0" * 64}))
    diagnosis = diagnose_model(copied_starter)
    assert described(diagnosis).golden is None
    assert diagnosis.is_healthy


@pytest.mark.slow
def test_golden_vectors_decide_and_not_the_parity_of_long_ago(copied_starter: Path) -> None:
    with np.load(copied_starter / GOLDEN_VECTORS) as content:
        images, texts = content["images"], content["texts"]
    np.savez(copied_starter / GOLDEN_VECTORS, images=images, texts=texts[::-1])
    manifest = json.loads((copied_starter / MANIFEST).read_text())
    stored = stored_file(copied_starter / GOLDEN_VECTORS)
    manifest["files"][GOLDEN_VECTORS] = {"size": stored.size, "sha256": stored.sha256}
    (copied_starter / MANIFEST).write_text(json.dumps(manifest))
    assert Bundle.read(copied_starter).precisions["fp32"].passes("fp32")
    (problem,) = diagnose_model(copied_starter).problems
    assert "too far from the original" in problem


def test_what_nobody_states_is_a_remark(tmp_path: Path) -> None:
    config = tiny_config(text_cfg={**TINY_TEXT, "vocab_size": 49408})
    write_directory(tmp_path, make_open_clip(config), config)
    path = tmp_path / "open_clip_config.json"
    content = json.loads(path.read_text())
    del content["preprocess_cfg"]
    path.write_text(json.dumps(content))
    diagnosis = diagnose_model(tmp_path, device="cpu")
    assert described(diagnosis).compilation is None
    assert described(diagnosis).golden is None
    assert diagnosis.is_healthy
    assert [remark.split(":")[0] for remark in diagnosis.remarks] == [
        "there are no golden vectors to compare with before it is compiled",
        f"{path} has no preprocess_cfg",
        "1 of 45 sample photographs are classified right among 44 labels, 1.0 by guessing",
    ]


@pytest.mark.parametrize("family", MAKERS)
def test_a_directory_of_transformers_is_described(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "clipkit"))
    monkeypatch.setitem(transformers_layout.TIMM_SIGLIP, (32, 2, 2, 16), TINY_TIMM)
    theirs = make(family, tmp_path / "0_CLIPModel")
    for directory in (theirs.directory, tmp_path):  # the second as sentence-transformers has it
        diagnosis = diagnose_model(directory, engine="torch", device="cpu")
        assert diagnosis.is_healthy
        assert described(diagnosis).weights == theirs.directory / "model.safetensors"
        assert described(diagnosis).image.size == (48, 48)
        assert described(diagnosis).text.context_length == 20
        remark = "there are no golden vectors to compare with before it is compiled"
        assert diagnosis.remarks[0] == remark


def test_the_newest_epoch_of_open_clip_train_is_described(tmp_path: Path) -> None:
    config = tiny_config(text_cfg={**TINY_TEXT, "vocab_size": 49408})
    model = make_open_clip(config)
    write_directory(tmp_path, model, config)
    (tmp_path / "open_clip_model.safetensors").unlink()
    torch.save({"epoch": 2, "state_dict": model.state_dict()}, tmp_path / "epoch_2.pt")
    diagnosis = diagnose_model(tmp_path, engine="torch", device="cpu")
    assert diagnosis.is_healthy
    assert described(diagnosis).weights == tmp_path / "epoch_2.pt"


@pytest.mark.slow
def test_damaged_weights_in_the_hubs_cache_are_a_problem(tmp_path: Path) -> None:
    text_cfg = {**TINY_TEXT, "vocab_size": 49408}
    model_cfg = tiny_config(text_cfg=text_cfg)
    snapshot = tmp_path / "models--org--tiny" / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    write_directory(snapshot, make_open_clip(model_cfg), model_cfg)
    weights = snapshot / "open_clip_model.safetensors"
    content = weights.read_bytes()
    blob = tmp_path / "models--org--tiny" / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir()
    weights.rename(blob)
    weights.symlink_to(blob)
    assert diagnose_model(snapshot, engine="torch", device="cpu").problems == ()
    status = blob.stat()
    with blob.open("rb+") as file:
        file.seek(len(content) // 2)
        file.write(bytes(1000))
    os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))  # so that it still loads

    (problem,) = diagnose_model(snapshot, engine="torch", device="cpu").problems

    assert problem.startswith(f"{weights} is damaged: its SHA-256 is ")
    assert problem.endswith('run  clipkit fetch --force "hf-hub:org/tiny@0123abcd"')


def test_what_was_not_looked_at_behind_wrong_files_is_said(copied_starter: Path) -> None:
    weights = copied_starter / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    diagnosis = diagnose_model(copied_starter)
    assert diagnosis.model is None
    assert diagnosis.checks[-1].name == "settings and embeddings"
    assert diagnosis.remarks[-1].startswith("not looked at")
