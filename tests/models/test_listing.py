"""Which models there are: names, sizes, published accuracy, and what is on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from clipkit.models.known_models import published_accuracy, recommended_models
from clipkit.models.listing import list_models

PutInHubCache = Callable[[str, str, Path], None]


LAION = "ViT-B-32/laion2b_s34b_b79k"


LAION_REPO = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"


WEIGHTS = "open_clip_model.safetensors"


def test_the_list_has_names_sizes_accuracy_and_what_is_here(
    put_checkpoint: Callable[..., Path], put_in_hub_cache: PutInHubCache, tmp_path: Path
) -> None:
    put_checkpoint("org/tiny")
    (tmp_path / "weights").write_bytes(b"")
    put_in_hub_cache(LAION_REPO, WEIGHTS, tmp_path / "weights")

    models = {listing.name: listing for listing in list_models()}

    assert len(models) > 150
    assert models[LAION].parameters == 151_277_313
    assert models[LAION].image_size == 224
    assert models[LAION].imagenet_top1 == 0.6656
    assert models[LAION].is_here
    assert models["hf-hub:org/tiny"].is_here
    assert models["hf-hub:org/tiny"].imagenet_top1 is None
    assert not models["RN50/openai"].is_here
    places = [listing.is_here for listing in models.values()]
    assert places == sorted(places, reverse=True), "what is here comes first"
    assert not any("-quickgelu/" in name for name in models)


def test_the_environment_says_where_the_cache_is(
    put_checkpoint: Callable[..., Path], hub_cache: Path
) -> None:
    put_checkpoint("org/tiny")
    code = (
        "from clipkit.models.listing import list_models\n"
        "assert 'hf-hub:org/tiny' in {listing.name for listing in list_models()}"
    )
    for variables in (
        {"HF_HUB_CACHE": str(hub_cache)},
        {"HF_HOME": str(hub_cache.parent), "HF_HUB_CACHE": ""},
    ):
        environment = {**os.environ, **variables}
        environment = {name: value for name, value in environment.items() if value}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_a_listing_is_json_with_what_is_recommended() -> None:
    models = {listing.name: json.loads(json.dumps(listing.to_dict())) for listing in list_models()}
    for advice in recommended_models():
        entry = models[advice.name]
        assert (entry["recommended_for"], entry["license"]) == (advice.purpose, advice.license)
        assert entry["image_gflops"] == advice.image_gflops
    assert models["RN50/openai"] == {
        "name": "RN50/openai",
        "parameters": 102_007_137,  # as openai/CLIP's RN50 has them
        "image_size": 224,
        "imagenet_top1": published_accuracy()["RN50/openai"],
        "path": None,
        "recommended_for": None,
        "license": None,
        "image_gflops": None,
    }


def test_the_cache_may_be_named_by_a_string(tmp_path: Path) -> None:
    assert list_models(cache_dir=str(tmp_path)) == list_models(cache_dir=tmp_path)
