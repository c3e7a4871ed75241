"""The card as a README.md: the header of the hub, and what was measured."""

import dataclasses
import json

import pytest
from huggingface_hub import ModelCard as HubCard

import clipkit
from clipkit.evaluation.card.origin import MADE_BY

ORIGIN = clipkit.ModelOrigin(
    address="https://huggingface.co/ann/birds",
    license="mit",
    license_source="the header of its README.md",
    base_models=("laion/CLIP-ViT-B-32",),
    datasets=("stamps",),
    own_card="README.md",
    sections={"Bias": "Gulls.\n\n| a | b |"},
)


def result(name: str, verdict: str, sentence: str) -> clipkit.ProbeResult:
    answers = (clipkit.ProbeAnswer("a cat", 0, 0, 0), clipkit.ProbeAnswer("a dog", 0, 1, 0))
    return clipkit.ProbeResult(
        name,
        "do it",
        num_images=2,
        accuracy=clipkit.Interval(0.5, 0.25, 0.75, 1),
        chance=0.125,
        chance_low=0.0,
        chance_high=0.375,
        p_value=0.04,
        corrected_p=0.08,
        verdict=verdict,  # type: ignore[arg-type]
        sentence=sentence,
        prompts=(("cat", "dog"),),
        answers=answers,
    )


def card(origin: clipkit.ModelOrigin = ORIGIN) -> clipkit.ModelCard:
    probes = (
        result("objects", "better", "can name things"),
        result("names in German", "at chance", "cannot name things in German"),
        result("negation", "worse", "takes no for yes"),
    )
    return clipkit.ModelCard("birds", "5fd1", {"texts": "77 tokens"}, origin, probes)


def test_the_header_is_one_that_the_hub_reads() -> None:
    text = clipkit.model_card_text(card())
    found = HubCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    assert found == {
        "language": ["en"],
        "license": "mit",
        "library_name": "open_clip",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["clip", "clipkit"],
        "base_model": ["laion/CLIP-ViT-B-32"],
        "datasets": ["stamps"],
    }
    assert MADE_BY in text


def test_it_says_what_was_measured_and_where_the_rest_is_from() -> None:
    text = clipkit.model_card_text(card())
    can, cannot = (
        text.index("## What it can do"),
        text.index("## What it does no better than by guessing"),
    )
    assert can < text.index("- can name things") < cannot < text.index("- takes no for yes")
    row = "| objects | better | 50% | 25% to 75% | 12% | 0% to 38% | 2 | 1 |"
    assert row in text.splitlines()
    assert "mit, as the header of its README.md says." in text
    assert "- trained on stamps" in text
    assert "### Bias\n\n> Gulls.\n>\n> | a | b |" in text
    assert "    clipkit card birds" in text


def test_what_is_not_known_is_said_to_be_not_known() -> None:
    text = clipkit.model_card_text(card(clipkit.ModelOrigin()))
    assert HubCard(text).data.get("license") == "unknown"
    assert text.count("ot known: no file that came with the model states it.") == 2
    assert "huggingface.co" not in text and "From its own card" not in text


def test_json_has_every_prompt_and_every_answer() -> None:
    found = json.loads(json.dumps(card().to_dict()))
    assert found["probes"][0]["prompts"] == [["cat", "dog"]]
    assert found["probes"][0]["answers"][1] == {
        "shows": "a dog",
        "prompts": 0,
        "right": 1,
        "chosen": 0,
    }
    assert found["origin"]["license"] == "mit"
    assert found["probes"][0]["accuracy"] == pytest.approx(
        {"mean": 0.5, "low": 0.25, "high": 0.75, "count": 1}
    )


def test_the_command_that_repeats_it_can_be_pasted() -> None:
    text = clipkit.model_card_text(dataclasses.replace(card(), model="my model"))
    assert "\n    clipkit card 'my model'\n" in text
