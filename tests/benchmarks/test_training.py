"""What the comparison of trainers tells both, and what it reads back. Nothing is trained here."""

import dataclasses
import importlib
import random
from pathlib import Path
from typing import Any

import pytest

from clipkit.training.config import RunConfig

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# A line of open_clip_train 3.3.0.
LINE = (
    "2026-01-02,03:04:05 | INFO | Train Epoch: 0 [ 512/1536 (33%)] Data (t): 0.009 "
    "Batch (t): {seconds}, 51.9971/s, 51.9971/s/gpu LR: 0.001000 Logit Scale: 14.271 "
    "Contrastive_loss: 1.2345 (5.7455) Loss: {loss} (5.7455)"
)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # its files import each other as scripts do
    return importlib.import_module


@pytest.fixture
def table(tmp_path: Path, benchmark: Any) -> Path:
    path = tmp_path / "pairs.tsv"
    rows = [(Path(f"/images/{number}.png"), f"caption {number}") for number in range(25)]
    path.write_text(benchmark("emoji_pairs").as_table(rows))
    return path


def test_a_table_reads_back_as_it_was_written(benchmark: Any, tmp_path: Path) -> None:
    emoji_pairs = benchmark("emoji_pairs")
    rows = [(Path("/a b/1.png"), "crème brûlée"), (Path("/a b/1.png"), "crown, queen")]
    path = tmp_path / "table.tsv"
    path.write_text(emoji_pairs.as_table(rows), encoding="utf-8")
    assert path.read_text(encoding="utf-8").splitlines()[0] == "filepath\ttitle"
    assert emoji_pairs.read_table(path) == rows


@pytest.mark.parametrize("caption", ["two\tcolumns", "two\nlines", 'a "quoted" word'])
def test_a_caption_that_breaks_a_table_is_refused(benchmark: Any, caption: str) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        benchmark("emoji_pairs").as_table([(Path("a.png"), caption)])


def test_captions_that_differ_in_punctuation_alone_are_one(benchmark: Any) -> None:
    names = ["Christmas tree", "christmas_tree", "fir"]
    keywords = ["FIR", "celebration", "xmas", "december", "santa", "winter"]
    assert benchmark("emoji_pairs").captions_of(names, keywords) == [
        "Christmas tree",
        "fir",
        "celebration, xmas, december, santa",
    ]
    assert benchmark("emoji_pairs").captions_of(["key"], ["key", "Key"]) == ["key"]


def test_the_trainers_log_gives_the_whole_loss_of_every_step(benchmark: Any) -> None:
    lines = [
        LINE.format(seconds="0.512", loss="5.5"),
        "another | line",
        LINE.format(seconds="1.500", loss="0.25"),
    ]
    steps = benchmark("open_clip_train_peer").read_log("\n".join(lines))
    assert steps.seconds == [0.512, 1.5]
    assert steps.losses == [5.5, 0.25]


def test_the_batch_of_the_gradient_repeats_no_image_and_no_caption(benchmark: Any) -> None:
    draw = random.Random(1)
    rows = [(Path(f"{draw.randrange(12)}.png"), f"{draw.randrange(12)}") for _ in range(200)]
    chosen = benchmark("open_clip_train_peer").different_pairs(rows, 8)
    assert len(chosen) == 8
    assert set(chosen) <= set(rows)
    assert len({path for path, _ in chosen}) == len({caption for _, caption in chosen}) == 8


def test_both_trainers_are_told_the_same(benchmark: Any, table: Path, tmp_path: Path) -> None:
    trainers = benchmark("trainers")
    recipe = trainers.Recipe(
        str(table),
        epochs=5,
        precision="bf16",
        batch_size=6,
        lr=2e-3,
        beta1=0.8,
        beta2=0.95,
        eps=1e-7,
        weight_decay=0.3,
        clip_norm=0.5,
        warmup_fraction=0.21,
        workers=2,
        seed=7,
    )
    run_file, config = tmp_path / "run.toml", tmp_path / "model.json"
    config.write_text("{}")
    run_file.write_text(trainers.run_toml(recipe, config, tmp_path / "out"))
    run = RunConfig.from_toml(run_file)
    told = {
        **dataclasses.asdict(run.optimizer),
        **dataclasses.asdict(run.compute),
        "workers": run.data.workers,
        "seed": run.seed,
        "table": run.data.train[0].path,
    }
    assert {key: told[key] for key in dataclasses.asdict(recipe)} == dataclasses.asdict(recipe)
    assert run.model.architecture == str(config)
    assert run.output == str(tmp_path / "out")
    assert run.watch.log_steps == 1
    assert trainers.peer_options(recipe) == {
        "precision": "amp_bf16",
        "batch-size": 6,
        "epochs": 5,
        "lr": 2e-3,
        "beta1": 0.8,
        "beta2": 0.95,
        "eps": 1e-7,
        "wd": 0.3,
        "grad-clip-norm": 0.5,
        "warmup": 5,  # 4.2 of 5 epochs of 4 whole batches
        "workers": 2,
        "seed": 7,
    }


def test_guessing_finds_k_of_all(benchmark: Any) -> None:
    recalls = {"image_to_text_recall@1": 0.5, "text_to_image_recall@10": 0.9}
    assert benchmark("training").chance(recalls, 40) == {
        "image_to_text_recall@1": 0.025,
        "text_to_image_recall@10": 0.25,
    }


def test_recall_is_held_against_the_peer_and_against_chance(benchmark: Any) -> None:
    training = benchmark("training")
    ways = [f"{way}_recall@{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)]

    def found(recall: float) -> dict[str, dict[str, float]]:
        return {
            name: dict.fromkeys(ways, value)
            for one in training.SETS
            for name, value in ((one, recall), (f"{one}, by chance", 0.01))
        }

    figures = {
        figure.what: figure
        for figure in training.recall_figures(
            {training.CLIPKIT: found(0.3), training.PEER: found(0.2)}
        )
    }
    beside_peer = figures["held-out vendor: mean recall beside open_clip_train's"]
    assert beside_peer.median == pytest.approx(1.5)
    assert beside_peer.at_least == 1
    for name in training.SETS:
        beside_chance = figures[f"held-out vendor, {name}: mean recall beside chance"]
        assert beside_chance.median == pytest.approx(30)
        assert beside_chance.at_least == training.ABOVE_CHANCE[name]
    shown = figures["held-out vendor, all: text to image recall@5, open_clip_train"]
    assert shown.median == pytest.approx(20)


def test_speed_is_the_peers_step_over_ours(benchmark: Any) -> None:
    training = benchmark("training")

    def run(*seconds: float) -> Any:
        return training.Run("model", 9.0, list(seconds), [])

    timed = {
        "fp32": {
            training.CLIPKIT: [run(9.0, 1.0, 1.0), run(2.0)],
            training.PEER: [run(3.0), run(3.0)],
        }
    }
    speed, *_ = training.speed_figures(timed)
    assert speed.values == [3.0, 1.5]
    assert speed.at_least == 1.3
