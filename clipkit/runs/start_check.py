"""What a run refuses before its first step, and what it says and warns of."""

from contextlib import suppress

from clipkit.data.pair import PairDataset, list_some
from clipkit.errors import ImageReadError
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.models.towers import Towers
from clipkit.progress import Callbacks
from clipkit.runs.data import RunData
from clipkit.runs.data_warnings import data_warnings
from clipkit.runs.settings_check import check_settings, settings_warnings
from clipkit.training.config import RunConfig


def check_start(
    config: RunConfig,
    data: RunData,
    towers: Towers,
    tokenizer: Tokenizer,
    *,
    callbacks: Callbacks | None,
) -> None:
    """Raise if a run cannot learn anything; say what it trains on, and warn.

    Args:
        config: The run, resolved.
        data: Its pairs.
        towers: The base model, nothing of it frozen yet.
        tokenizer: Of the towers.
        callbacks: Told of the data and of what is odd; None: nobody is, as on all ranks but one,
            and no file is read for it.

    Raises:
        InputError: If it cannot.
    """
    check_settings(
        config,
        num_pairs=data.num_drawn,
        embed_dim=towers.embed_dim,
        num_captions=1 if _has_one_caption(data.train, tokenizer) else None,
        num_classes=len(data.train.class_names),
    )
    if callbacks is None:
        return
    for source, dataset in zip(config.data.train, data.train.datasets, strict=True):
        classes = f" of {len(dataset.class_names)} classes" if dataset.class_names else ""
        callbacks.say(f"{source.path}: {len(dataset):,} pairs{classes} to train on")
    warnings = settings_warnings(
        config,
        num_pairs=data.num_drawn,
        num_parameters=sum(item.numel() for item in towers.parameters()),
        logit_bias=towers.logit_bias,
    )
    for line in warnings + data_warnings(config, data):
        callbacks.warn(line)
    if data.skipped:
        callbacks.say(f"{len(data.skipped)} pairs are left out: {list_some(data.skipped)}")


def _has_one_caption(source: PairDataset, tokenizer: Tokenizer) -> bool:
    """Return whether all captions are the same to the model; mostly the second pair shows it."""
    known: set[str] = set()
    token_ids: set[bytes] = set()
    for row in range(len(source)):
        with suppress(ImageReadError):  # reported when a step reads it
            new = set(source[row].captions) - known
            known |= new
            token_ids.update(ids.tobytes() for ids in tokenizer.tokenize_quietly(new).token_ids)
        if len(token_ids) > 1:
            return False
    return True
