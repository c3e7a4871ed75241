"""The keys of RUN.toml: which there are, and what a wrong one was meant to be."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any

from clipkit.errors import InputError
from clipkit.training.config import RunConfig

# What open_clip_train and others call a key, where spelling alone does not lead to ours.
_OTHER_NAMES = {
    "learning_rate": "lr",
    "wd": "weight_decay",
    "warmup": "warmup_fraction",
    "warmup_steps": "warmup_fraction",
    "lr_scheduler": "schedule",
    "grad_clip_norm": "clip_norm",
    "accum_freq": "chunk_size",
    "num_epochs": "epochs",
    "batch": "batch_size",
    "num_workers": "workers",
    "pretrained": "start",
    "checkpoint": "start",
    "siglip": "kind",
    "train_data": "train",
    "val_data": "validation",
    "csv_img_key": "image_column",
    "csv_caption_key": "caption_column",
    "classnames": "class_names",
    "labels": "class_names",
    "flip": "horizontal_flip",
    "logs": "output",
    "early_stopping": "patience",
}


def section_types() -> dict[str, Any]:
    """Return the config class of every section by its name."""
    hints = field_types(RunConfig)
    return {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}


def field_types(kind: Any) -> dict[str, Any]:
    """Return the type of every field of a config class by its name."""
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


def check_keys(content: Mapping[str, Any]) -> None:
    """Refuse keys that no section has, and say where they belong or what was meant.

    Args:
        content: What a file holds.

    Raises:
        InputError: If a section or a key is unknown, or a section is a value.
    """
    sections = section_types()
    for name, value in content.items():
        if name in sections:
            if not isinstance(value, dict):
                raise InputError(f"{name} is a section: write [{name}] and its keys below it")
            for key in value:
                if key not in field_types(sections[name]):
                    raise InputError(f"[{name}] has no {key}{_advice(key, name)}")
        elif name in field_types(RunConfig):
            if isinstance(value, dict):
                raise InputError(f"{name} is no section: write {name} = … above the first section")
        elif isinstance(value, dict):
            near = difflib.get_close_matches(name, sections, n=1, cutoff=0.0)[0]
            raise InputError(
                f"there is no section [{name}]; did you mean [{near}]? "
                f"Sections are {', '.join(sections)}"
            )
        else:
            raise InputError(f"there is no {name} outside of sections{_advice(name, '')}")


def _advice(key: str, section: str) -> str:
    """Return what an unknown key probably means, as the end of a sentence."""
    homes: dict[str, list[str]] = {}
    for name, kind in {"": RunConfig, **section_types()}.items():
        for known, hint in field_types(kind).items():
            if not dataclasses.is_dataclass(hint):
                homes.setdefault(known, []).append(name)
    plain = key.lower().replace("-", "_")
    meant = _OTHER_NAMES.get(plain, plain)
    if meant not in homes:
        own = [known for known, names in homes.items() if section in names]
        close = difflib.get_close_matches(plain, own, n=1) or difflib.get_close_matches(
            plain, homes, n=1
        )
        if not close:
            return f"; its keys are {', '.join(own)}"
        meant = close[0]
    if section in homes[meant]:
        return f"; did you mean {meant}?"
    home = " or ".join(f"[{name}]" if name else "the top of the file" for name in homes[meant])
    return f"; {meant} belongs to {home}" if meant == key else f"; did you mean {meant} of {home}?"
