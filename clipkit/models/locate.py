"""Locating a model's files: weights, config, preprocess and tokenizer of a resolved name.

The name was resolved by :mod:`clipkit.models.sources`; :mod:`clipkit.models.hub` finds single files
in the cache or downloads them; :mod:`clipkit.models.open_clip_config` reads configs. Imports no
torch.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipkit.errors import CheckpointError
from clipkit.models.hub import (
    HUB_WEIGHT_NAMES,
    WEIGHT_NAMES,
    FileFinder,
    cached_weights,
    weight_names,
)
from clipkit.models.hub_integrity import verify_weights, verify_weights_once
from clipkit.models.known_models import (
    Tag,
    clip_vocabulary,
    is_open_clip_installed,
    published_tag,
)
from clipkit.models.open_clip_config import (
    TEXT_CONFIG_NAME,
    TEXT_MODEL_TYPES,
    complete_preprocess,
    is_text_config,
    published_config,
    read_architecture,
    read_config,
)
from clipkit.models.sources import (
    CONFIG_NAME,
    AdapterSource,
    DirectorySource,
    FileSource,
    HubSource,
    PretrainedSource,
    Source,
    resolve_source,
)
from clipkit.models.transformers_layout import MODEL_CONFIG, Family, read_transformers
from clipkit.models.transformers_layout import WEIGHTS as TRANSFORMERS_WEIGHTS
from clipkit.models.transformers_tokenizer import prepare_tokenizer, tokenizer_cleaning
from clipkit.progress import Callbacks

TOKENIZER_NAME = "tokenizer.json"
TOKENIZER_SETTINGS = (
    "tokenizer_config.json"  # with the padding token, without which SigLIP is wrong
)
SPECIAL_TOKENS = "special_tokens_map.json"
TOKENIZER_FILES = (
    TOKENIZER_NAME,
    TOKENIZER_SETTINGS,
    SPECIAL_TOKENS,
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_EPOCH = re.compile(r"epoch_(latest|[0-9]+)\.pt")  # as open_clip_train names weights


@dataclass(frozen=True)
class CheckpointFiles:
    """What towers are built from, all of it on this machine."""

    name: str
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]  # complete but for the size
    kept_dims: int | None  # None: all
    weights: Path | None  # None: a directory of compiled graphs alone
    tokenizer: Path  # directory with a tokenizer.json, or CLIP's vocabulary file
    text_config: Path | None  # directory with a Hugging Face text tower's config.json
    family: Family | None = None  # of weights in transformers' layout; None: in open_clip's
    adapter: Path | None = None  # of these weights (LoRA)


def locate(source: Source, *, cache_dir: Path | None = None) -> CheckpointFiles:
    """Return the files of a source, downloaded from the hub only if its name needs it.

    A local source uses no network; :func:`fetch_source` gets what its directory names but does not
    hold.

    Args:
        source: Where the weights come from.
        cache_dir: The hub cache to use; the usual one if None.

    Returns:
        Every file on this machine.

    Raises:
        OfflineError: If a file is not here and cannot be fetched.
        CheckpointError: If a file is missing for good, or a configuration is damaged.
        MissingExtraError: If the source needs open_clip and it is not installed.
    """
    finder = FileFinder(source.name, cache_dir, allow_network=_is_remote(source))
    files = _locate(source, finder)
    finder.finish()
    if files.weights is not None:
        verify_weights_once(files.weights, _remote_name(source))
    return files


def fetch_source(
    source: Source,
    *,
    cache_dir: Path | None = None,
    again: bool = False,
    callbacks: Callbacks | None = None,
) -> list[Path]:
    """Return every file of a source after downloading what this machine lacks of the hub's newest.

    Where the hub cannot be asked and every file is here, those are returned, and it is said.

    Args:
        source: Where the weights come from.
        cache_dir: The hub cache to fetch into; the usual one if None.
        again: Whether to download also what is here, as when it is damaged.
        callbacks: For messages and progress.

    Returns:
        The files, weights last.

    Raises:
        OfflineError: If a file is not here and the network is the reason.
        CheckpointError: If a file is missing for good, cannot be downloaded or written, or is
            damaged.
        MissingExtraError: If the source needs open_clip and it is not installed.
    """
    callbacks = callbacks or Callbacks()
    finder = FileFinder(
        source.name,
        cache_dir,
        is_fetch=True,
        again=again,
        say=callbacks.say,
        progress_for=callbacks.progress_for,
    )
    try:
        files = _locate(source, finder)
    except CheckpointError as error:
        if again or finder.is_answered or finder.failure is None:
            raise
        reason = finder.failure.reason
        finder = FileFinder(source.name, cache_dir, allow_network=False)
        try:
            files = _locate(source, finder)
        except CheckpointError:
            raise error from None
        callbacks.say(
            f"all files are here; whether the hub has newer ones could not be asked: {reason}"
        )
    finder.finish()
    if files.weights is not None:
        verify_weights(files.weights, _remote_name(source))
    small = [path for path in finder.found if path != files.weights]
    return [*small, *([files.weights] if files.weights else [])]


def fetch_model(
    name: str, *, again: bool = False, callbacks: Callbacks | None = None
) -> list[Path]:
    """Download a model, so that it loads offline from then on, as ``clipkit fetch`` does.

    What is here is not downloaded again; a download that was interrupted is resumed, also where a
    callback ended it; weights are checked against the hub's SHA-256.

    Args:
        name: As :func:`clipkit.list_models` lists it, or another name that `clipkit.load` takes.
        again: Whether to download also what is here, as when it is damaged.
        callbacks: For messages, and for progress in bytes.

    Returns:
        The files, weights last.

    Raises:
        OfflineError: If a file is not here and the network is the reason.
        CheckpointError: If there is no such model, or a file cannot be had or is damaged.
        MissingExtraError: If the model needs open_clip and it is not installed.
    """
    return fetch_source(resolve_source(name), again=again, callbacks=callbacks)


def newest_epoch(directory: Path) -> Path | None:
    """Return the newest of the weights that open_clip_train has written into a directory.

    It writes ``epoch_N.pt`` after N epochs and, where it was told to save the most recent, after
    each of them ``epoch_latest.pt``, which is thus the newest. It resumes from the same ones.

    Args:
        directory: Where they lie.

    Returns:
        ``epoch_latest.pt``, else the file of the largest N; None if there is neither.
    """
    epoch_of = {
        path: math.inf if match[1] == "latest" else int(match[1])
        for path in directory.glob("epoch_*.pt")
        if (match := _EPOCH.fullmatch(path.name)) and path.is_file()
    }
    return max(epoch_of, key=lambda path: epoch_of[path], default=None)


def _is_remote(source: Source) -> bool:
    return isinstance(source, HubSource | PretrainedSource)


def _remote_name(source: Source) -> str | None:
    """Return what ``clipkit fetch`` calls the weights of a source, if they are from a hub."""
    whole = source.base if isinstance(source, AdapterSource) else source
    return whole.name if _is_remote(whole) else None


def _locate(source: Source, finder: FileFinder) -> CheckpointFiles:
    if isinstance(source, AdapterSource):
        return replace(_locate(source.base, finder), adapter=source.path)
    if isinstance(source, DirectorySource):
        if not (source.directory / CONFIG_NAME).is_file():
            return _transformers_files(source.directory, finder, source.weights)
        config = read_config(source.directory / CONFIG_NAME)
        weights = source.weights or _weights_in(source.directory)
        return _assemble(config, finder, source.directory, lambda: weights)
    if isinstance(source, HubSource):
        path = finder.config(source.repo, source.revision)
        if path.name == MODEL_CONFIG:
            finder.fetch_transformers(path, source.repo, source.revision)
            return _transformers_files(path.parent, finder, None)
        return _assemble(
            read_config(path),
            finder,
            source,
            lambda: finder.file(source.repo, *HUB_WEIGHT_NAMES, revision=source.revision),
        )
    if isinstance(source, FileSource) and source.architecture.endswith(".json"):
        described = Path(source.architecture)
        # Its folder is that of a Hugging Face text tower only where the tower's files are in it.
        home = described.parent if (described.parent / TOKENIZER_NAME).is_file() else None
        return _assemble(read_architecture(described), finder, home, lambda: source.path)
    if isinstance(source, FileSource):
        tag = published_tag(source.architecture, source.path)
        config = published_config(source.architecture, tag)
        return _assemble(config, finder, None, lambda: source.path)
    config = published_config(source.architecture, source.entry)
    return _assemble(config, finder, None, lambda: _tag_weights(source.entry, finder))


def _transformers_files(
    directory: Path, finder: FileFinder, weights: Path | None
) -> CheckpointFiles:
    """Return the files of a checkpoint in transformers' layout."""
    described = read_transformers(directory)
    model_cfg = described.config["model_cfg"]
    cleaning = tokenizer_cleaning(directory, described.family)
    model_cfg["text_cfg"]["cleaning"] = cleaning
    prepared = prepare_tokenizer(directory, described.text_config)
    named = [directory / name for name in TRANSFORMERS_WEIGHTS]
    return CheckpointFiles(
        name=finder.model,
        model_cfg=model_cfg,
        preprocess_cfg=complete_preprocess(described.config["preprocess_cfg"]),
        kept_dims=None,
        weights=weights or next((path for path in named if path.is_file()), None),
        tokenizer=prepared,
        text_config=prepared if described.text_config is not None else None,
        family=described.family,
    )


