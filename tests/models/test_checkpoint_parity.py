"""clipkit's features against open_clip's own code on random weights, for every family."""

from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch

from clipkit.models.checkpoint import load_towers, save_towers
from clipkit.models.sources import resolve_source
from clipkit.runtime.torch_runtime import TorchRuntime
from tests.models.conftest import FAMILIES, Family, largest_difference

pytestmark = pytest.mark.slow

Families = Callable[[str], Family]


@pytest.mark.parametrize("name", FAMILIES)
def test_features_of_a_directory_that_open_clip_wrote_equal_open_clips(
    family: Families, name: str
) -> None:
    case = family(name)
    towers = load_towers(resolve_source(case.directory))
    runtime = TorchRuntime(towers, device="cpu", space_id="0" * 16)
    with torch.inference_mode():
        image = case.model.encode_image(case.pixel_values)
        text = case.model.encode_text(case.token_ids)

    own_image = torch.from_numpy(runtime.image_features(case.pixel_values.numpy()))
    own_text = torch.from_numpy(runtime.text_features(case.token_ids.numpy()))

    assert largest_difference(own_image, image) <= 1e-5
    assert largest_difference(own_text, text) <= 1e-5
    assert largest_difference(image[:1], image[1:]) > 1e-3, "the check tells images apart"
    assert runtime.scoring.log_scale == 3.25
    assert runtime.scoring.logit_bias == (-7.5 if name == "ViT-B-16-SigLIP" else None)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "ViT-B-32"])
def test_saved_towers_open_in_plain_open_clip_with_equal_embeddings_and_preprocess(
    family: Families, name: str, tmp_path: Path
) -> None:
    case = family(name)
    towers = load_towers(resolve_source(case.directory))
    save_towers(towers, tmp_path / "saved")

    # open_clip looks for a Hugging Face text tower from where the process runs.
    text_cfg = {**towers.model_cfg["text_cfg"], "hf_model_name": str(tmp_path / "saved")}
    overrides = {"text_cfg": text_cfg} if name == "hf-text" else {}
    model, _, preprocess = open_clip.create_model_and_transforms(
        f"local-dir:{tmp_path / 'saved'}", **overrides
    )
    model.eval()
    before, _, preprocess_before = open_clip.create_model_and_transforms(
        f"local-dir:{case.directory}", load_weights=False, pretrained_text=False
    )
    with torch.inference_mode():
        image = largest_difference(
            model.encode_image(case.pixel_values), case.model.encode_image(case.pixel_values)
        )
        text = largest_difference(
            model.encode_text(case.token_ids), case.model.encode_text(case.token_ids)
        )
    assert image <= 1e-5
    assert text <= 1e-5
    assert repr(preprocess) == repr(preprocess_before)
    assert model.visual.preprocess_cfg == before.visual.preprocess_cfg
    if name == "ViT-B-16-SigLIP":  # padding and case
        text_cfg = open_clip.get_model_config(f"local-dir:{tmp_path / 'saved'}")["text_cfg"]
        assert text_cfg["tokenizer_kwargs"] == {"clean": "canonicalize"}
        assert text_cfg["context_length"] == 64


def test_a_saved_hugging_face_tower_opens_in_plain_open_clip_only_from_its_directory(
    family: Families, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Encoder.save says."""
    case = family("hf-text")
    saved = tmp_path / "saved"
    save_towers(load_towers(resolve_source(case.directory)), saved)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((OSError, ValueError)):
        open_clip.create_model(f"local-dir:{saved}")

    monkeypatch.chdir(saved)
    model = open_clip.create_model(f"local-dir:{saved}").eval()
    with torch.inference_mode():
        found, wanted = (each.encode_text(case.token_ids) for each in (model, case.model))
    assert largest_difference(found, wanted) <= 1e-5


@pytest.mark.parametrize("name", ["ViT-B-32", "convnext", "hf-text"])
def test_saving_and_loading_changes_no_bit_and_no_space_id(
    family: Families, name: str, tmp_path: Path
) -> None:
    case = family(name)
    first = load_towers(resolve_source(case.directory))
    save_towers(first, tmp_path / "saved")
    second = load_towers(resolve_source(tmp_path / "saved"))

    with torch.inference_mode():
        for tower, inputs in (("image", case.pixel_values), ("text", case.token_ids)):
            features = [getattr(one, f"{tower}_features")(inputs) for one in (first, second)]
            assert torch.equal(*features)
    assert first.space_id("tokens") == second.space_id("tokens")
    assert first.model_cfg["embed_dim"] == first.embed_dim
    for parameter, again in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(parameter, again)
