"""Small random models in transformers' layout, as its own `save_pretrained` writes them."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import transformers
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer

from clipkit.models.known_models import clip_vocabulary

WORDS = ["a", "photo", "of", "the", "cat", "dog", "red", "boat", "in", "sea", "and", "two"]
VISION = {
    "hidden_size": 32,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 48,
    "patch_size": 16,
}
TEXT = {
    "hidden_size": 24,
    "intermediate_size": 60,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 20,
}
TINY_TIMM = "vit_tiny_patch16_clipkit_siglip"  # as timm's own SigLIP encoders, but small


@register_model
def vit_tiny_patch16_clipkit_siglip_48(pretrained: bool = False, **options: Any) -> Any:
    """A SigLIP image encoder of timm's own class, of a size that a test can bear."""
    options = {key: value for key, value in options.items() if not key.startswith("pretrained")}
    options.pop("cache_dir", None)
    model: Any = VisionTransformer(
        img_size=48,
        patch_size=16,
        embed_dim=32,
        depth=2,
        num_heads=2,
        mlp_ratio=2.25,
        class_token=False,
        **{"global_pool": "map", **options},
    )
    model.default_cfg = {"pool_size": None}
    return model


@dataclass(frozen=True)
class TransformersModel:
    """One model and the directory it was saved to."""

    model: Any
    directory: Path

    @property
    def processor(self) -> Any:
        """transformers' own image processor, with Pillow's arithmetic."""
        processors: Any = transformers.AutoImageProcessor
        return processors.from_pretrained(self.directory, backend="pil")

    @property
    def tokenizer(self) -> Any:
        return transformers.AutoTokenizer.from_pretrained(self.directory)

    def image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            found: Any = self.model.get_image_features(pixel_values=pixel_values)
        return _tensor(found)

    def text_features(self, texts: list[str]) -> torch.Tensor:
        options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        tokens = self.tokenizer(texts, max_length=TEXT["max_position_embeddings"], **options)
        if self.model.config.model_type == "siglip":
            del tokens["attention_mask"]  # it was trained without one
        with torch.inference_mode():
            return _tensor(self.model.get_text_features(**tokens))


def _tensor(found: Any) -> torch.Tensor:
    """Return the features; since version 5 they come among other outputs."""
    return found if isinstance(found, torch.Tensor) else found.pooler_output


def make(family: str, directory: Path, **options: Any) -> TransformersModel:
    """Return a random model of a family, saved with its tokenizer and image processor.

    Args:
        family: One of MAKERS.
        directory: Where to.
        **options: Changes to the configs of both encoders.
    """
    torch.manual_seed(0)
    model, tokenizer, processor = MAKERS[family](directory, options)
    for name, parameter in model.named_parameters():
        if name not in ("logit_scale", "logit_bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
            module.weight.data[module.padding_idx] = 0.0  # as transformers does when it loads
    model.eval().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    processor.save_pretrained(directory)
    return TransformersModel(model, directory)


def clip_tokenizer(directory: Path) -> Any:
    """Return transformers' tokenizer of CLIP's own vocabulary."""
    vocabulary, _ = clip_files(directory)
    return transformers.CLIPTokenizer.from_pretrained(vocabulary.parent, model_max_length=20)


def clip_files(directory: Path) -> tuple[Path, Path]:
    """Write vocab.json and merges.txt, as older checkpoints have them; return both."""
    from clipkit.inputs.clip_vocabulary import build_clip_tokenizer

    content = json.loads(build_clip_tokenizer(clip_vocabulary()).to_str())["model"]
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    ids = {names.get(entry, entry): number for entry, number in content["vocab"].items()}
    source = directory / "clip_files"
    source.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = source / "vocab.json", source / "merges.txt"
    vocabulary.write_text(json.dumps(ids), encoding="utf-8")
    lines = gzip.decompress(clip_vocabulary().read_bytes()).decode("utf-8").split("\n")
    merges.write_text("#version: 0.2\n" + "\n".join(lines[1:48895]) + "\n", encoding="utf-8")
    return vocabulary, merges


def word_tokenizer(directory: Path, *, end: str, pad: str, start: str = "") -> Any:
    """Return a tokenizer of a few words, with the marks of a family."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    marks = [pad, *([start] if start else []), end, "<unk>"]
    ids = {word: number for number, word in enumerate([*dict.fromkeys(marks), *WORDS])}
    backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    around = f"{start} $A {end}".strip()
    used = [(mark, ids[mark]) for mark in dict.fromkeys([start, end]) if mark]
    backend.post_processor = processors.TemplateProcessing(single=around, special_tokens=used)
    tokenizers: Any = transformers.PreTrainedTokenizerFast
    return tokenizers(tokenizer_object=backend, pad_token=pad, eos_token=end, unk_token="<unk>")


def _clip(directory: Path, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    config = transformers.CLIPConfig(
        text_config={**TEXT, **options}, vision_config={**VISION, **options}, projection_dim=28
    )
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}
    )
    return transformers.CLIPModel(config), clip_tokenizer(directory), processor


def _metaclip(directory: Path, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    text = {**TEXT, "vocab_size": 40, "eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
    config = transformers.MetaClip2Config(
        text_config={**text, "hidden_act": "gelu"},
        vision_config={**VISION, "hidden_act": "gelu"},
        projection_dim=28,
    )
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": 56}, crop_size={"height": 48, "width": 48}, resample=2
    )
    tokenizer = word_tokenizer(directory, start="<s>", end="</s>", pad="<pad>")
    return transformers.MetaClip2Model(config), tokenizer, processor


def _chinese_clip(directory: Path, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    text = {**TEXT, "vocab_size": 40, "pad_token_id": 0, "hidden_act": "gelu"}
    config = transformers.ChineseCLIPConfig(
        text_config=text, vision_config=VISION, projection_dim=28
    )
    processor = transformers.ChineseCLIPImageProcessor(
        size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}
    )
    tokenizer = word_tokenizer(directory, start="[CLS]", end="[SEP]", pad="[PAD]")
    return transformers.ChineseCLIPModel(config), tokenizer, processor


def _siglip(directory: Path, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    text = {**TEXT, "vocab_size": 40, "projection_size": 32, **options}
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    processor = transformers.SiglipImageProcessor(size={"height": 48, "width": 48})
    tokenizer = word_tokenizer(directory, end="</s>", pad="</s>")
    return transformers.SiglipModel(config), tokenizer, processor


MAKERS: dict[str, Callable[[Path, dict[str, Any]], tuple[Any, Any, Any]]] = {
    "clip": _clip,
    "metaclip_2": _metaclip,
    "chinese_clip": _chinese_clip,
    "siglip": _siglip,
}
assert timm.is_model(f"{TINY_TIMM}_48")
