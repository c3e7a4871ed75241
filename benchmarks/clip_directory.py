"""An open_clip model with random weights, written as transformers and its followers read it.

Run by a peer's Python, as  python clip_directory.py ARCHITECTURE CHECKPOINT DIRECTORY . Only for
architectures of OpenAI's form, with GELU. The tokenizer is CLIP's, from the vocabulary that
open_clip carries, so nothing is fetched.
"""

import gzip
import shutil
import sys
from pathlib import Path

import open_clip
import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
)

_NUM_MERGES = 49152 - 256 - 2  # as in open_clip's tokenizer
_BLOCK_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_OUTER_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
_NORM_NAMES = {
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "ln_final": "text_model.final_layer_norm",
}


def write_directory(architecture: str, checkpoint: Path, directory: Path) -> None:
    """Write model, tokenizer and image processor.

    Args:
        architecture: One of open_clip's.
        checkpoint: Its weights, as a state dict.
        directory: Where to; it appears whole.
    """
    config = open_clip.get_model_config(architecture)
    assert config is not None
    vision, text = config["vision_cfg"], config["text_cfg"]
    tokenizer = _tokenizer(text["context_length"])
    end = tokenizer.eos_token_id
    model = CLIPModel(
        CLIPConfig(
            projection_dim=config["embed_dim"],
            vision_config={
                "hidden_size": vision["width"],
                "intermediate_size": 4 * vision["width"],
                "num_hidden_layers": vision["layers"],
                "num_attention_heads": vision["width"] // 64,
                "image_size": vision["image_size"],
                "patch_size": vision["patch_size"],
                "hidden_act": "gelu",
                "projection_dim": config["embed_dim"],
            },
            text_config={
                "hidden_size": text["width"],
                "intermediate_size": 4 * text["width"],
                "num_hidden_layers": text["layers"],
                "num_attention_heads": text["heads"],
                "max_position_embeddings": text["context_length"],
                "vocab_size": text["vocab_size"],
                "hidden_act": "gelu",
                "projection_dim": config["embed_dim"],
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": end,
                "pad_token_id": end,
            },
        )
    )
    model.load_state_dict(_renamed(torch.load(checkpoint)))
    size = vision["image_size"]
    image_processor = CLIPImageProcessor(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    )
    unfinished = directory.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    CLIPProcessor(image_processor, tokenizer).save_pretrained(unfinished)
    unfinished.rename(directory)


def _tokenizer(context_length: int) -> CLIPTokenizer:
    path = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : _NUM_MERGES + 1]
    merges = [tuple(line.split()) for line in lines]
    characters = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = [
        *characters,
        *(character + "</w>" for character in characters),
        *("".join(merge) for merge in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=context_length)


def _renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return open_clip's weights under transformers' names."""
    found = {}
    for name, value in weights.items():
        outer, _, kind = name.rpartition(".")
        if "resblocks." in name:
            tower = "vision_model" if name.startswith("visual.") else "text_model"
            number, _, inner = name.partition("resblocks.")[2].partition(".")
            layer = f"{tower}.encoder.layers.{number}"
            if inner.startswith("attn.in_proj_"):
                for part, rows in zip("qkv", value.chunk(3), strict=True):
                    suffix = inner.removeprefix("attn.in_proj_")
                    found[f"{layer}.self_attn.{part}_proj.{suffix}"] = rows
            else:
                inner, _, kind = inner.rpartition(".")
                found[f"{layer}.{_BLOCK_NAMES[inner]}.{kind}"] = value
        elif outer in _NORM_NAMES:
            found[f"{_NORM_NAMES[outer]}.{kind}"] = value
        elif name in ("visual.proj", "text_projection"):
            tower = "visual" if name == "visual.proj" else "text"
            found[f"{tower}_projection.weight"] = value.T.contiguous()
        elif name in _OUTER_NAMES:
            found[_OUTER_NAMES[name]] = value
    return found


if __name__ == "__main__":
    write_directory(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
