"""Models of published sizes with random weights, to time how a text query starts with each.

A vocabulary of 256 000 tokens is made too: random pieces and their byte-pair merges, 1.6 a token in
26 MB, where SigLIP 2's, which is Gemma's, has 2.3 in 34 MB.
"""

import json
import random
from pathlib import Path
from typing import Any

from workplace import Workplace, apart

ARCHITECTURES = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-B-16-SigLIP2", "MobileCLIP2-S2")
LARGE_VOCABULARY = 256_000
_MARKS = ("<pad>", "<eos>", "<bos>", "<unk>")
_LETTERS = "▁eationsrhldcumpgfybwvkxjqz" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,-'!?:;()/&"
_LONGEST = 12  # characters of a token


def cold_model(workplace: Workplace, architecture: str) -> Path:
    """Return a checkpoint directory with random weights, written unless it is there."""
    folder = workplace.directory / "models" / f"{architecture}-random"
    if not (folder / "open_clip_config.json").exists():
        apart(_write, folder, architecture)
    return folder


def made_vocabulary(num: int, seed: int = 0) -> dict[str, Any]:
    """Return a tokenizer.json with Gemma's parts and a vocabulary of random pieces.

    Args:
        num: How many tokens.
        seed: Of the pieces.

    Returns:
        Its content: every way in which a token is two others is a merge, as in Gemma's.
    """
    rng = random.Random(seed)
    tokens = [*_MARKS, *(f"<0x{byte:02X}>" for byte in range(256)), *_LETTERS]
    pieces, known = list(_LETTERS), set(tokens)
    while len(tokens) < num:
        # Short pieces of frequent letters are drawn more often, so that pieces share parts.
        first, second = (pieces[int(len(pieces) * rng.random() ** 8)] for _ in range(2))
        token = first + second
        if len(token) <= _LONGEST and token not in known and "▁" not in token[1:]:
            known.add(token)
            tokens.append(token)
            pieces.append(token)
    merges = [
        [token[:cut], token[cut:]]
        for token in tokens
        if token not in _MARKS and not token.startswith("<0x")
        for cut in range(1, len(token))
        if token[:cut] in known and token[cut:] in known
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": mark,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for number, mark in enumerate(_MARKS)
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "<eos>", "type_id": 0}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
            ],
            "special_tokens": {"<eos>": {"id": "<eos>", "ids": [1], "tokens": ["<eos>"]}},
        },
        "decoder": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": merges,
        },
    }


def _write(folder: Path, architecture: str) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = open_clip.get_model_config(architecture)
    if config["text_cfg"].get("vocab_size") == LARGE_VOCABULARY:
        content = json.dumps(made_vocabulary(LARGE_VOCABULARY), ensure_ascii=False, indent=2)
        (folder / "tokenizer.json").write_text(content, encoding="utf-8")
        settings = {"tokenizer_class": "GemmaTokenizer", "padding_side": "right"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        config["text_cfg"]["hf_tokenizer_name"] = "."
    torch.manual_seed(0)
    state = open_clip.create_model(architecture).state_dict()
    save_file(
        {name: one.contiguous() for name, one in state.items()},
        folder / "open_clip_model.safetensors",
    )
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    content = {"model_cfg": config, "preprocess_cfg": {"mean": mean, "std": std}}
    (folder / "open_clip_config.json").write_text(json.dumps(content, indent=2))
