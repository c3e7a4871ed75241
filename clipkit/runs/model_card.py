"""A draft of the model card: what was trained on what, by which command, with which results."""

import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clipkit.markdown import table
from clipkit.runs.report import FINAL_NAME
from clipkit.training.config import RunConfig, SourceConfig

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
    base = _shown(model.base) or f"random weights of {_shown(model.architecture)}"
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
        "    clipkit train run.toml",
        "",
        *(f"- {fact}: {value}" for fact, value in facts.items()),
        "- all settings: run.toml; all measurements: metrics.jsonl, curves.png",
        "",
        "## Versions",
        "",
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}; "
        + ", ".join(_versions()),
        "",
    ]
    return "\n".join(lines)


def _dataset_line(source: SourceConfig, purpose: str) -> str:
    weight = "" if source.weight == 1 else f", drawn {source.weight:g} times an epoch"
    return f"- {purpose} `{_shown(source.path)}`{weight}"


def _shown(name: str) -> str:
    """Return the name of a model or a dataset; of a path on this machine its last part."""
    # A local model may be DIRECTORY, local-dir:DIRECTORY or ARCHITECTURE=FILE; shards, a command.
    kind, text = re.findall(r"^(local-dir:|(?!pipe:)[^/\\=]+=|)(.*)", name, re.DOTALL)[0]
    path = Path(text)
    if not path.is_absolute() and not text.startswith(("pipe:", "file:")):
        return name
    run = f"{path.parent.name}/" if path.name == FINAL_NAME else ""  # each run's model is "final"
    return f"{kind}{run}{path.name}"


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


def _versions() -> list[str]:
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
