"""Names of models and data as they may be published: without the folders of this machine."""

import re
from pathlib import Path

FINAL_NAME = "final"  # what each training run calls its model


def public_name(name: str) -> str:
    """Return the name of a model or a dataset; of a path on this machine its last part.

    Args:
        name: As a person or :func:`clipkit.models.sources.resolve_source` writes it; shards may be
            a command.

    Returns:
        The name. A training run's model keeps the name of the run.

    Example:
        >>> public_name("ViT-B-32=/home/ann/models/birds.pt"), public_name("/data/run7/final")
        ('ViT-B-32=birds.pt', 'run7/final')
    """
    # A local model may be DIRECTORY, local-dir:DIRECTORY or ARCHITECTURE=FILE; shards, a command.
    kind, text = re.findall(r"^(local-dir:|(?!pipe:)[^/\\=]+=|)(.*)", name, re.DOTALL)[0]
    path = Path(text)
    if not path.is_absolute() and not text.startswith(("pipe:", "file:")):
        return name
    run = f"{path.parent.name}/" if path.name == FINAL_NAME else ""
    return f"{kind}{run}{path.name}"
