"""Checkpoints of transformers': the same embeddings as its own models, from every form of files."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import clipkit
from clipkit.embeddings import normalize_rows
from clipkit.errors import CheckpointError
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models import transformers_layout
from clipkit.models.checkpoint import load_towers
from clipkit.models.hub import models_here
from clipkit.models.locate import fetch_source, locate
from clipkit.models.sources import resolve_source
from clipkit.models.transformers_preprocess import read_processor
from tests.models.hub_server import Hub
from tests.models.transformers_models import (
    MAKERS,
    TINY_TIMM,
    TransformersModel,
    clip_files,
    make,
)

TOLERANCE = 1e-5
SAMPLES = Path(__file__).parents[2] / "demo" / "samples"
TEXTS = [
    "a photo of a cat",
    "two dog and the red boat in the sea",
    "A Red BOAT, in the sea!  ",
    "it's 10 &amp; caf\u00e9 \u7ea2\u8239",
    "",
    "a cat " * 30,
]

# Texts that are cut or unknown are part of what is compared.
pytestmark = pytest.mark.filterwarnings(
    "ignore::clipkit.TextCutWarning", "ignore::clipkit.UnknownTextWarning"
)


@pytest.fixture(autouse=True)
def clipkit_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "clipkit"))


@pytest.fixture(autouse=True)
def tiny_siglip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(transformers_layout.TIMM_SIGLIP, (32, 2, 2, 16), TINY_TIMM)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], TransformersModel]]:
    """Return a function that gives a family's model, made once."""
    made: dict[str, TransformersModel] = {}

    def get(family: str) -> TransformersModel:
        if family not in made:
            made[family] = make(family, tmp_path_factory.mktemp("models") / family)
        return made[family]

    yield get


def _photos() -> list[Path]:
    return sorted(SAMPLES.glob("*.jpg"))[:6]


def _assert_equal(found: np.ndarray, features: torch.Tensor) -> None:
    np.testing.assert_allclose(found, normalize_rows(features.numpy()), atol=TOLERANCE)


@pytest.mark.parametrize("family", MAKERS)
def test_both_encoders_compute_what_transformers_does(
    family: str, model: Callable[[str], TransformersModel]
) -> None:
    theirs = model(family)
    towers = load_towers(resolve_source(theirs.directory))
    pixel_values = torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found = towers.image_features(pixel_values)
    torch.testing.assert_close(
        found, theirs.image_features(pixel_values), atol=TOLERANCE, rtol=TOLERANCE
    )
    encoder = clipkit.load(theirs.directory, engine="torch", cache_texts=False)
    _assert_equal(encoder.encode_texts(TEXTS), theirs.text_features(TEXTS))


