"""The manifest: round trip, older and newer ones, and files that are missing, cut or changed."""

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path

import pytest

from clipkit.encoder.loading import load
from clipkit.errors import CheckpointError
from clipkit.runtime import bundle as runtime_bundle
from clipkit.runtime.base import Scoring
from clipkit.runtime.bundle import (
    GOLDEN_VECTORS,
    MANIFEST,
    Bundle,
    Parity,
    Refusal,
    StoredFile,
    is_bundle,
    verify,
    verify_once,
)

FILES = ("image_tower.onnx", "text_tower.onnx", "open_clip_model.safetensors", GOLDEN_VECTORS)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def test_a_manifest_says_after_reading_what_it_said_before(tmp_path: Path) -> None:
    parity = Parity(2, 3, 0.99, 0.98, 0.97, 0.96, 0.5, 0.4, 0.3)
    bundle = Bundle(
        name="x/y",
        space_id="0" * 16,
        embed_dim=5,
        image_size=(224, 196),
        scoring=Scoring(2.5, -10.0),
        padding_id=None,
        weights="w",
        reference="1" * 64,
        precisions={"fp32": parity},
        refused={"int8": Refusal("too far", parity), "int4": Refusal("never tried")},
        kept={"text": ["w"]},
        files={"w": StoredFile(3, "2" * 64)},
        origin={"/a/b.pt": (12, 34)},
        versions={"torch": "2.9"},
    )
    (tmp_path / MANIFEST).write_text(bundle.to_json())
    (tmp_path / "w").write_bytes(b"abc")
    assert Bundle.read(tmp_path) == bundle
    # The scale is stored as in a checkpoint: its logarithm, under the parameter's name.
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["scoring"] == {"logit_scale": 2.5, "logit_bias": -10.0}


def test_a_manifest_of_version_0_1_is_read(copy: Path) -> None:
    entries = json.loads((copy / MANIFEST).read_text())
    bundle = Bundle.read(copy)
    entries["format"] = 2
    del entries["kept"]
    parity = entries["precisions"]["fp32"]
    del parity["score_shift"]
    parity["num_pictures"] = parity.pop("num_images")
    parity["same_first_picture"] = parity.pop("same_first_image")
    (copy / MANIFEST).write_text(json.dumps(entries))
    found = Bundle.read(copy)
    assert found.format == 2
    assert found.files == bundle.files
    shift = found.precisions["fp32"].score_shift
    assert math.isnan(shift)
    assert dataclasses.replace(found.precisions["fp32"], score_shift=0.0) == dataclasses.replace(
        bundle.precisions["fp32"], score_shift=0.0
    )
    assert "shift" not in str(found.precisions["fp32"])
    assert found.precisions["fp32"].passes("fp32")  # by its cosines, as it did


@pytest.mark.slow
def test_a_whole_bundle_is_verified(bundle: Path) -> None:
    assert is_bundle(bundle)
    assert set(verify(bundle).files) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}: compile it again"):
        Bundle.read(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_cut_short_is_named(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match=rf"{name} has {len(content) - 1} bytes, not the"):
        Bundle.read(copy)


@pytest.mark.parametrize("name", FILES)
def test_changed_bytes_are_found_by_verifying(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[-1] ^= 1
    (copy / name).write_bytes(content)
    Bundle.read(copy)  # which reads no weights
    with pytest.raises(CheckpointError, match=f"{name} is not the file this bundle was compiled"):
        verify(copy)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 3}', "null", '{"format": [2]'])
def test_a_damaged_manifest_is_named(copy: Path, content: str) -> None:
    (copy / MANIFEST).write_text(content)
    with pytest.raises(CheckpointError, match=f"{MANIFEST} cannot be read"):
        Bundle.read(copy)


@pytest.mark.parametrize("field", ["parity", "precisions", "files"])
def test_a_manifest_of_other_entries_is_damaged(copy: Path, field: str) -> None:
    entries = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**entries, field: [1]}))
    with pytest.raises(CheckpointError, match="cannot be read as a manifest"):
        Bundle.read(copy)


@pytest.mark.parametrize(
    ("number", "message"),
    [(99, "written by a newer clipkit"), (1, "compiled by an older clipkit: compile it again")],
)
def test_other_formats_are_refused(copy: Path, number: int, message: str) -> None:
    entries = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**entries, "format": number}))
    with pytest.raises(CheckpointError, match=message):
        Bundle.read(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_replaced_after_verifying_is_found(copy: Path, name: str) -> None:
    verify_once(copy)
    file = copy / name
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)  # of the same size
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    for _ in range(2):  # a refusal is not remembered as a success
        with pytest.raises(CheckpointError, match=f"{name} is not the file .* remove {MANIFEST}"):
            verify_once(copy)


def test_what_was_verified_is_not_read_again(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify_once(copy)
    monkeypatch.setattr(runtime_bundle, "verify", pytest.fail)
    verify_once(copy)


def test_a_bundle_is_verified_where_nothing_can_be_remembered(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "file"))
    verify_once(copy)


def test_other_weights_of_the_same_size_are_not_loaded_as_the_old_model(copy: Path) -> None:
    load(copy)
    weights = copy / "open_clip_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not the file this bundle was compiled with"):
        load(copy)
    (copy / MANIFEST).unlink()
    assert load(copy, engine="torch").engine == "torch"