def _assemble(
    config: dict[str, Any],
    finder: FileFinder,
    home: Path | HubSource | None,
    find_weights: Callable[[], Path | None],
) -> CheckpointFiles:
    """Find the small files first, so that what is missing is known before a long download."""
    text_cfg = config["model_cfg"]["text_cfg"]
    text_config = _text_config(text_cfg, finder, home)
    tokenizer = _tokenizer(text_cfg, finder, home)
    return CheckpointFiles(
        name=finder.model,
        model_cfg=config["model_cfg"],
        preprocess_cfg=complete_preprocess(config.get("preprocess_cfg") or {}),
        kept_dims=(config.get("clipkit_cfg") or {}).get("kept_dims"),
        weights=find_weights(),
        tokenizer=tokenizer,
        text_config=text_config,
    )


def _tag_weights(entry: Tag, finder: FileFinder) -> Path:
    path = cached_weights(entry, finder.cache_dir)
    if path is not None and finder.is_fetch and (finder.again or path.name in weight_names(entry)):
        path = None  # a file of the hub's cache, about which the hub is asked
    return path or finder.file(entry.repo, *weight_names(entry))


def _weights_in(directory: Path) -> Path | None:
    for name in WEIGHT_NAMES:
        if (directory / name).is_file():
            return directory / name
    others = [
        path for suffix in ("safetensors", "bin", "pth") for path in directory.glob(f"*.{suffix}")
    ]
    if len(others) > 1:
        raise CheckpointError(
            f"{directory} holds {len(others)} weights files and none is called {WEIGHT_NAMES[0]}: "
            "give the path of the one you mean"
        )
    return others[0] if others else newest_epoch(directory)


