"""Contrastive training of the two towers: losses, steps, data loading, resuming."""

from importlib.util import find_spec

from clipkit.errors import MissingExtraError

if find_spec("pydantic") is None:
    raise MissingExtraError("torch", "Training")  # which checks its settings by pydantic
