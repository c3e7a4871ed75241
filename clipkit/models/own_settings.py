"""clipkit's own settings of a checkpoint: what open_clip's config has no word for.

In memory they stand among open_clip's, where they are needed. In a file they stand apart, under
"clipkit_cfg", because open_clip refuses a config with keys that it does not know.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

# Each by the part of the config that it belongs to.
_KEYS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("model_cfg", "vision_cfg"): ("timm_activation",),  # other than the one that timm builds
    ("model_cfg", "text_cfg"): ("cleaning",),  # of texts; other than tokenizer_kwargs says
    ("preprocess_cfg",): ("crop", "resize_size"),  # as Preprocess has them
}


def split_own(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a config without clipkit's own settings, and those alone.

    Args:
        config: "model_cfg" and "preprocess_cfg", with clipkit's own settings among open_clip's.

    Returns:
        A copy that open_clip reads, and the settings by their places joined with dots.

    Example:
        >>> split_own({"preprocess_cfg": {"size": 224, "crop": "down"}})
        ({'preprocess_cfg': {'size': 224}}, {'preprocess_cfg.crop': 'down'})
    """
    plain, own = deepcopy(dict(config)), {}
    for place, keys in _KEYS.items():
        part = _part(plain, place)
        for key in keys:
            if part.get(key) is not None:
                own[".".join((*place, key))] = part[key]
            part.pop(key, None)
    return plain, own


def join_own(config: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with clipkit's own settings among open_clip's.

    Args:
        config: "model_cfg" and "preprocess_cfg".
        own: As `split_own` returns it; other keys are left out.

    Returns:
        A copy.
    """
    joined = deepcopy(dict(config))
    for place, keys in _KEYS.items():
        for key in keys:
            name = ".".join((*place, key))
            if name in own:
                joined.setdefault(place[0], {})
                _part(joined, place)[key] = own[name]
    return joined


def _part(config: dict[str, Any], place: tuple[str, ...]) -> dict[str, Any]:
    """Return a part of a config, or an empty dict where it is missing."""
    part: dict[str, Any] = config
    for key in place:
        found = part.get(key)
        part = found if isinstance(found, dict) else {}
    return part
