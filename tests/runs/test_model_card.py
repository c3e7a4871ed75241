"""The draft of a model card: what is known, and TODO where only a person knows."""

import re
from importlib.metadata import version

import torch
from huggingface_hub import ModelCard

from clipkit.runs.model_card import draft_card
from clipkit.training.config import RunConfig
from clipkit.training.data_config import DataConfig, SourceConfig
from clipkit.training.model_config import ModelConfig

CONFIG = RunConfig(
    "runs/stamps",
    ModelConfig(base="starter"),
    DataConfig(
        train=(SourceConfig("stamps"), SourceConfig("emoji", weight=0.5)),
        validation=(SourceConfig("held-out"),),
    ),
)


def card(config: RunConfig = CONFIG, **options: object) -> str:
    words = {
        "name": "stamps",
        "num_pairs": {"training": 12345, "validation": 67},
        "results": [("start", {"accuracy": 0.25}), ("final", {"accuracy": 0.5, "loss": 1.25})],
        "facts": {"steps": "40 of 50", "hours": "1.50"},
    }
    return draft_card(config, **{**words, **options})  # type: ignore[arg-type]


def test_a_card_says_what_was_trained_on_what_by_which_command() -> None:
    text = card()
    for line in (
        "# stamps",
        "A dual encoder for images and text, trained with clipkit from starter.",
        "- trained on `stamps`",
        "- trained on `emoji`, drawn 0.5 times an epoch",
        "- validated on `held-out`",
        "- 12,345 pairs for training",
        "- 67 pairs for validation",
        "    clipkit train run.toml",
        "- steps: 40 of 50",
        "- hours: 1.50",
    ):
        assert line in text.splitlines()
    assert f"clipkit {version('clipkit')}" in text
    assert f"torch {torch.__version__.split('+')[0]}" in text


def test_results_are_a_table_with_a_gap_where_nothing_was_measured() -> None:
    rows = [line for line in card().splitlines() if line.startswith("|")]
    assert rows == [
        "| weights | accuracy | loss |",
        "|---|--:|--:|",
        "| start | 0.2500 |  |",
        "| final | 0.5000 | 1.2500 |",
    ]


def test_without_results_it_says_so() -> None:
    assert "Nothing was measured: the run had no validation pairs." in card(results=[])


def test_a_run_from_scratch_names_its_architecture() -> None:
    config = RunConfig("run", ModelConfig(architecture="ViT-B-32"), CONFIG.data)
    assert "trained with clipkit from random weights of ViT-B-32." in card(config)


def test_what_only_a_person_knows_is_marked() -> None:
    assert len(re.findall("^TODO: ", card(), re.MULTILINE)) == 3


def test_the_header_is_what_model_hubs_read() -> None:
    header = ModelCard(card()).data
    assert vars(header) == vars(header) | {
        "library_name": "open_clip",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["clip", "clipkit"],
        "license": "other",
    }


def test_a_name_is_taken_as_it_is() -> None:
    assert "# a|b" in card(name="a|b").splitlines()


def test_of_paths_a_card_has_the_last_part() -> None:
    """A path tells a reader nothing, and may name a person or a project."""
    shards = "pipe:cat --key=/home/ann/secret/key /home/ann/secret/{000..099}.tar"
    train = ("/home/ann/secret/stamps", shards, "https://example.org/0.tar", "file:/home/ann/1.tar")
    config = RunConfig(
        "/home/ann/runs/stamps",
        ModelConfig(base="local-dir:/home/ann/runs/emoji/final"),
        DataConfig(train=tuple(map(SourceConfig, train)), validation=(SourceConfig("/home/b"),)),
    )

    lines = card(config).splitlines()

    assert not [line for line in lines if "/home" in line or "secret" in line]
    for line in (
        "A dual encoder for images and text, trained with clipkit from local-dir:emoji/final.",
        "- trained on `stamps`",
        "- trained on `{000..099}.tar`",
        "- trained on `https://example.org/0.tar`",
        "- trained on `1.tar`",
        "- validated on `b`",
    ):
        assert line in lines


def test_a_card_of_a_file_of_weights_or_an_architecture_has_its_name() -> None:
    data = DataConfig(train=(SourceConfig("stamps"),))
    for model, shown in (
        (ModelConfig(base="ViT-B-32=/home/ann/a.pt"), "from ViT-B-32=a.pt."),
        (ModelConfig(base="hf-hub:org/name"), "from hf-hub:org/name."),
        (ModelConfig(architecture="/home/ann/tiny.json"), "from random weights of tiny.json."),
    ):
        assert shown in card(RunConfig("out", model, data))