@pytest.mark.parametrize("family", MAKERS)
def test_files_become_the_pixel_values_of_the_checkpoints_own_image_processor(
    family: str, model: Callable[[str], TransformersModel]
) -> None:
    theirs = model(family)
    rng = np.random.default_rng(0)
    images = [Image.open(path).convert("RGB") for path in _photos()]
    for width, height in ((49, 48), (48, 51), (131, 77), (20, 300), (48, 48)):
        images.append(Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)))
    files = locate(resolve_source(theirs.directory))
    preprocess = Preprocess.from_config(files.preprocess_cfg, 48)
    found = np.stack([preprocess(image) for image in images])
    expected = theirs.processor(images, return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_embeddings_of_files_are_those_of_transformers(
    model: Callable[[str], TransformersModel],
) -> None:
    theirs = model("siglip")
    images = [Image.open(path).convert("RGB") for path in _photos()]
    encoder = clipkit.load(theirs.directory, engine="torch", cache_texts=False)
    encoder.decode = "exact"
    pixel_values = theirs.processor(images, return_tensors="pt")["pixel_values"]
    _assert_equal(encoder.encode_images(_photos()), theirs.image_features(pixel_values))


@pytest.mark.parametrize("family", MAKERS)
def test_saved_and_loaded_again_it_is_the_same_space(
    family: str, model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    encoder = clipkit.load(model(family).directory, engine="torch", cache_texts=False)
    encoder.save(tmp_path / "saved")
    again = clipkit.load(tmp_path / "saved", engine="torch", cache_texts=False)
    assert again.space_id == encoder.space_id
    np.testing.assert_array_equal(again.encode_texts(TEXTS), encoder.encode_texts(TEXTS))
    images = [Image.open(path) for path in _photos()]
    np.testing.assert_array_equal(again.encode_images(images), encoder.encode_images(images))


def test_what_open_clip_has_no_word_for_stands_apart_in_a_saved_config(
    model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    clipkit.load(model("siglip").directory, engine="torch").save(tmp_path / "siglip")
    clipkit.load(model("metaclip_2").directory, engine="torch").save(tmp_path / "metaclip")
    siglip, metaclip = (
        json.loads((tmp_path / name / "open_clip_config.json").read_text())
        for name in ("siglip", "metaclip")
    )
    assert siglip["clipkit_cfg"]["model_cfg.vision_cfg.timm_activation"] == "gelu_tanh"
    assert siglip["clipkit_cfg"]["model_cfg.text_cfg.cleaning"] == "none"
    assert metaclip["clipkit_cfg"]["preprocess_cfg.crop"] == "down"
    assert metaclip["clipkit_cfg"]["preprocess_cfg.resize_size"] == 56
    assert not {"crop", "resize_size"} & metaclip["preprocess_cfg"].keys()
    assert "cleaning" not in metaclip["model_cfg"]["text_cfg"]


def test_plain_open_clip_opens_what_was_saved(
    model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    import open_clip

    encoder = clipkit.load(model("clip").directory, engine="torch", cache_texts=False)
    encoder.save(tmp_path / "saved")
    opened, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}/saved")
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path}/saved")(TEXTS[:3])
    with torch.inference_mode():
        _assert_equal(encoder.encode_texts(TEXTS[:3]), opened.encode_text(tokens))
        square = Image.open(_photos()[0]).convert("RGB").resize((64, 64))
        pixel_values = preprocess(square)[None]
        _assert_equal(encoder.encode_images([square]), opened.encode_image(pixel_values))


def test_the_open_clip_modules_of_it_come_with_its_own_inputs(
    model: Callable[[str], TransformersModel],
) -> None:
    theirs = model("metaclip_2")
    towers = clipkit.load(theirs.directory, engine="torch").towers
    image = Image.open(_photos()[1]).convert("RGB")
    expected = theirs.processor([image], return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(towers.preprocess(image), expected)
    tokens = theirs.tokenizer(TEXTS[0], padding="max_length", max_length=20, return_tensors="pt")
    torch.testing.assert_close(towers.tokenizer(TEXTS[0]), tokens["input_ids"])


def _copied(source: TransformersModel, target: Path, *without: str) -> Path:
    shutil.copytree(source.directory, target, ignore=shutil.ignore_patterns("clip_files", *without))
    return target


def _weights_digest(directory: Path) -> str:
    return clipkit.load(directory, engine="torch").space_id


def test_every_form_of_weights_is_the_same_space(
    model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    theirs = model("clip")
    expected = _weights_digest(theirs.directory)
    torch_file = _copied(theirs, tmp_path / "torch", "*.safetensors")
    torch.save(theirs.model.state_dict(), torch_file / "pytorch_model.bin")
    assert _weights_digest(torch_file) == expected
    for number, is_safe in enumerate((True, False)):
        shards = _copied(theirs, tmp_path / f"shards{number}", "*.safetensors")
        _write_shards(theirs.model.state_dict(), shards, is_safe=is_safe)
        assert _weights_digest(shards) == expected
    (shards / "part0.bin").unlink()
    with pytest.raises(CheckpointError, match=r"there is no weights file .*part0\.bin"):
        clipkit.load(shards, engine="torch")


def _write_shards(state: dict[str, torch.Tensor], directory: Path, *, is_safe: bool) -> None:
    from safetensors.torch import save_file

    names = sorted(state)
    parts = [names[::2], names[1::2]]
    suffix = "safetensors" if is_safe else "bin"
    for number, part in enumerate(parts):
        tensors = {name: state[name].contiguous() for name in part}
        path = directory / f"part{number}.{suffix}"
        save_file(tensors, path) if is_safe else torch.save(tensors, path)
    index = {name: f"part{number}.{suffix}" for number, part in enumerate(parts) for name in part}
    stem = "model.safetensors" if is_safe else "pytorch_model.bin"
    (directory / f"{stem}.index.json").write_text(json.dumps({"weight_map": index}))


def test_an_index_that_names_a_file_elsewhere_is_refused(
    model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    directory = _copied(model("clip"), tmp_path / "clip", "*.safetensors")
    content = {"weight_map": {"logit_scale": "../secret.bin"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="a file in another directory"):
        clipkit.load(directory, engine="torch")


def test_a_directory_of_sentence_transformers_is_the_model_inside(
    model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    theirs = model("clip")
    _copied(theirs, tmp_path / "st" / "0_CLIPModel")
    (tmp_path / "st" / "modules.json").write_text("[]")
    assert _weights_digest(tmp_path / "st") == _weights_digest(theirs.directory)


def test_an_older_tokenizer_is_converted_by_transformers_itself(
    model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    theirs = model("clip")
    directory = _copied(theirs, tmp_path / "clip", "tokenizer.json")
    for path in clip_files(tmp_path):
        shutil.copyfile(path, directory / path.name)
    encoder = clipkit.load(directory, engine="torch", cache_texts=False)
    _assert_equal(encoder.encode_texts(TEXTS), theirs.text_features(TEXTS))
    assert encoder.space_id == clipkit.load(directory, engine="torch").space_id


def test_a_config_from_before_the_end_token_was_named_pools_the_highest_id(
    tmp_path: Path,
) -> None:
    theirs = make("clip", tmp_path / "clip")
    theirs.model.config.text_config.eos_token_id = 2
    theirs.model.text_model.eos_token_id = 2
    theirs.model.config.save_pretrained(theirs.directory)
    encoder = clipkit.load(theirs.directory, engine="torch", cache_texts=False)
    _assert_equal(encoder.encode_texts(TEXTS), theirs.text_features(TEXTS))


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh"])
def test_the_activation_is_the_configs(activation: str, tmp_path: Path) -> None:
    theirs = make("clip", tmp_path / "clip", hidden_act=activation, layer_norm_eps=1e-3)
    encoder = clipkit.load(theirs.directory, engine="torch", cache_texts=False)
    _assert_equal(encoder.encode_texts(TEXTS), theirs.text_features(TEXTS))
    images = [Image.open(path).convert("RGB") for path in _photos()]
    pixel_values = theirs.processor(images, return_tensors="pt")["pixel_values"]
    _assert_equal(encoder.encode_images(images), theirs.image_features(pixel_values))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "siglip2"}, "any shape"),
        ({"model_type": "altclip"}, "layer norm"),
        ({"model_type": "clip_vision_model"}, "an image encoder alone"),
        ({"model_type": []}, "not a checkpoint: it holds no .* and no config.json of a model of"),
        ({"model_type": ["clip"]}, "not a checkpoint"),
        ({"text_config": 3}, "of another kind"),
        ({"vision_config": ["hidden_size"]}, "of another kind"),
        ({"vision_config": {"hidden_size": []}}, "of another kind"),
        ({"vision_config": {"hidden_act": "relu"}}, "'relu'"),
        ({"vision_config": {"hidden_act": "gelu"}}, "another activation in its text encoder"),
        ({"vision_config": {"num_attention_heads": 0}}, "a whole number from 1 to 32; got 0"),
        ({"vision_config": {"image_size": [48, 64]}}, "not equal"),
        ({"vision_config": {"image_size": 64}}, "do not fit the architecture"),
        ({"vision_config": {"num_hidden_layers": 3}}, "have no vision_model.encoder.layers.2"),
    ],
)
def test_what_cannot_be_mapped_says_why(
    changes: dict[str, Any],
    message: str,
    model: Callable[[str], TransformersModel],
    tmp_path: Path,
) -> None:
    directory = _copied(model("clip"), tmp_path / "clip")
    content = json.loads((directory / "config.json").read_text())
    for key, value in changes.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    (directory / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        clipkit.load(directory, engine="torch")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (  # as in 2021: numbers for sizes
            {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224},
            {"size": 224, "resize_mode": "shortest", "crop": "down", "interpolation": "bicubic"},
        ),
        (
            {
                "image_processor_type": "CLIPImageProcessorFast",
                "size": {"shortest_edge": 256},
                "crop_size": {"height": 224, "width": 224},
                "resample": 2,
            },
            {"size": 224, "resize_size": 256, "interpolation": "bilinear", "crop": "down"},
        ),
        (
            {
                "image_processor_type": "SiglipImageProcessor",
                "size": {"height": 384, "width": 384},
                "image_mean": [0.5, 0.5, 0.5],
                "image_std": [0.5, 0.5, 0.5],
            },
            {"size": 384, "resize_mode": "squash", "mean": [0.5] * 3, "std": [0.5] * 3},
        ),
        (  # x / 127.5 - 1, as (x / 255 - .5) / .5
            {
                "image_processor_type": "SiglipImageProcessor",
                "size": {"height": 32, "width": 32},
                "rescale_factor": 1 / 127.5,
                "image_mean": [1.0, 1.0, 1.0],
                "image_std": [1.0, 1.0, 1.0],
            },
            {"mean": [0.5] * 3, "std": [0.5] * 3},
        ),
        (
            {
                "image_processor_type": "CLIPImageProcessor",
                "do_normalize": False,
                "do_rescale": False,
            },
            {"mean": [0.0] * 3, "std": [1 / 255] * 3},
        ),
    ],
    ids=["numbers", "larger before the crop", "squash", "other factor", "levels"],
)
def test_the_image_processor_is_understood(
    content: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    found = read_processor(tmp_path)
    for key, value in expected.items():
        assert found[key] == (pytest.approx(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"image_processor_type": "CLIPImageProcessor", "do_center_crop": False}, "one shape"),
        ({"image_processor_type": "CLIPImageProcessor", "do_resize": False}, "does not resize"),
        ({"image_processor_type": "CLIPImageProcessor", "resample": 1}, "filter number 1"),
        ({"image_processor_type": "CLIPImageProcessor", "size": 200}, "would be black"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "Siglip2ImageProcessor"),
        ({}, "of no name"),
    ],
)
def test_a_step_that_clipkit_does_not_have_is_refused(
    content: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        read_processor(tmp_path)


def test_without_an_image_processor_nobody_knows_how_images_are_resized(
    model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    directory = _copied(model("clip"), tmp_path / "clip", "*processor_config.json")
    with pytest.raises(CheckpointError, match=r"has no preprocessor_config\.json"):
        clipkit.load(directory, engine="torch")


def test_without_a_tokenizer_it_says_what_to_copy(
    model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    directory = _copied(model("clip"), tmp_path / "clip", "tokenizer*", "vocab*", "merges*")
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        clipkit.load(directory, engine="torch")


def test_siglips_punctuation_goes_before_the_tokenizer_as_its_class_has_it(
    model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    directory = _copied(model("siglip"), tmp_path / "siglip")
    path = directory / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "tokenizer_class": "SiglipTokenizer"}))
    files = locate(resolve_source(directory))
    assert files.model_cfg["text_cfg"]["cleaning"] == "siglip"
    encoder = clipkit.load(directory, engine="torch", cache_texts=False)
    same = encoder.encode_texts(["A Red, BOAT!", "a red boat"])
    np.testing.assert_array_equal(same[0], same[1])


def test_padding_on_the_left_is_refused_where_it_would_need_a_mask(
    model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    directory = _copied(model("clip"), tmp_path / "clip")
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "padding_side": "left"}))
    with pytest.raises(CheckpointError, match="pads texts on the left"):
        clipkit.load(directory, engine="torch")


def test_siglip_without_its_padding_token_is_refused(
    model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    directory = _copied(model("siglip"), tmp_path / "siglip", "tokenizer_config*", "special*")
    with pytest.raises(CheckpointError, match="which token fills a text"):
        clipkit.load(directory, engine="torch")


@pytest.mark.parametrize(
    "changes",
    [{"size": "small"}, {"crop_size": "a"}, {"resample": []}, {"image_mean": "3"}],
)
def test_settings_of_another_kind_are_told(
    changes: dict[str, Any], model: Callable[[str], TransformersModel], tmp_path: Path
) -> None:
    directory = _copied(model("clip"), tmp_path / "clip")
    path = directory / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(CheckpointError, match=r"preprocessor_config.json has a setting of another"):
        clipkit.load(directory, engine="torch")


@pytest.fixture
def sentencepiece_siglip(model: Callable[[str], TransformersModel], tmp_path: Path) -> Path:
    """Return a SigLIP directory whose tokenizer is a spiece.model alone."""
    import sentencepiece

    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(["a photo of the red boat and two cats in the sea"] * 50))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(tmp_path / "spiece"),
        vocab_size=36,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        add_dummy_prefix=False,
    )
    directory = _copied(model("siglip"), tmp_path / "siglip", "tokenizer*", "special*")
    shutil.copyfile(tmp_path / "spiece.model", directory / "spiece.model")
    return directory


