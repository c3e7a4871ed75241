"""A model card as a README.md with the header that the Hugging Face hub reads."""

import shlex
from collections.abc import Iterator

from clipkit.evaluation.card.origin import MADE_BY, ModelOrigin
from clipkit.evaluation.card.report import ModelCard, ProbeResult
from clipkit.evaluation.card.things import languages
from clipkit.markdown import table

_UNKNOWN = "Not known: no file that came with the model states it."
_LIMITS = """\
The probes are small: they show what a model can hardly do at all and what it does easily, and say
nothing of anything in between. They are drawings and 24 photographs, which a model may have been
trained on; what holds for them need not hold for your images. "Cannot" means that answers were no
better than guessing, and that the interval excludes being right more than halfway between guessing
and always. Nothing here tells of people, of bias, or of medical, legal and safety uses."""
_READING = """\
Each image was shown with prompts that differ in one thing only, all of them right equally often:
*chance* is what a model scores that does not see the difference, whatever it prefers. *Cases* are
values, such as colours, or pairs of things: several images of one are answered alike, and count as
one case in the 95 % interval. *Without the ability* is where 95 % of models lie that match prompts
and values at random. Verdicts are exact two-sided permutation tests at 5 % for the whole card
(Holm). All prompts and answers are in the JSON."""


def model_card_text(card: ModelCard) -> str:
    """Return a model card as Markdown with a YAML header.

    Args:
        card: As :func:`clipkit.make_model_card` returns it.

    Returns:
        The text of a README.md. What is not known is said to be so.
    """
    return "\n".join(
        [
            "---",
            _header(card),
            "---",
            MADE_BY,
            "",
            f"# {card.model}",
            "",
            "A dual encoder of images and text: zero-shot classification and search by words.",
            "",
            *_abilities(card),
            "## How this was measured",
            "",
            *_table(card),
            "",
            _READING,
            "",
            "To repeat it:",
            "",
            f"    clipkit card {shlex.quote(card.model)}",
            "",
            *_origin(card.origin),
            "## Limits",
            "",
            _LIMITS,
            "",
            "## The model",
            "",
            *(f"- {name}: {fact}" for name, fact in card.facts.items()),
            "",
            *_quoted(card.origin),
        ]
    )


def _header(card: ModelCard) -> str:
    from huggingface_hub import ModelCardData  # only here: it takes a quarter of a second

    origin = card.origin
    data = ModelCardData(
        language=list(origin.languages) or _measured_languages(card) or None,
        license=origin.license or "unknown",
        library_name="open_clip",
        pipeline_tag="zero-shot-image-classification",
        tags=["clip", "clipkit"],
        base_model=list(origin.base_models) or None,
        datasets=list(origin.datasets) or None,
    )
    return str(data.to_yaml())


def _measured_languages(card: ModelCard) -> list[str]:
    """Return the codes of languages in which the model names things better than by guessing."""
    codes = {"objects": "en"}
    codes |= {f"names in {language}": code for code, language in languages().items()}
    return [
        codes[probe.name]
        for probe in card.probes
        if probe.name in codes and probe.verdict == "better"
    ]


def _abilities(card: ModelCard) -> Iterator[str]:
    wanted = {
        "What it can do": [probe for probe in card.probes if probe.verdict == "better"],
        "What it does no better than by guessing": [
            probe for probe in card.probes if probe.verdict != "better"
        ],
    }
    for heading, probes in wanted.items():
        if probes:
            yield from (f"## {heading}", "")
            yield from (f"- {probe.sentence}" for probe in probes)
            yield ""


def _table(card: ModelCard) -> list[str]:
    header = ["probe", "verdict", "right", "95 % interval", "chance", "without the ability"]
    return table([*header, "images", "cases"], map(_row, card.probes), num_text=2)


def _row(probe: ProbeResult) -> list[str]:
    found = probe.accuracy
    return [
        probe.name,
        probe.verdict,
        f"{found.mean:.0%}",
        f"{found.low:.0%} to {found.high:.0%}",
        f"{probe.chance:.0%}",
        f"{probe.chance_low:.0%} to {probe.chance_high:.0%}",
        str(probe.num_images),
        str(found.count),
    ]


def _origin(origin: ModelOrigin) -> Iterator[str]:
    yield from ("## Licence", "")
    quoted = f" {origin.own_card} is quoted below." if origin.sections else ""
    if origin.license:
        yield f"{origin.license}, as {origin.license_source} says.{quoted}"
    else:
        yield f"{_UNKNOWN if not quoted else 'Not stated in the header of its card.'}{quoted}"
    yield from ("", "## Data and origin", "")
    if origin.address:
        yield f"- published at {origin.address}"
    yield from (f"- made from {name}" for name in origin.base_models)
    yield from (f"- trained on {name}" for name in origin.datasets)
    if not origin.datasets:
        yield f"Training data: {_UNKNOWN.lower() if not quoted else 'not in the header.'}{quoted}"
    yield ""


def _quoted(origin: ModelOrigin) -> Iterator[str]:
    if origin.sections:
        yield from (f"## From its own card, {origin.own_card}", "")
    for heading, text in origin.sections.items():
        yield from (f"### {heading}", "")
        yield from (f"> {line}".rstrip() for line in text.splitlines())
        yield ""
