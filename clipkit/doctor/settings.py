"""Checks of single settings: mean and std, text padding, case, the logit scale."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clipkit.doctor.health import HealthCheck
from clipkit.errors import CheckpointError
from clipkit.files import read_json_object
from clipkit.inputs.preprocess import OPENAI_MEAN, OPENAI_STD, Channels, Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models.locate import TOKENIZER_NAME, CheckpointFiles
from clipkit.models.open_clip_config import TEXT_CONFIG_NAME
from clipkit.models.vocabulary_check import read_vocabulary, wrong_end
from clipkit.runtime.base import Scoring

# By the models that have them, as open_clip 3.3's pretrained.py says.
KNOWN_STANDARDS: Mapping[str, tuple[Channels, Channels]] = {
    "OpenAI's": (OPENAI_MEAN, OPENAI_STD),
    "SigLIP's": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "MobileCLIP's": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
_TOLERANCE = 1e-3  # configs round them to three or more digits
# Of published models 1 / temperature is 10 to 120: CLIP's is clamped at 100, SigLIP's is near 115.
_LARGEST_SCALE = 1000.0
_LEAST_SCALE = 3.0
_MANY_WORDS = 100  # in Latin letters: a vocabulary with fewer says nothing of their case
# The padding token of text towers of transformers whose config does not say.
_PAD_IDS = {"bert": 0, "roberta": 1, "xlm-roberta": 1, "mt5": 0, "m2m_100": 1}


def check_standards(preprocess: Preprocess, where: str) -> HealthCheck:
    """Return whether mean and std can be what an image tower was trained with.

    Args:
        preprocess: The model's.
        where: The model's name.

    Returns:
        A problem for values that no model can have been trained with as clipkit uses them.
    """
    mean, std = preprocess.mean, preprocess.std
    figure = f"mean {_three(mean)}, std {_three(std)}"

    def found(verdict: Any, reason: str, advice: str) -> HealthCheck:
        return HealthCheck("mean and std", where, f"{figure}: {reason}", verdict, advice)

    owners = [name for name, known in KNOWN_STANDARDS.items() if _same((mean, std), known)]
    if owners:
        return HealthCheck("mean and std", where, f"{figure}: {owners[0]}")
    if max(mean) > 1 or max(std) > 1 or min(mean) < 0:
        return found("problem", "not on the scale of pixels in 0..1", "divide them by 255")
    for name, (known_mean, known_std) in KNOWN_STANDARDS.items():
        if _same((mean, std), (known_std, known_mean)):
            return found("problem", f"{name}, swapped", f"use mean {_three(known_mean)}")
        if _same((mean, std), (known_mean[::-1], known_std[::-1])):
            return found(
                "problem", f"{name}, in the order blue, green, red", "clipkit reads red first"
            )
    halves = [
        name
        for name, (known_mean, known_std) in KNOWN_STANDARDS.items()
        if _close(mean, known_mean) or _close(std, known_std)
    ]
    if halves:
        return found("remark", f"only one of them is {' or '.join(halves)}", "models have both")
    return found("remark", "no published model has these", "right only if it was trained so")


def check_texts(files: CheckpointFiles) -> Iterator[HealthCheck]:
    """Yield whether texts become rows of token ids as the text tower was made for.

    Args:
        files: The checkpoint.

    Yields:
        Checks of the padding, of the end of a text, and of the case of letters.
    """
    text_cfg = files.model_cfg["text_cfg"]
    try:
        tokenizer = Tokenizer.from_config(text_cfg, files.tokenizer)
        tokenizer.digest()
    except CheckpointError as error:
        yield HealthCheck("tokenizer", str(files.tokenizer), str(error), "problem")
        return
    yield _check_padding(files, tokenizer)
    path = files.tokenizer / TOKENIZER_NAME
    if path.is_file():
        vocabulary = read_vocabulary(path)
        highest = max(vocabulary.num_words - 1, vocabulary.start_id, vocabulary.end_id)
        wrong = wrong_end(text_cfg, highest, vocabulary.end_id)
        if wrong is not None:
            yield HealthCheck(
                "end of texts",
                str(path),
                f"the text tower {wrong}",
                "problem",
                "take the tokenizer's files of the model that the weights were trained as",
            )
    yield _check_case(files, tokenizer)


def check_logit_scale(scoring: Scoring, where: str) -> HealthCheck:
    """Return whether the logit scale can be one that was learnt.

    Args:
        scoring: The model's.
        where: The model's name.

    Returns:
        The check. Embeddings do not depend on it; probabilities do.
    """
    stored, name = scoring.log_scale, "logit scale"
    scale = math.exp(stored) if stored < 700 else math.inf
    figure = f"e^{stored:.4g} = {scale:.4g}"
    if not math.isfinite(stored) or scale > _LARGEST_SCALE:
        return HealthCheck(
            name,
            where,
            f"{figure}, far above the 10 to 120 of published models",
            "problem",
            f"the weights must hold its natural log: if {stored:.4g} is the scale itself, store "
            f"{math.log(stored):.4g}"
            if stored > 1
            else "take the weights of an earlier checkpoint",
        )
    if scale < _LEAST_SCALE:
        return HealthCheck(
            name,
            where,
            f"{figure}, so low that all probabilities are nearly alike",
            "remark",
            "the weights must hold the natural log of 1 / temperature, not the temperature",
        )
    if scoring.logit_bias is not None and scoring.logit_bias > 0:
        return HealthCheck(
            name,
            where,
            f"{figure}, with a bias of {scoring.logit_bias:.4g}",
            "remark",
            "a bias that was learnt with the sigmoid loss is about -10",
        )
    return HealthCheck(name, where, figure)


def _check_padding(files: CheckpointFiles, tokenizer: Tokenizer) -> HealthCheck:
    found = f"{tokenizer.context_length} tokens, filled up with token {tokenizer.pad_id}"
    name, where = "padding of texts", str(files.tokenizer)
    expected = None if files.text_config is None else _pad_id(files.text_config)
    if expected is not None and tokenizer.pad_id != expected:
        return HealthCheck(
            name,
            where,
            f"rows are filled up with token {tokenizer.pad_id}, and the text tower ignores "
            f"{expected}, so that it reads the filling as words",
            "problem",
            f"name the token of id {expected} as the pad_token in tokenizer_config.json",
        )
    text_cfg = files.model_cfg["text_cfg"]
    is_last = text_cfg.get("pool_type") == "last"
    stored = _stored_length(files.tokenizer / TOKENIZER_NAME)
    if is_last and stored is not None and stored != tokenizer.context_length:
        return HealthCheck(
            name,
            where,
            f"{found}; the vocabulary's file says {stored}, and this tower reads the last one",
            "remark",
            "with another length than in training its text features mean nothing",
        )
    return HealthCheck(name, where, found)


def _check_case(files: CheckpointFiles, tokenizer: Tokenizer) -> HealthCheck:
    name, where = "case of texts", str(files.tokenizer)
    upper, lower = tokenizer(["A CAT", "a cat"])
    if (upper == lower).all():
        return HealthCheck(name, where, "lower case: A CAT is read as a cat")
    path = files.tokenizer / TOKENIZER_NAME
    words = read_vocabulary(path).ids if path.is_file() else {}
    capitals = sum(_is_word(word) and word != word.lower() for word in words)
    small = sum(_is_word(word) and word == word.lower() for word in words)
    if capitals or small < _MANY_WORDS:
        return HealthCheck(name, where, f"kept; {capitals:,} tokens have capital letters")
    return HealthCheck(
        name,
        where,
        f"none of the {len(words):,} tokens has capital letters, and A CAT is not read as a cat",
        "problem",
        "the model was trained on lower case: set lowercase in the normalizer of tokenizer.json, "
        'or "tokenizer_kwargs": {"clean": "lower"} in the text_cfg',
    )


def _is_word(token: str) -> bool:
    """Return whether a token has two Latin letters or more, and is no mark such as [PAD]."""
    is_mark = token.startswith(("[", "<")) and token.endswith(("]", ">"))
    return not is_mark and sum(letter.isascii() and letter.isalpha() for letter in token) > 1


def _pad_id(text_config: Path) -> int | None:
    content = read_json_object(text_config / TEXT_CONFIG_NAME, CheckpointError)
    stated = content.get("pad_token_id", _PAD_IDS.get(str(content.get("model_type"))))
    return stated if isinstance(stated, int) else None


def _stored_length(path: Path) -> int | None:
    """Return the length that a tokenizer.json itself fills rows up to, None if it says none."""
    if not path.is_file():
        return None
    padding = read_json_object(path, CheckpointError).get("padding") or {}
    strategy = padding.get("strategy")
    return strategy.get("Fixed") if isinstance(strategy, dict) else None


def _same(
    pair: tuple[Channels, Channels], other: tuple[tuple[float, ...], tuple[float, ...]]
) -> bool:
    return _close(pair[0], other[0]) and _close(pair[1], other[1])


def _close(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return all(abs(one - two) <= _TOLERANCE for one, two in zip(first, second, strict=True))


def _three(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
