"""A draft of the model card: what was trained on what, by which command, with which results."""

from collections.abc import Mapping, Sequence
from typing import Any

from clipkit.markdown import table
from clipkit.models.public_name import public_name
from clipkit.training.config import RunConfig
from clipkit.training.data_config import SourceConfig
from clipkit.version import environment

_PACKAGES = ("clipkit", "torch", "open_clip_torch", "timm", "transformers", "numpy", "pillow")


def draft_card(
    config: RunConfig,
    *,
    name: str,
    num_pairs: Mapping[str, int],
    results: Sequence[tuple[str, Mapping[str, float]]],
    facts: Mapping[str, Any],
) -> str:
    """Return a model card as Markdown, with marks where only a person can fill something in.

    Args:
        config: The run.
        name: Of the model.
        num_pairs: How many pairs there were, by what they were for.
        results: What was measured, by the state of the weights, as in "trained".
        facts: Other things worth knowing, by name: steps, hours, the share of the trained weights.

    Returns:
        The text of a README.md, with the header that model hubs read. Of paths on this machine it
        has the last part only.
    """
    model = config.model
    base = public_name(model.base) or f"random weights of {public_name(model.architecture)}"
    lines = [
        "---",
        "library_name: open_clip",
        "pipeline_tag: zero-shot-image-classification",
        "tags: [clip, clipkit]",
        "license: other # TODO: yours, as far as the base model and the data allow it",
        "---",
        "",
        f"# {name}",
        "",
        f"A dual encoder for images and text, trained with clipkit from {base}.",
        "",
        "TODO: what it is for, and what it must not be used for.",
        "",
        "## Data",
        "",
        *(_dataset_line(source, "trained on") for source in config.data.train),
        *([] if config.data.train else ["- trained on a dataset that was given from Python"]),
        *(_dataset_line(source, "validated on") for source in config.data.validation),
        *(f"- {count:,} pairs for {purpose}" for purpose, count in num_pairs.items()),
        "",
        "TODO: where the images and texts come from, their licences, who is in them.",
        "",
        "## Results",
        "",
        *_table(results),
        "",
        "TODO: what it gets wrong. Measured on the pairs above and nothing else.",
        "",
        "## Training",
        "",
        "    clipkit train run.toml"
        if config.data.train
        else '    clipkit.train(clipkit.RunConfig.from_toml("run.toml"), dataset=…)',
        "",
        *(f"- {fact}: {value}" for fact, value in facts.items()),
        "- all settings: run.toml; all measurements: metrics.jsonl, curves.png",
        "",
        "## Versions",
        "",
        environment(_PACKAGES),
        "",
    ]
    return "\n".join(lines)


def _dataset_line(source: SourceConfig, purpose: str) -> str:
    weight = "" if source.weight == 1 else f", drawn {source.weight:g} times an epoch"
    return f"- {purpose} `{public_name(source.path)}`{weight}"


def _table(results: Sequence[tuple[str, Mapping[str, float]]]) -> list[str]:
    if not results:
        return ["Nothing was measured: the run had no validation pairs."]
    names = list(dict.fromkeys(name for _, metrics in results for name in metrics))
    header = ["weights", *names]
    rows = [
        [state, *(f"{metrics[name]:.4f}" if name in metrics else "" for name in names)]
        for state, metrics in results
    ]
    return table(header, rows)
