"""The tokenizer of a checkpoint in transformers' layout, as a directory with a tokenizer.json.

Most checkpoints have one. What older ones have instead (vocab.json and merges.txt, vocab.txt,
spiece.model) is converted by transformers itself, once, into clipkit's cache, and copied there:
transformers' own SiglipTokenizer reads nothing else. There also lies the config of a text encoder
that stays transformers' own, because open_clip reads it from a file.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipkit.errors import CheckpointError, MissingExtraError
from clipkit.files import put_in_place, read_json_object
from clipkit.models.transformers_layout import MODEL_CONFIG
from clipkit.models.vocabulary_check import Vocabulary
from clipkit.paths import cache_directory

TOKENIZER = "tokenizer.json"
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
SENTENCEPIECE = "spiece.model"
OLDER_FILES = (
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    SENTENCEPIECE,
    "sentencepiece.bpe.model",
    "added_tokens.json",
)
_FORMAT = "2 "  # of what is prepared; 1 had no older files
# Of a directory that names no class; transformers gives both a normalizer, whatever the file says.
_CLASSES = {"clip": "CLIPTokenizer", "chinese_clip": "BertTokenizer"}
# What a tokenizer class does to a text before its tokenizer.json sees it.
_CLEANING = {"SiglipTokenizer": "siglip", "Siglip2Tokenizer": "lowercase"}


def tokenizer_cleaning(directory: Path, family: str) -> str:
    """Return the name of the rule that texts are cleaned by before they are tokenized.

    Args:
        directory: The checkpoint.
        family: Its kind.

    Returns:
        A key of `clipkit.inputs.text_cleaning.CLEANING_RULES`.

    Raises:
        CheckpointError: If the settings cannot be read, ask for padding on the left where that
            would need a mask, or do not name the token that SigLIP's texts are filled with.
    """
    settings = _settings(directory)
    kind = str(settings.get("tokenizer_class") or "").removesuffix("Fast")
    if not kind and family == "siglip" and (directory / SENTENCEPIECE).is_file():
        kind = "SiglipTokenizer"
    if family != "siglip" and (settings.get("padding_side") or "right") != "right":
        raise CheckpointError(_padded_left(directory / SETTINGS[0], "padding_side"))
    named = _json(directory / SETTINGS[1]) | settings
    if family == "siglip" and not named.get("pad_token") and (directory / TOKENIZER).is_file():
        raise CheckpointError(
            f"{directory} does not say which token fills a text, and SigLIP reads it: copy "
            f"{SETTINGS[0]} of the model that it was trained from"
        )
    return _CLEANING.get(kind, "none")


def prepare_tokenizer(directory: Path, text_config: Mapping[str, Any] | None) -> Path:
    """Return a directory with a tokenizer.json, and the config of the text encoder if it has one.

    Args:
        directory: The checkpoint.
        text_config: The config of a text encoder that is transformers' own; None: open_clip's.

    Returns:
        The directory itself, or one in clipkit's cache.

    Raises:
        CheckpointError: If the checkpoint has no tokenizer, or it cannot be converted.
        MissingExtraError: If a conversion needs transformers and it is not installed.
    """
    if (directory / TOKENIZER).is_file() and text_config is None:
        return directory
    files = [directory / name for name in (TOKENIZER, *SETTINGS, *OLDER_FILES)]
    files = [path for path in files if path.is_file()]
    if not any(path.name in (TOKENIZER, *OLDER_FILES) for path in files):
        raise CheckpointError(
            f"{directory} holds no tokenizer: it should have a {TOKENIZER}; copy the files of the "
            "model that it was trained from"
        )
    digest = hashlib.sha256(f"{_FORMAT}{json.dumps(text_config, sort_keys=True)}".encode())
    for path in files:
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    prepared = cache_directory() / "transformers" / digest.hexdigest()[:16]
    if prepared.is_dir():
        return prepared
    try:
        _prepare(directory, text_config, prepared)
    except OSError as error:
        raise CheckpointError(f"{prepared} cannot be written: {error.strerror or error}") from error
    return prepared


def check_settings(prepared: Path, family: str, vocabulary: Vocabulary) -> None:
    """Refuse a tokenizer by which texts would become other tokens than transformers makes.

    Args:
        prepared: As `prepare_tokenizer` returns it.
        family: The kind of model.
        vocabulary: Of its tokenizer.json.

    Raises:
        CheckpointError: If texts are padded on the left where that would need a mask, the file
            lacks a normalizer that the tokenizer's class has, or the text encoder masks another
            token than the one that fills texts.
    """
    path, settings = prepared / TOKENIZER, _settings(prepared)
    is_silent = not settings.get("padding_side")
    if family != "siglip" and is_silent and vocabulary.padding_side == "left":
        raise CheckpointError(_padded_left(path, "direction of padding"))
    kind = str(settings.get("tokenizer_class") or _CLASSES.get(family, "")).removesuffix("Fast")
    if kind in _CLASSES.values() and not vocabulary.is_normalizing:
        raise CheckpointError(
            f"{path} has no normalizer, and transformers' {kind} always has one: save the "
            "tokenizer again with transformers' save_pretrained"
        )
    if family != "chinese_clip":
        return
    named = _json(prepared / SETTINGS[1]) | settings
    token = named.get("pad_token") or vocabulary.pad_token or "[PAD]"
    token = token.get("content") if isinstance(token, dict) else token
    pad_id = _json(prepared / MODEL_CONFIG).get("pad_token_id", 0)
    if isinstance(token, str) and token in vocabulary.ids and vocabulary.ids[token] != pad_id:
        raise CheckpointError(
            f"the text encoder masks the token {pad_id} (pad_token_id in the text_config of "
            f"{MODEL_CONFIG}), and the tokenizer fills texts with {vocabulary.ids[token]}, "
            f"{token!r}: set pad_token_id to {vocabulary.ids[token]} if the tokenizer is the one "
            "that the model was trained with"
        )


def _padded_left(path: Path, setting: str) -> str:
    return (
        f"{path} pads texts on the left, which needs an attention mask that open_clip's encoders "
        f"do not take: set {setting} to right, or use transformers"
    )


def _prepare(directory: Path, text_config: Mapping[str, Any] | None, prepared: Path) -> None:
    draft = prepared.with_name(f".{prepared.name}.{uuid.uuid4().hex}.part")
    draft.mkdir(parents=True)
    try:
        for name in (TOKENIZER, *SETTINGS, *OLDER_FILES):
            if (directory / name).is_file():
                shutil.copyfile(directory / name, draft / name)
        settings = _settings(directory)
        if not (directory / TOKENIZER).is_file():
            text, marks = _converted(directory)
            (draft / TOKENIZER).write_text(text, encoding="utf-8")
            settings = {**marks, **settings}
        (draft / SETTINGS[0]).write_text(json.dumps(settings), encoding="utf-8")
        if text_config is not None:
            content = {**text_config, "dtype": "float32"}
            (draft / MODEL_CONFIG).write_text(json.dumps(content), encoding="utf-8")
        put_in_place(draft, prepared)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _converted(directory: Path) -> tuple[str, dict[str, str]]:
    """Return the tokenizer.json that transformers makes of an older tokenizer, and its settings."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("torch", "A tokenizer without a tokenizer.json") from error
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        marks = {"tokenizer_class": type(tokenizer).__name__}
        found = {name: getattr(tokenizer, name) for name in ("pad_token", "unk_token")}
        marks |= {name: str(token) for name, token in found.items() if token is not None}
        if hasattr(tokenizer, "backend_tokenizer"):
            return str(tokenizer.backend_tokenizer.to_str()), marks
        return _converted_siglip(tokenizer), marks
    except Exception as error:
        # transformers, tokenizers and sentencepiece each fail in ways of their own.
        raise CheckpointError(
            f"transformers cannot read the tokenizer in {directory} ({error}); a {TOKENIZER} "
            "beside its files would be read without it"
        ) from error


def _converted_siglip(tokenizer: Any) -> str:
    """Return SigLIP's tokenizer, for which transformers has SentencePiece's own code alone."""
    from tokenizers import processors
    from transformers.convert_slow_tokenizer import SpmConverter

    converter: Any = SpmConverter
    converted = converter(tokenizer).converted()
    end = str(tokenizer.eos_token)
    converted.post_processor = processors.TemplateProcessing(
        single=["$A", end], special_tokens=[(end, int(tokenizer.eos_token_id))]
    )
    return str(converted.to_str())


def _settings(directory: Path) -> dict[str, Any]:
    return _json(directory / SETTINGS[0])


def _json(path: Path) -> dict[str, Any]:
    """Return the content of a file; nothing where there is none."""
    return read_json_object(path, CheckpointError) if path.is_file() else {}