SIGLIP_TEXTS = ["a red boat", "A Photo, of the SEA!", "", "two cats  and  the boat in the sea " * 3]


def _siglip_tokens(directory: Path) -> torch.Tensor:
    tokenizer = transformers.SiglipTokenizer(str(directory / "spiece.model"), model_max_length=20)
    options = {"padding": "max_length", "truncation": True, "max_length": 20}
    tokens: torch.Tensor = tokenizer(SIGLIP_TEXTS, return_tensors="pt", **options)["input_ids"]
    return tokens


def test_siglips_own_sentencepiece_file_is_converted(sentencepiece_siglip: Path) -> None:
    files = locate(resolve_source(sentencepiece_siglip))
    found = Tokenizer.from_config(files.model_cfg["text_cfg"], files.tokenizer)
    np.testing.assert_array_equal(found(SIGLIP_TEXTS), _siglip_tokens(sentencepiece_siglip))


@pytest.mark.parametrize("settings", [None, {"tokenizer_class": "SiglipTokenizer"}])
def test_siglips_own_sentencepiece_file_is_saved(
    settings: dict[str, str] | None, sentencepiece_siglip: Path, tmp_path: Path
) -> None:
    import open_clip

    if settings:
        (sentencepiece_siglip / "tokenizer_config.json").write_text(json.dumps(settings))
    encoder = clipkit.load(sentencepiece_siglip, engine="torch", cache_texts=False)
    expected = _siglip_tokens(sentencepiece_siglip)
    assert torch.equal(encoder.towers.tokenizer(SIGLIP_TEXTS), expected)
    encoder.save(tmp_path / "theirs", layout="transformers")
    encoder.save(tmp_path / "ours")
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    options = {"padding": "max_length", "truncation": True, "max_length": 20}
    found = tokenizer(SIGLIP_TEXTS, return_tensors="pt", **options)
    assert torch.equal(found["input_ids"], expected)
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path}/ours")(SIGLIP_TEXTS)
    assert torch.equal(tokens, expected)
    for saved in ("theirs", "ours"):
        again = clipkit.load(tmp_path / saved, engine="torch", cache_texts=False)
        np.testing.assert_array_equal(again.tokenize(SIGLIP_TEXTS).token_ids, expected)


