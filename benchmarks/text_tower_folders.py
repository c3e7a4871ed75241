"""Folders that stand for what open_clip takes from the hub: a text tower's config, a tokenizer.

The configs have the sizes that are published. The vocabularies are small ones, trained on captions
and saved by the classes of transformers that the published files name.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers
from made_texts import LABELS, made_captions
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

_ROBERTA = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
_CONFIGS: dict[str, dict[str, Any]] = {
    "roberta-base": {"model_type": "roberta", "vocab_size": 50265, **_ROBERTA},
    "xlm-roberta-base": {"model_type": "xlm-roberta", "vocab_size": 250002, **_ROBERTA},
    "google/mt5-base": {
        "model_type": "mt5",
        "vocab_size": 250112,
        "d_model": 768,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 12,
        "num_decoder_layers": 12,
        "num_heads": 12,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "is_encoder_decoder": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    },
    "facebook/nllb-200-distilled-600M": {
        "model_type": "m2m_100",
        "vocab_size": 256206,
        "d_model": 1024,
        "encoder_layers": 12,
        "decoder_layers": 12,
        "encoder_attention_heads": 16,
        "decoder_attention_heads": 16,
        "encoder_ffn_dim": 4096,
        "decoder_ffn_dim": 4096,
        "encoder_layerdrop": 0,
        "decoder_layerdrop": 0,
        "max_position_embeddings": 1024,
        "activation_function": "relu",
        "scale_embedding": True,
        "is_encoder_decoder": True,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
    },
}


def write_text_tower_folder(name: str, folder: Path) -> None:
    """Write the config.json of a text tower and a tokenizer into a folder, which is made.

    Args:
        name: As in the configs of open_clip, one of KNOWN.
        folder: Where to.
    """
    folder.mkdir()
    _TOKENIZERS[name]().save_pretrained(folder)
    if name == "facebook/nllb-200-distilled-600M":
        _put_language_last(folder / "tokenizer.json")
    (folder / "config.json").write_text(json.dumps(_CONFIGS[name]), encoding="utf-8")


def _put_language_last(path: Path) -> None:
    """Write the post-processor as the published file has it, which its class does not follow."""
    content = json.loads(path.read_text(encoding="utf-8"))
    language, text, end = content["post_processor"]["single"]
    content["post_processor"]["single"] = [text, end, language]
    path.write_text(json.dumps(content), encoding="utf-8")


def _corpus() -> list[str]:
    return [*LABELS, *made_captions(400, 0), "Snow, on a mountain! it's 7 o'clock"]


def _trained(kind: Tokenizer, trainer: Any) -> dict[str, Any]:
    """Return the model part of a trained vocabulary: "vocab", and "merges" as pairs."""
    kind.train_from_iterator(_corpus(), trainer)
    content: dict[str, Any] = json.loads(kind.to_str())["model"]
    if "merges" in content:
        content["merges"] = [
            tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair)
            for pair in content["merges"]
        ]
    return content


def _byte_pairs(pre_tokenizer: Any, alphabet: list[str]) -> dict[str, Any]:
    kind = Tokenizer(models.BPE())
    kind.pre_tokenizer = pre_tokenizer
    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=marks, initial_alphabet=alphabet, show_progress=False
    )
    return _trained(kind, trainer)


def _pieces(marks: list[str]) -> list[tuple[str, float]]:
    kind = Tokenizer(models.Unigram())
    kind.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=marks, unk_token="<unk>", show_progress=False
    )
    return [(str(piece), float(score)) for piece, score in _trained(kind, trainer)["vocab"]]


def _of_roberta() -> Any:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    content = _byte_pairs(byte_level, pre_tokenizers.ByteLevel.alphabet())
    return transformers.RobertaTokenizer(vocab=content["vocab"], merges=content["merges"])


def _of_xlm_roberta() -> Any:
    return transformers.XLMRobertaTokenizer(vocab=_pieces(["<s>", "<pad>", "</s>", "<unk>"]))


def _of_mt5() -> Any:
    return transformers.T5Tokenizer(vocab=_pieces(["<pad>", "</s>", "<unk>"]), extra_ids=0)


def _of_nllb() -> Any:
    content = _byte_pairs(pre_tokenizers.Metaspace(), [])
    return transformers.NllbTokenizer(vocab=content["vocab"], merges=content["merges"])


_TOKENIZERS: dict[str, Callable[[], Any]] = {
    "roberta-base": _of_roberta,
    "xlm-roberta-base": _of_xlm_roberta,
    "google/mt5-base": _of_mt5,
    "facebook/nllb-200-distilled-600M": _of_nllb,
}
KNOWN = tuple(_TOKENIZERS)
