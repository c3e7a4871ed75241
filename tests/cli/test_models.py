import json
from collections.abc import Callable

from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


def test_the_starter_is_listed_as_here(run: Run) -> None:
    outcome = run("models", "starter", "--json")
    (entry,) = [json.loads(line) for line in outcome.out.splitlines()]
    assert entry["name"] == "starter"
    assert entry["path"]
    assert entry["image_size"] in (224, 260)
    assert 28e6 < entry["parameters"] < 36e6


def test_published_figures_are_listed(run: Run) -> None:
    outcome = run("models", "vit-b-32/", "laion2b_s34b", "--json")
    (entry,) = [json.loads(line) for line in outcome.out.splitlines()]
    assert entry["name"] == "ViT-B-32/laion2b_s34b_b79k"
    assert entry["imagenet_top1"] == 0.6656  # open_clip's docs/openclip_results.csv
    assert entry["image_size"] == 224
    assert round(entry["parameters"] / 1e6) == 151


def test_a_table_for_people(run: Run) -> None:
    lines = run("models", "ViT-B-32/").out.splitlines()
    assert lines[0].split() == ["name", "million", "parameters", "pixels", "ImageNet", "here"]
    assert any("ViT-B-32/openai" in line and "63.3%" in line for line in lines)


def test_here_lists_only_what_is_here(run: Run) -> None:
    outcome = run("models", "--here", "--json")
    assert all(json.loads(line)["path"] for line in outcome.out.splitlines())


def test_no_fitting_model_is_status_1(run: Run) -> None:
    outcome = run("models", "no-such-model")
    assert (outcome.status, outcome.out) == (1, "")
    assert "no model fits" in outcome.err


def test_fetching_without_a_network_is_one_sentence(run: Run) -> None:
    outcome = run("fetch", "ViT-B-32/laion2b_s34b_b79k")
    assert outcome.status == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert "ViT-B-32/laion2b_s34b_b79k" in outcome.err


def test_fetching_what_is_here_prints_where_it_lies(run: Run) -> None:
    outcome = run("fetch", "starter")
    assert outcome.status == 0
    assert outcome.out.splitlines()[-1].endswith("open_clip_model.safetensors")


def test_fetching_an_unknown_model_names_near_ones(run: Run) -> None:
    outcome = run("fetch", "ViT-B-23/openai")
    assert outcome.status == 2
    assert "ViT-B-32" in outcome.err
