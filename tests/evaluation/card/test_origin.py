"""What is known of a model's origin is what its files state, and no more."""

from pathlib import Path

import pytest

from clipkit.evaluation.card.origin import MADE_BY, ModelOrigin, read_origin
from clipkit.models.sources import DirectorySource, HubSource, resolve_source

CARD = """\
---
license: mit
base_model: laion/CLIP-ViT-B-32
datasets: [stamps, emoji]
language: en
---
# Birds

Words.

## Training Data

Stamps.

```
# Limits of a shell script
```

### Where from

The attic.

## Evaluation

Good.

# Bias and risks

Gulls.
"""


def of_directory(directory: Path) -> ModelOrigin:
    return read_origin(DirectorySource("birds", directory))


def test_a_card_beside_the_weights_is_read_and_quoted(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    found = of_directory(tmp_path)
    assert (found.license, found.license_source) == ("mit", "the header of its README.md")
    assert found.base_models == ("laion/CLIP-ViT-B-32",)
    assert (found.datasets, found.languages) == (("stamps", "emoji"), ("en",))
    quoted = "Stamps.\n\n```\n# Limits of a shell script\n```\n\n### Where from\n\nThe attic."
    assert found.sections == {"Training Data": quoted, "Bias and risks": "Gulls."}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no header\n",
        "---\n: [\n---\n# Broken header\n",
        "---\nlicense: unknown\n---\n",
        "---\nlicense: [\n",
        "---\n- a list\n---\n",
        "\udcff\ufeff---",
    ],
)
def test_what_no_file_states_is_not_known(tmp_path: Path, text: str) -> None:
    assert of_directory(tmp_path) == ModelOrigin()
    (tmp_path / "README.md").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert of_directory(tmp_path) == ModelOrigin(own_card="README.md")


def test_a_card_of_this_command_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\nlicense: mit\n---\n{MADE_BY}\n## Limits\n\nNone.\n")
    assert of_directory(tmp_path) == ModelOrigin()
    (tmp_path / "CARD.md").write_text("## Licence\n\nAsk Ann.\n")
    assert of_directory(tmp_path).sections == {"Licence": "Ask Ann."}


def test_the_starter_has_no_licence_of_one_name_and_says_what_it_is_made_of() -> None:
    found = read_origin(resolve_source("starter"))
    assert (found.license, found.own_card) == ("", "CARD.md")
    assert "What it cannot do" in found.sections
    assert "Apache-2.0" in found.sections["What it is made of"]


def test_published_weights_have_an_address_and_the_licence_that_is_listed(tmp_path: Path) -> None:
    found = read_origin(resolve_source("ViT-B-32/laion2b_s34b_b79k"), cache_dir=tmp_path)
    assert found.address == "https://huggingface.co/laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    assert found.own_card == "" and found.datasets == ()


def test_a_card_in_the_hub_cache_is_read(tmp_path: Path) -> None:
    repository = tmp_path / "models--ann--birds"
    (repository / "snapshots" / "c0ffee").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c0ffee")
    (repository / "snapshots" / "c0ffee" / "README.md").write_text(CARD)
    found = read_origin(HubSource("hf-hub:ann/birds", "ann/birds"), cache_dir=tmp_path)
    assert (found.address, found.license) == ("https://huggingface.co/ann/birds", "mit")
    other = read_origin(HubSource("hf-hub:ann/cats", "ann/cats"), cache_dir=tmp_path)
    assert other == ModelOrigin(address="https://huggingface.co/ann/cats")
