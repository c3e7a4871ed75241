"""The starter's RUN.toml: read whole, and nothing in it passed over."""

from pathlib import Path

import pytest
from recipe.packages import RecipeError
from recipe.settings import SETTINGS_FILE, read_settings


def test_the_shipped_settings_are_read_whole(starter_folder: Path) -> None:
    assert starter_folder / "RUN.toml" == SETTINGS_FILE
    settings = read_settings()
    assert settings.optimizer.lr == 1e-3
    assert settings.optimizer.schedule == "cosine"  # the trainer's default
    assert (settings.amount.batch_size, settings.amount.epochs) == (192, 4)
    assert settings.weights.conse_pull == 5.0
    assert not settings.draws.leave_out_validation


@pytest.mark.parametrize(
    ("written", "instead", "answer"),
    [
        ("lr = 1e-3", "learning_rate = 1e-3", r"\[optimizer\] has no learning_rate; its keys are"),
        ("lr = 1e-3", "lr = -1.0", r"optimizer\.lr must be"),
        ("epochs = 4", 'device = "cuda"', r"\[compute\] has no device"),
        ("epochs = 4", "", r"\[compute\] needs epochs"),
        ("concepts = 0.5", "", r"\[starter\.weights\] needs concepts"),
        ("[starter.rates]", "[starter.extra]\n[starter.rates]", r"reads no starter\.extra"),
        ("seed = 0", 'seed = 0\noutput = "here"', "reads no output"),
        ("seed = 0", "seed =", "Invalid value"),
    ],
)
def test_what_is_not_meant_is_refused(
    tmp_path: Path, written: str, instead: str, answer: str
) -> None:
    content = SETTINGS_FILE.read_text(encoding="utf-8")
    path = tmp_path / "RUN.toml"
    assert content.count(f"\n{written}") == 1
    path.write_text(content.replace(f"\n{written}", f"\n{instead}"), encoding="utf-8")
    with pytest.raises(RecipeError, match=answer):
        read_settings(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml"):
        read_settings(tmp_path / "none.toml")
