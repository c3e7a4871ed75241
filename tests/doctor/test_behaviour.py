"""What a model makes of the sample photographs, and whether another setting is clearly better."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clipkit.doctor import behaviour
from clipkit.doctor.behaviour import (
    LARGEST_P,
    PhotographAnswers,
    check_behaviour,
    probability_of_better,
)
from clipkit.doctor.health import HealthCheck
from clipkit.encoder.engines import open_encoder
from clipkit.models.locate import locate
from clipkit.models.other_activation import other_activation
from clipkit.models.sources import resolve_source
from tests.conftest import ROOT
from tests.models.conftest import make_open_clip, tiny_config


def answers(losses: np.ndarray) -> PhotographAnswers:
    return PhotographAnswers(losses < 1, losses, 10)


def test_a_gain_of_every_photograph_is_no_chance_and_none_is_even() -> None:
    losses = np.linspace(0.5, 2, 45)
    # All 45 signs fall alike once in 2^45 draws; the least that 20,000 draws can say is 1 / 20,001.
    assert probability_of_better(answers(losses), answers(losses - 0.1)) == 1 / 20_001
    assert probability_of_better(answers(losses), answers(losses + 0.1)) == 1
    assert probability_of_better(answers(losses), answers(losses)) == 1


def test_few_photographs_have_the_p_value_of_all_signs() -> None:
    # Of 3 equal gains one of 2^3 assignments of signs is as large.
    gain = probability_of_better(answers(np.ones(3)), answers(np.zeros(3)))
    assert gain == pytest.approx(1 / 8, abs=0.01)


def test_equal_settings_are_seldom_called_better() -> None:
    random = np.random.default_rng(0)
    losses = random.exponential(size=(200, 2, 45))
    alarms = [probability_of_better(answers(a), answers(b)) <= LARGEST_P for a, b in losses]
    assert sum(alarms) <= 2  # 0.2 are expected


def checks(directory: Path) -> dict[str, HealthCheck]:
    source = resolve_source(directory)
    encoder = open_encoder(
        source, engine="torch", device="cpu", precision="fp32", cache_dir=None, text_cache=None
    )
    return {check.name: check for check in check_behaviour(source, locate(source), encoder)}


def test_random_weights_guess_and_the_starter_does_not(tiny_checkpoint: Path) -> None:
    assert checks(tiny_checkpoint)["photographs"].verdict == "remark"
    assert checks(ROOT / "weights" / "starter")["photographs"].verdict == "ok"


def test_nothing_is_compared_between_guesses(tiny_checkpoint: Path) -> None:
    assert set(checks(tiny_checkpoint)) == {"photographs"}


def test_both_activations_are_compared(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behaviour, "_GUESSING_P", 1.0)  # as if a random model did not guess
    check = checks(tiny_checkpoint)["activation"]
    assert "right with GELU as configured" in check.figure
    monkeypatch.setattr(behaviour, "LARGEST_P", 1.0)
    check = checks(tiny_checkpoint)["activation"]
    assert check.verdict == "remark"
    assert check.advice.endswith('put "quick_gelu": true into the model_cfg')


def test_the_other_activation_is_that_of_the_other_config_and_goes_again() -> None:
    gelu = make_open_clip(tiny_config())
    quick = make_open_clip(tiny_config(quick_gelu=True))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    texts = torch.randint(1, 99, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = gelu.encode_image(images)
        with other_activation(gelu):
            assert torch.equal(gelu.encode_image(images), quick.encode_image(images))
            assert torch.equal(gelu.encode_text(texts), quick.encode_text(texts))
        with other_activation(quick):
            assert torch.equal(quick.encode_image(images), before)
        assert torch.equal(gelu.encode_image(images), before)
        assert not torch.equal(quick.encode_image(images), before)
