"""Random models of every family, saved by open_clip's own code, and a machine without a network."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants
from open_clip.push_to_hf_hub import save_for_hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from clipkit.models.checkpoint import load_towers, save_towers
from clipkit.models.sources import resolve_source
from tests.models.hub_server import Hub, serve_hub

SIZES = {"mode": "RGB", "interpolation": "bicubic", "resize_mode": "squash", "fill_color": 0}
TINY_TEXT = {"context_length": 16, "vocab_size": 99, "width": 32, "heads": 2, "layers": 2}
TINY_BERT = {
    "model_type": "bert",
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
FAMILIES = ("ViT-B-32", "ViT-B-32-quickgelu", "RN50", "ViT-B-16-SigLIP", "convnext", "hf-text")

CONNECT, GETADDRINFO = socket.socket.connect, socket.getaddrinfo  # before the tests forbid them


@dataclass(frozen=True)
class Family:
    """One random model in open_clip's memory and in a directory that open_clip wrote."""

    name: str
    model: Any
    model_cfg: dict[str, Any]
    directory: Path

    @property
    def pixel_values(self) -> torch.Tensor:
        size = self.model_cfg["vision_cfg"]["image_size"]
        noise = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
        noise[1] += torch.linspace(-9, 9, size)  # far from the first also for a ResNet
        return noise

    @property
    def token_ids(self) -> torch.Tensor:
        text_cfg = self.model_cfg["text_cfg"]
        generator = torch.Generator().manual_seed(2)
        vocab = text_cfg.get("vocab_size", 99)
        token_ids = torch.randint(1, vocab, (3, text_cfg["context_length"]), generator=generator)
        token_ids[1, 9:] = 0  # padding
        return token_ids


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Refuse every connection; the list says which hosts were asked for."""
    asked: list[str] = []

    def refuse(*args: Any, **_: Any) -> None:
        asked.append(str(args[0]) if isinstance(args[0], str | bytes) else str(args[1]))
        raise OSError("there is no network in this test")

    # The hub's client must get as far as asking, also where the environment says it is offline.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


@pytest.fixture(autouse=True)
def hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Point every cache at an empty place, so that no test sees this machine's own."""
    cache = tmp_path / "home" / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return cache


@pytest.fixture
def hub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the real client asks; nothing else can be reached."""
    with serve_hub() as server, monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", CONNECT)
        patch.setattr(socket, "getaddrinfo", GETADDRINFO)
        patch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


@pytest.fixture
def put_in_hub_cache(hub_cache: Path) -> Callable[[str, str, Path], None]:
    """Return a function that puts a file where the hub's own client would have put it."""

    def put(repo: str, name: str, file: Path) -> None:
        folder = hub_cache / f"models--{repo.replace('/', '--')}"
        for part in ("refs", "blobs", "snapshots/0123abcd"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "refs" / "main").write_text("0123abcd")
        (folder / "blobs" / name).symlink_to(file)
        (folder / "snapshots" / "0123abcd" / name).symlink_to(f"../../blobs/{name}")

    return put


@pytest.fixture(scope="package")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Family]]:
    """Return a function that gives a family's model, made once for this package's tests."""
    root = tmp_path_factory.mktemp("families")
    made: dict[str, Family] = {}

    def get(name: str) -> Family:
        if name not in made:
            made[name] = _make(name, root / name)
        return made[name]

    yield get
    made.clear()  # two gigabytes of memory, and as much of the disk
    shutil.rmtree(root)


@pytest.fixture
def put_checkpoint(
    family: Callable[[str], Family],
    put_in_hub_cache: Callable[[str, str, Path], None],
    tmp_path: Path,
) -> Callable[..., Path]:
    """Return a function that puts the tiny checkpoint with a Hugging Face text tower on the hub."""

    def put(repo: str, *, without: str = "") -> Path:
        directory = tmp_path / "saved"
        save_towers(load_towers(resolve_source(family("hf-text").directory)), directory)
        for path in directory.iterdir():
            if path.name != without:
                put_in_hub_cache(repo, path.name, path)
        return directory

    return put


def make_open_clip(model_cfg: dict[str, Any], seed: int = 0) -> Any:
    """Return a random model in which every weight matters, built by open_clip's classes."""
    config = deepcopy(model_cfg)
    is_custom = config.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
    torch.manual_seed(seed)
    model = (open_clip.CustomTextCLIP if is_custom else open_clip.CLIP)(**config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point() or name.startswith("logit"):
                continue
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            else:
                tensor.add_(torch.randn_like(tensor), alpha=0.02)
        model.logit_scale.fill_(3.25)
        if model.logit_bias is not None:
            model.logit_bias.fill_(-7.5)
    return model


def tiny_config(**changes: Any) -> dict[str, Any]:
    """Return the config of a native model small enough to make in milliseconds."""
    vision_cfg = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
    return {"embed_dim": 24, "vision_cfg": vision_cfg, "text_cfg": dict(TINY_TEXT), **changes}


def write_directory(
    directory: Path, model: Any, model_cfg: dict[str, Any], tokenizer: Any = None
) -> None:
    """Write a checkpoint directory with open_clip's own code."""
    size = model_cfg["vision_cfg"]["image_size"]
    preprocess = {**SIZES, "size": size, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    open_clip.set_model_preprocess_cfg(model, preprocess)
    tokenizer = tokenizer or _NoTokenizer()
    save_for_hf(model, tokenizer, model_cfg, str(directory), safe_serialization=True)


def _make(name: str, directory: Path) -> Family:
    directory.mkdir(parents=True)
    tokenizer = None
    model_cfg = deepcopy(open_clip.get_model_config(name)) or {}
    if name == "ViT-B-16-SigLIP":
        model_cfg["text_cfg"] |= {"layers": 2, "vocab_size": 1000}  # the image tower is whole
        _write_tokenizer(directory)
    elif name == "convnext":
        vision_cfg = {
            "timm_model_name": "convnext_atto",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "mlp",
            "image_size": 64,
        }
        text_cfg = {**TINY_TEXT, "vocab_size": 49408}  # CLIP's own vocabulary
        model_cfg = tiny_config(vision_cfg=vision_cfg, text_cfg=text_cfg)
    elif name == "hf-text":
        _write_tokenizer(directory)
        (directory / "config.json").write_text(json.dumps(TINY_BERT))
        model_cfg = tiny_config(
            text_cfg={
                "hf_model_name": str(directory),
                "hf_model_pretrained": False,
                "hf_tokenizer_name": ".",
                "hf_proj_type": "linear",
                "hf_pooler_type": "mean_pooler",
                "context_length": 16,
            }
        )
    model = make_open_clip(model_cfg)
    write_directory(directory, model, model_cfg, tokenizer)
    return Family(name, model, model_cfg, directory)


class _NoTokenizer:
    """CLIP's own vocabulary comes with open_clip, so nothing is saved for it."""

    def save_pretrained(self, dest: str) -> None:
        """Do nothing."""


def _write_tokenizer(directory: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(95))]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


def largest_difference(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the largest absolute difference of two sets of embeddings, rows of norm 1."""
    one, two = (
        np.asarray(torch.nn.functional.normalize(item.detach(), dim=-1)) for item in (first, second)
    )
    return float(np.abs(one - two).max())
