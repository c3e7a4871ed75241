"""Checks of single settings: mean and std, padding, case, logit scale."""

import json
import math
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.doctor.health import HealthCheck
from clipkit.doctor.settings import (
    KNOWN_STANDARDS,
    check_logit_scale,
    check_standards,
    check_texts,
)
from clipkit.inputs.preprocess import OPENAI_MEAN, OPENAI_STD, Channels, Preprocess
from clipkit.models.known_models import known_architectures
from clipkit.models.locate import locate
from clipkit.models.sources import DirectorySource
from clipkit.runtime.base import Scoring


def standards(mean: Channels, std: Channels) -> HealthCheck:
    return check_standards(Preprocess((32, 32), mean=mean, std=std), "a model")


def test_mean_and_std_of_every_published_model_pass() -> None:
    for architecture in known_architectures().values():
        for tag in architecture.tags.values():
            mean, std = tag.preprocess["mean"], tag.preprocess["std"]
            assert standards(tuple(mean), tuple(std)).verdict == "ok"


@pytest.mark.parametrize(
    ("mean", "std", "verdict", "words"),
    [
        (OPENAI_STD, OPENAI_MEAN, "problem", "OpenAI's, swapped"),
        (OPENAI_MEAN[::-1], OPENAI_STD[::-1], "problem", "in the order blue, green, red"),
        ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4), "problem", "not on the scale of pixels"),
        (OPENAI_MEAN, (0.5, 0.5, 0.5), "remark", "only one of them"),
        ((0.4, 0.3, 0.2), (0.1, 0.2, 0.3), "remark", "no published model has these"),
    ],
)
def test_other_values_are_judged(mean: Channels, std: Channels, verdict: str, words: str) -> None:
    check = standards(mean, std)
    assert check.verdict == verdict
    assert words in check.figure


@given(st.sampled_from(list(KNOWN_STANDARDS.values())), st.floats(-4e-4, 4e-4))
def test_rounded_values_pass(known: tuple[Channels, Channels], error: float) -> None:
    mean, std = known
    assert standards(tuple(max(0.0, value + error) for value in mean), std).verdict == "ok"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stored", "bias", "verdict"),
    [
        (math.log(100), None, "ok"),
        (math.log(1 / 0.07), None, "ok"),
        (4.77, -12.9, "ok"),
        (100.0, None, "problem"),  # the scale itself instead of its log
        (1000.0, None, "problem"),
        (math.nan, None, "problem"),
        (0.07, None, "remark"),  # the temperature
        (-2.66, None, "remark"),
        (2.3, 10.0, "remark"),
    ],
)
def test_logit_scales(stored: float, bias: float | None, verdict: str) -> None:
    assert check_logit_scale(Scoring(stored, bias), "a model").verdict == verdict


def test_a_scale_that_was_not_made_a_logarithm_says_what_to_store() -> None:
    check = check_logit_scale(Scoring(100.0), "a model")
    assert "store 4.605" in check.advice


def test_texts_of_the_starter(starter_folder: Path, tmp_path: Path) -> None:
    def verdicts() -> dict[str, str]:
        files = locate(DirectorySource("copy", tmp_path / "copy"))
        return {check.name: check.verdict for check in check_texts(files)}

    shutil.copytree(starter_folder, tmp_path / "copy", ignore=shutil.ignore_patterns("recipe"))
    assert set(verdicts().values()) == {"ok"}
    (tmp_path / "copy" / "tokenizer.json").write_text("{}")
    assert verdicts() == {"tokenizer": "problem"}
    (tmp_path / "copy" / "tokenizer.json").unlink()
    assert verdicts() == {"tokenizer": "problem"}


def test_the_length_of_a_tower_that_reads_the_last_token(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<pad>": 0, "</s>": 1, "a": 2, "cat": 3}
    vocabulary = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    vocabulary.enable_padding(length=64, pad_token="</s>", pad_id=1)
    vocabulary.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "</s>"}))
    for length, verdict in ((64, "ok"), (16, "remark")):
        text_cfg = {
            "hf_tokenizer_name": ".",
            "context_length": length,
            "pool_type": "last",
            "no_causal_mask": True,
            "vocab_size": 4,
        }
        config = {"embed_dim": 8, "vision_cfg": {"image_size": 32}, "text_cfg": text_cfg}
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
        files = locate(DirectorySource("one", tmp_path))
        found = {check.name: check for check in check_texts(files)}
        assert found["padding of texts"].verdict == verdict
