"""Checks of a model's settings against those of published models.

Source: open_clip's table of published weights and the model configs that it ships.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from clipkit.doctor.health import HealthCheck
from clipkit.errors import CheckpointError
from clipkit.inputs.text_cleaning import cleaning_rule
from clipkit.models.activation import image_activation, text_activation
from clipkit.models.known_models import (
    Tag,
    architecture_config,
    is_open_clip_installed,
    known_architectures,
)
from clipkit.models.locate import CheckpointFiles
from clipkit.models.open_clip_config import complete_preprocess, published_config
from clipkit.models.published_names import find_published
from clipkit.models.sources import DirectorySource, HubSource, Source

Settings = Mapping[str, Any]

_NAME = "published settings"
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")
# What two models of one structure may differ in: none of these changes the shape of a weight.
_FREE = ("act_kwargs", "context_length", "tokenizer_kwargs", "hf_tokenizer_name", "cleaning")
_FREE_OF_MODEL = ("quick_gelu", "custom_text", "init_logit_scale", "init_logit_bias")


def check_published(source: Source, files: CheckpointFiles) -> Iterator[HealthCheck]:
    """Yield how a model's settings compare with those that published models have.

    Args:
        source: Where it comes from.
        files: Its configs.

    Yields:
        A problem where the name says which published weights these are and a setting is another;
        a remark where no published model of the same structure has a setting.
    """
    repository = _repository(source)
    published = None if repository is None else _published(repository)
    if published is not None:
        architecture, tag, entry = published
        if is_open_clip_installed():
            yield _compared_with(f"{architecture}/{tag}", files, _known(architecture, entry))
        return
    if not is_open_clip_installed():
        return
    alike = [
        (f"{name}/{tag}", _known(name, entry))
        for name, tag, entry in _of_structure(files.model_cfg)
    ]
    if alike:
        yield from _among(alike, files)


def settings_of(model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any]) -> Settings:
    """Return the settings that no weight shows.

    Args:
        model_cfg: An open_clip model config.
        preprocess_cfg: Its preprocess, complete.

    Returns:
        By name: activations, mean, std, interpolation, resize mode, context length, cleaning.
    """
    text_cfg = model_cfg["text_cfg"]
    settings = {
        "image activation": image_activation(model_cfg),
        **{name.replace("_", " "): _rounded(preprocess_cfg[name]) for name in _PREPROCESS},
        "context length": int(text_cfg.get("context_length") or 77),
        "cleaning": cleaning_rule(text_cfg),
    }
    if not text_cfg.get("hf_model_name"):
        settings["text activation"] = text_activation(model_cfg, None)
    return settings


def is_published(source: Source) -> bool:
    """Return whether a name says which published weights a model has."""
    repository = _repository(source)
    return repository is not None and _published(repository) is not None


def _repository(source: Source) -> str | None:
    """Return the repository on the hub that a model lies in, as far as its name or path says."""
    if isinstance(source, HubSource):
        return source.repo
    if isinstance(source, DirectorySource) and source.directory.parent.name == "snapshots":
        folder = source.directory.parent.parent.name
        return folder.removeprefix("models--").replace("--", "/")
    return None


def _published(repository: str) -> tuple[str, str, Tag] | None:
    try:
        return find_published(repository)
    except CheckpointError:
        return None  # the name is no single model's


def _known(architecture: str, entry: Tag) -> Settings:
    config = published_config(architecture, entry)
    return settings_of(config["model_cfg"], complete_preprocess(config["preprocess_cfg"]))


def _compared_with(name: str, files: CheckpointFiles, known: Settings) -> HealthCheck:
    own = settings_of(files.model_cfg, files.preprocess_cfg)
    wrong = [
        f"{key} is {_shown(own[key])} and not {_shown(known[key])}"
        for key in own
        if key in known and own[key] != known[key] and not _is_unsaid(files, key)
    ]
    if not wrong:
        return HealthCheck(_NAME, files.name, f"those of {name}")
    return HealthCheck(
        _NAME,
        files.name,
        f"these are the weights of {name}, and {'; '.join(wrong)}",
        "problem",
        f'load them by name, "{name}", or mend the config',
    )


def _is_unsaid(files: CheckpointFiles, key: str) -> bool:
    """Return whether a setting is spelt in another way in transformers' layout."""
    return files.family is not None and key in ("cleaning", "image activation", "text activation")


def _among(alike: list[tuple[str, Settings]], files: CheckpointFiles) -> Iterator[HealthCheck]:
    own = settings_of(files.model_cfg, files.preprocess_cfg)
    unheard = []
    for key, value in own.items():
        known = list(
            dict.fromkeys(_shown(settings[key]) for _, settings in alike if key in settings)
        )
        if known and _shown(value) not in known:
            unheard.append(f"{key} is {_shown(value)}, and theirs {' or '.join(known)}")
    models = f"{len(alike)} published models of this structure, such as {alike[0][0]}"
    if unheard:
        yield HealthCheck(
            _NAME,
            files.name,
            f"none of {models}, has these settings: {'; '.join(unheard)}",
            "remark",
            "right only if this model was trained so",
        )
    else:
        yield HealthCheck(_NAME, files.name, f"each is among those of {models}")


def _of_structure(model_cfg: Mapping[str, Any]) -> Iterator[tuple[str, str, Tag]]:
    """Yield the published weights whose tensors have the shapes that a config describes."""
    wanted = _structure(model_cfg)
    for name, architecture in known_architectures().items():
        if not architecture.tags:
            continue
        try:
            config = architecture_config(name)
        except OSError:  # another open_clip than the table's
            continue
        if _structure(config) == wanted:
            for tag, entry in architecture.tags.items():
                yield name, tag, entry


def _structure(model_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a config decides the shapes of its weights."""
    kept = {key: value for key, value in deepcopy(dict(model_cfg)).items() if value}
    for key in _FREE_OF_MODEL:
        kept.pop(key, None)
    for part in ("vision_cfg", "text_cfg"):
        for key in (*_FREE, "timm_activation", "timm_model_pretrained", "hf_model_pretrained"):
            kept[part].pop(key, None)
        if "hf_model_name" in kept[part]:
            kept[part]["hf_model_name"] = True  # a directory, or a name on the hub
    return kept


def _rounded(value: Any) -> Any:
    return tuple(round(float(each), 6) for each in value) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    return ", ".join(f"{each:.4g}" for each in value) if isinstance(value, tuple) else str(value)