def test_siglips_own_sentencepiece_file_is_fetched(
    model: Callable[[str], TransformersModel], sentencepiece_siglip: Path, hub_server: Hub
) -> None:
    # As the hub has most of them: with both files, and a class that reads the older one alone.
    shutil.copy(model("siglip").directory / "tokenizer.json", sentencepiece_siglip)
    settings = {"tokenizer_class": "SiglipTokenizer", "pad_token": "</s>"}
    (sentencepiece_siglip / "tokenizer_config.json").write_text(json.dumps(settings))
    _serve(sentencepiece_siglip, hub_server)
    fetched = {path.name for path in fetch_source(resolve_source("hf-hub:org/siglip"))}
    assert {"tokenizer.json", "spiece.model"} <= fetched


def _serve(directory: Path, server: Hub, place: str = "") -> None:
    server.files |= {f"{place}{path.name}": path for path in directory.iterdir() if path.is_file()}


def _cache(directory: Path, repo: str, cache: Path) -> None:
    """Put a directory into the hub's cache, as its own client does it."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0123abcd")
    shutil.copytree(directory, folder / "snapshots" / "0123abcd")


OTHERS_NAMES = {
    "openai/clip-vit-base-patch32": "openai/clip-vit-base-patch32",
    "OpenAI/CLIP-ViT-Base-Patch32": "openai/clip-vit-base-patch32",
    "sentence-transformers/clip-ViT-B-32": "sentence-transformers/clip-ViT-B-32",
    "clip-ViT-B-32": "sentence-transformers/clip-ViT-B-32",
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
}


@pytest.mark.parametrize(("name", "repo"), OTHERS_NAMES.items())
def test_a_repository_in_the_cache_is_taken_before_the_tag_of_its_name(
    name: str, repo: str, model: Callable[[str], TransformersModel], hub_cache: Path, tmp_path: Path
) -> None:
    theirs, place = model("clip"), "0_CLIPModel" if "sentence" in repo else "."
    _copied(theirs, tmp_path / "st" / place)
    _cache(tmp_path / "st", repo, hub_cache)
    encoder = clipkit.load(name, engine="torch", cache_texts=False)
    assert encoder.name == f"hf-hub:{repo}"
    _assert_equal(encoder.encode_texts(TEXTS), theirs.text_features(TEXTS))


@pytest.mark.parametrize("lack", ["model.safetensors", "config.json"])
def test_a_part_of_a_repository_is_not_taken_before_the_tag_of_its_name(
    lack: str, model: Callable[[str], TransformersModel], hub_cache: Path, tmp_path: Path
) -> None:
    repo = "openai/clip-vit-base-patch32"  # a tokenizer was loaded from it
    _cache(_copied(model("clip"), tmp_path / "part", lack), repo, hub_cache)
    assert resolve_source(repo).name == "ViT-B-32/openai"


def test_open_clips_files_of_a_repository_are_its_tags(
    model: Callable[[str], TransformersModel], hub_cache: Path, tmp_path: Path
) -> None:
    repo = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    both = _copied(model("clip"), tmp_path / "both")
    shutil.copy(both / "model.safetensors", both / "open_clip_model.safetensors")
    _cache(both, repo, hub_cache)
    assert resolve_source(repo).name == "ViT-B-32/laion2b_s34b_b79k"


def test_a_repository_of_sentence_transformers_loads_from_the_cache(
    model: Callable[[str], TransformersModel], hub_cache: Path, tmp_path: Path
) -> None:
    theirs = model("clip")
    _copied(theirs, tmp_path / "st" / "0_CLIPModel")
    _cache(tmp_path / "st", "my/clip", hub_cache)
    for name in ("hf-hub:my/clip", "my/clip"):
        encoder = clipkit.load(name, engine="torch", cache_texts=False)
        _assert_equal(encoder.encode_texts(TEXTS), theirs.text_features(TEXTS))
    assert "hf-hub:my/clip" in models_here()


def test_a_repository_of_sentence_transformers_is_fetched(
    model: Callable[[str], TransformersModel], hub_server: Hub, tmp_path: Path
) -> None:
    theirs = model("clip")
    served = _copied(theirs, tmp_path / "served", "*.safetensors", "tokenizer.json")
    for path in clip_files(tmp_path):
        shutil.copyfile(path, served / path.name)
    _write_shards(theirs.model.state_dict(), served, is_safe=True)
    _serve(served, hub_server, "0_CLIPModel/")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')  # of another module
    hub_server.files["config.json"] = tmp_path / "config.json"
    fetched = {path.name for path in fetch_source(resolve_source("hf-hub:my/clip"))}
    assert {"config.json", "vocab.json", "merges.txt", "part1.safetensors"} <= fetched
    hub_server.asked.clear()
    encoder = clipkit.load("my/clip", engine="torch", cache_texts=False)
    assert hub_server.asked == []
    _assert_equal(encoder.encode_texts(TEXTS), theirs.text_features(TEXTS))


def test_it_is_fetched_from_the_hub_and_then_loads_without_it(
    model: Callable[[str], TransformersModel], hub_server: Hub, tmp_path: Path
) -> None:
    theirs = model("siglip")
    _serve(_copied(theirs, tmp_path / "served"), hub_server)
    with pytest.raises(CheckpointError, match='write "hf-hub:google/siglip-tiny"'):
        clipkit.load("google/siglip-tiny", engine="torch")
    encoder = clipkit.load("hf-hub:google/siglip-tiny", engine="torch", cache_texts=False)
    _assert_equal(encoder.encode_texts(TEXTS), theirs.text_features(TEXTS))
    hub_server.asked.clear()
    for name in ("hf-hub:google/siglip-tiny", "google/siglip-tiny"):
        again = clipkit.load(name, engine="torch")
        assert again.space_id == encoder.space_id
        assert again.name == "hf-hub:google/siglip-tiny"
    assert hub_server.asked == []
    assert "hf-hub:google/siglip-tiny" in models_here()


def test_every_shard_is_fetched(
    model: Callable[[str], TransformersModel], hub_server: Hub, tmp_path: Path
) -> None:
    theirs = model("clip")
    served = _copied(theirs, tmp_path / "served", "*.safetensors")
    _write_shards(theirs.model.state_dict(), served, is_safe=True)
    _serve(served, hub_server)
    fetched = {path.name for path in fetch_source(resolve_source("hf-hub:org/clip"))}
    assert {"part0.safetensors", "part1.safetensors", "config.json"} <= fetched
    assert clipkit.load("org/clip", engine="torch").space_id == _weights_digest(theirs.directory)


def test_a_repository_of_another_kind_is_refused(hub_server: Hub, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    hub_server.files["config.json"] = tmp_path / "config.json"
    with pytest.raises(CheckpointError, match="of a model of transformers'"):
        clipkit.load("hf-hub:org/bert", engine="torch")
