"""What is said before a run: published recipes pass in silence, what spoils a model is named."""

import math
from dataclasses import replace
from typing import Any

import pytest

from clipkit.errors import InputError
from clipkit.runs.settings_check import check_settings, names_side, settings_warnings
from clipkit.training.config import LossConfig, RunConfig
from clipkit.training.data_config import DataConfig, SourceConfig
from clipkit.training.model_config import ModelConfig

DATA = DataConfig(train=(SourceConfig("photos"),))
TUNING = RunConfig("run", ModelConfig(base="starter"), DATA).resolve()
SCRATCH = RunConfig("run", ModelConfig(architecture="ViT-B-32"), DATA).resolve()
SIZES: dict[str, Any] = {"num_pairs": 5000, "num_parameters": 30_000_000}


def _change(config: RunConfig, **sections: dict[str, Any]) -> RunConfig:
    parts = {name: replace(getattr(config, name), **keys) for name, keys in sections.items()}
    return replace(config, **parts)


def _only(config: RunConfig, **sizes: Any) -> str:
    (sentence,) = settings_warnings(config, **{**SIZES, **sizes})
    return sentence


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (TUNING, {}),
        # FLYP and WiSE-FT on ImageNet
        (_change(TUNING, compute={"batch_size": 512, "epochs": 10}), {"num_pairs": 1_281_167}),
        (
            _change(TUNING, compute={"batch_size": 512, "epochs": 10}, optimizer={"lr": 3e-5}),
            {"num_pairs": 1_281_167, "num_parameters": 151_000_000},
        ),
        # CLIP; DataComp xlarge
        (
            _change(SCRATCH, compute={"batch_size": 32_768}),
            {"num_pairs": 400_000_000, "num_parameters": 151_000_000},
        ),
        (
            _change(
                SCRATCH,
                compute={"batch_size": 90_112, "epochs": 1},
                optimizer={"lr": 1e-3, "beta2": 0.95},
            ),
            {"num_pairs": 12_800_000_000, "num_parameters": 428_000_000},
        ),
        # big_vision's LiT on COCO: the image tower is locked
        (
            _change(
                TUNING,
                model={"lock_image": True},
                optimizer={"lr": 1e-3},
                compute={"batch_size": 512, "epochs": 5},
            ),
            {"num_pairs": 567_000},
        ),
        (SCRATCH, {"num_pairs": 20_000}),
    ],
)
def test_published_recipes_and_the_defaults_pass_in_silence(
    config: RunConfig, sizes: dict[str, int]
) -> None:
    assert settings_warnings(config, **{**SIZES, **sizes}) == []


ADAPTERS = RunConfig("run", ModelConfig(base="starter", lora_rank=2), DATA).resolve()


def test_adapters_have_a_rate_of_their_own() -> None:
    assert ADAPTERS.optimizer.lr == 2e-4
    assert settings_warnings(ADAPTERS, **SIZES) == []
    high = _only(_change(ADAPTERS, optimizer={"lr": 1e-2}))
    assert "optimizer.lr 0.01 is 50 times the 0.0002" in high
    assert high.endswith("set lr = 0.0002")
    low = _only(_change(ADAPTERS, optimizer={"lr": 1e-5}))
    assert "optimizer.lr 1e-05 suits the weights of a whole model" in low
    assert low.endswith("set lr = 0.0002")


def test_adapters_keep_the_scale_that_a_logit_bias_goes_with() -> None:
    assert settings_warnings(ADAPTERS, **SIZES, logit_bias=-12.9) == []


def test_a_high_rate_from_a_checkpoint_is_named_with_the_right_one() -> None:
    sentence = _only(_change(TUNING, optimizer={"lr": 1e-3}))
    assert "optimizer.lr 0.001 is 100 times the 1e-05" in sentence
    assert "set lr = 1e-05" in sentence
    assert settings_warnings(_change(TUNING, optimizer={"lr": 1e-4}), **SIZES) == []


@pytest.mark.parametrize("start", [SCRATCH, _change(TUNING, model={"lock_image": True})])
def test_a_rate_above_every_recipe_is_named(start: RunConfig) -> None:
    sentence = _only(_change(start, optimizer={"lr": 2e-3}))
    assert "optimizer.lr 0.002 is above 0.001" in sentence
    assert settings_warnings(_change(start, optimizer={"lr": 1e-3}), **SIZES) == []