def _is_repo(name: str) -> bool:
    """Return whether a Hugging Face name means a repo: not a path, not "." for the directory."""
    return re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", name) is not None


def _text_config(
    text_cfg: Mapping[str, Any], finder: FileFinder, home: Path | HubSource | None
) -> Path | None:
    """Return the directory with the text tower's own config, if it is a Hugging Face one."""
    name = text_cfg.get("hf_model_name")
    if not name:
        return None
    if isinstance(home, Path) and is_text_config(home / TEXT_CONFIG_NAME):
        return home
    if Path(name).is_absolute() and is_text_config(Path(name) / TEXT_CONFIG_NAME):
        return Path(name)
    if _is_repo(name):
        path = finder.file(name, TEXT_CONFIG_NAME)
    elif isinstance(home, HubSource):
        path = finder.file(home.repo, TEXT_CONFIG_NAME, revision=home.revision)
    else:
        raise CheckpointError(
            f"{home or finder.model} holds no {TEXT_CONFIG_NAME} of a text tower, "
            f'and its hf_model_name "{name}" is not a name on the hub'
        )
    if not is_text_config(path):
        raise CheckpointError(
            f"{path} does not describe a text tower that open_clip builds; "
            f"its model_type must be one of {', '.join(TEXT_MODEL_TYPES)}"
        )
    return path.parent


def _tokenizer(
    text_cfg: Mapping[str, Any], finder: FileFinder, home: Path | HubSource | None
) -> Path:
    """Return the directory of the tokenizer's files, or CLIP's own vocabulary file."""
    name = text_cfg.get("hf_tokenizer_name")
    if home is None and name and Path(name).is_absolute():
        return Path(name)
    if isinstance(home, Path) and (name or not is_open_clip_installed()):
        return home
    if not name:
        return clip_vocabulary()
    revision = None
    if isinstance(home, HubSource) and (name == home.repo or not _is_repo(name)):
        name, revision = home.repo, home.revision
    path = finder.file(name, TOKENIZER_NAME, revision=revision)
    is_known = finder.cached(name, TOKENIZER_SETTINGS, revision)
    finder.file(name, TOKENIZER_SETTINGS, revision=revision)
    if is_known is None:  # a repo may lack this one, so it is requested once
        finder.optional_file(name, SPECIAL_TOKENS, revision=revision)
    return path.parent