def test_a_run_shorter_than_the_memory_of_adamw_is_named() -> None:
    # 640 pairs in batches of 64 are 10 steps an epoch; 1 / (1 - 0.98) is 50.
    shorter = _change(TUNING, compute={"epochs": 4})
    sentence = _only(shorter, num_pairs=649)
    assert "the run has 40 steps" in sentence
    assert "last 50" in sentence
    assert settings_warnings(TUNING, **{**SIZES, "num_pairs": 640}) == []
    assert "last 1000" in _only(_change(TUNING, optimizer={"beta2": 0.999}), num_pairs=640)


def test_a_warm_up_that_takes_most_of_the_run_is_named() -> None:
    assert "warmup_fraction 0.6" in _only(_change(TUNING, optimizer={"warmup_fraction": 0.6}))
    assert settings_warnings(_change(TUNING, optimizer={"warmup_fraction": 0.5}), **SIZES) == []


def test_a_warmup_that_the_run_never_ends_is_named_so() -> None:
    # open_clip's default of 10 000 steps; 5 epochs of 78 steps reach 390 / 10 000 of lr
    warned = _only(_change(TUNING, optimizer={"warmup_steps": 10_000}))
    assert warned == (
        "optimizer.warmup_steps 10000 is more than the 390 steps of the run: the learning rate "
        "rises to its end, where it is 3.9e-07, and never reaches lr 1e-05; 39 would be usual"
    )


def test_a_bias_that_cannot_reach_its_place_is_named() -> None:
    sigmoid = _change(SCRATCH, loss={"kind": "sigmoid"})
    sentence = _only(sigmoid, logit_bias=-10.0)
    assert f"a bias of {math.log(1 / 63):.1f}" in sentence  # one match in 64
    assert '"init_logit_bias": -4.1' in sentence
    # 5000 // 64 batches in each of 32 epochs, each moving it by 5e-4
    assert f"by {5e-4 * 32 * (5000 // 64):.2g} at most" in sentence
    assert "init_logit_bias" not in _only(
        _change(TUNING, loss={"kind": "sigmoid"}), logit_bias=-10.0
    )


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({"loss": {"kind": "infonce"}}, {"logit_bias": None}),
        ({}, {"logit_bias": -9.5}),
        ({"compute": {"batch_size": 1024}}, {}),
        # 10 - ln 63 = 5.86 at 5e-4 a step are 11 714 steps
        ({"compute": {"epochs": 1}}, {"num_pairs": 64 * 11_715}),
    ],
)
def test_a_bias_that_fits_or_gets_there_is_not_named(
    changes: dict[str, Any], sizes: dict[str, Any]
) -> None:
    config = _change(_change(SCRATCH, loss={"kind": "sigmoid"}), **changes)
    assert settings_warnings(config, **{**SIZES, "logit_bias": -10.0, **sizes}) == []


def test_softmax_on_a_start_with_a_bias_is_named() -> None:
    sentence = _only(TUNING, logit_bias=-12.9)
    assert "the base model has a logit bias (-12.9), which infonce leaves as it is" in sentence
    assert (
        settings_warnings(_change(TUNING, loss={"kind": "sigmoid"}), **SIZES, logit_bias=-12.9)
        == []
    )


def test_a_large_model_from_scratch_on_few_pairs_is_named() -> None:
    sentence = _only(SCRATCH, num_pairs=100_000, num_parameters=151_000_000)
    assert "151 million weights from scratch see 3.2 million pairs" in sentence
    assert (
        settings_warnings(SCRATCH, num_pairs=400_000, num_parameters=151_000_000) == []
    )  # 12.8 million
    assert settings_warnings(TUNING, num_pairs=100_000, num_parameters=151_000_000) == []


def test_pairs_that_are_shown_hundreds_of_times_are_named() -> None:
    often = _change(TUNING, compute={"epochs": 300})
    assert "shown 300 times" in _only(often)
    weighted = _change(
        TUNING,
        compute={"epochs": 20},
        data={"train": (SourceConfig("a"), SourceConfig("b", weight=10))},
    )
    assert "shown 200 times" in _only(weighted, most_drawn=10.0)
    watched = _change(often, watch={"patience": 3}, data={"validation_fraction": 0.1})
    assert settings_warnings(watched, **SIZES) == []


def test_a_batch_with_few_negatives_is_named() -> None:
    sentence = _only(_change(TUNING, compute={"batch_size": 16}))
    assert "against 15 others" in sentence
    assert "compute.chunk_size = 16" in sentence
    small = _change(TUNING, compute={"batch_size": 16})  # there are no more pairs to take
    assert not any(
        "others" in item for item in settings_warnings(small, num_pairs=31, num_parameters=1)
    )


def test_mirrored_images_of_captions_with_sides_are_named() -> None:
    mirrored = _change(TUNING, data={"horizontal_flip": 0.5})
    assert "7 captions say left or right" in _only(mirrored, num_directional=7)
    assert settings_warnings(mirrored, **SIZES) == []
    assert settings_warnings(TUNING, **SIZES, num_directional=7) == []


@pytest.mark.parametrize(
    ("caption", "is_side"),
    [
        ("a dog left of a car", True),
        ("The RIGHT hand", True),
        ("a left-handed man", True),
        ("leftovers on a bright plate", False),
        ("", False),
    ],
)
def test_sides_are_whole_words(caption: str, is_side: bool) -> None:
    assert names_side(caption) is is_side


def test_patch_dropout_of_a_fine_tuning_is_named() -> None:
    assert "patch_dropout 0.5" in _only(_change(TUNING, model={"patch_dropout": 0.5}))
    assert settings_warnings(_change(SCRATCH, model={"patch_dropout": 0.5}), **SIZES) == []


def test_all_that_is_wrong_is_named_the_rate_first() -> None:
    config = _change(
        TUNING, optimizer={"lr": 1e-2}, model={"patch_dropout": 0.5}, compute={"epochs": 400}
    )
    sentences = settings_warnings(config, **SIZES)
    assert len(sentences) == 3
    assert "1000 times" in sentences[0]


@pytest.mark.parametrize(
    ("config", "sizes", "problem"),
    [
        (TUNING, {"num_pairs": 1}, "at least 2 pairs, got 1"),
        (TUNING, {"num_pairs": 0}, "at least 2 pairs, got 0"),
        (TUNING, {"num_captions": 1}, "all 5000 pairs have the same caption"),
        (
            TUNING,
            {"num_pairs": 63},
            r"batch_size 64 is more than the 63 pairs of an epoch, .*at most 63",
        ),
        (
            _change(TUNING, compute={"accumulate_batches": 4}),
            {"num_pairs": 255},
            r"accumulate_batches 4 is more than the 3 whole batches of an epoch .*at most 3",
        ),
        (
            _change(TUNING, model={"lock_image": True, "lock_text": True}),
            {},
            "leave nothing to train",
        ),
        (
            _change(TUNING, model={"lock_image": True, "patch_dropout": 0.5}),
            {},
            "set patch_dropout = 0",
        ),
        (_change(TUNING, loss={"contrastive_weight": 0}), {}, "every part of the loss"),
        (
            replace(
                TUNING,
                loss=LossConfig(
                    teacher="x", contrastive_weight=0, feature_weight=0, logit_weight=0
                ),
            ),
            {},
            "every part of the loss",
        ),
        (_change(TUNING, loss={"matryoshka_dims": (64, 513)}), {}, "at most 512, .* got 513"),
        (_change(TUNING, watch={"patience": 1}), {}, "there are none"),
    ],
)
def test_what_cannot_work_is_refused(
    config: RunConfig, sizes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        check_settings(config, **{"num_pairs": 5000, "embed_dim": 512, **sizes})


@pytest.mark.parametrize(
    "config",
    [
        TUNING,
        _change(TUNING, compute={"batch_size": 5000}),
        _change(TUNING, loss={"matryoshka_dims": (64, 512)}),
        _change(TUNING, loss={"contrastive_weight": 0, "teacher": "x"}),
        _change(TUNING, model={"lock_image": True, "lock_text": True, "unlocked_text_layers": 1}),
        _change(
            TUNING, model={"lock_image": True, "unlocked_image_groups": 1, "patch_dropout": 0.5}
        ),
    ],
)
def test_what_can_work_is_not_refused(config: RunConfig) -> None:
    check_settings(config, num_pairs=5000, embed_dim=512, num_captions=2)
    check_settings(config, num_pairs=5000, embed_dim=512)


def test_patience_goes_by_the_pairs_that_are_there_wherever_they_come_from() -> None:
    config = _change(TUNING, watch={"patience": 1})  # as with validation= from Python
    check_settings(config, num_pairs=5000, embed_dim=512, is_validated=True)
