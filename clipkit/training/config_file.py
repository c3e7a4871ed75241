"""Settings as TOML: reading a file with overrides, writing it, paths that count from its folder."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from clipkit.arguments import items_of
from clipkit.errors import InputError, MissingExtraError
from clipkit.files import write_text
from clipkit.paths import expand_home
from clipkit.training.config_errors import field_types, plain_values, section_types
from clipkit.training.config_paths import Anchor
from clipkit.training.key_names import rename_settings


class TomlSettings:
    """Reading and writing of a dataclass of settings whose fields are the sections of a file."""

    @classmethod
    def from_toml(
        cls,
        path: str | Path,
        overrides: Sequence[str] = (),
        *,
        say: Callable[[str], None] = lambda line: None,
    ) -> Self:
        """Return the run that a file describes.

        Paths in the file count from the file's folder, paths in overrides from the working
        directory; all of them come out absolute.

        Args:
            path: A TOML file whose sections and keys are those of this class.
            overrides: Replacements like "optimizer.lr=1e-5" or "seed=3"; a value that is not TOML
                is a text.
            say: Called with one line about settings that have an earlier version's name.

        Returns:
            The config, not resolved yet. Without an output, that is a folder beside the file.

        Raises:
            InputError: If the file cannot be read, a key is unknown or in the wrong section, or a
                value has the wrong type or range.
        """
        file = expand_home(path).absolute()
        content = _read(path)
        content.setdefault("output", str(file.with_suffix("")))
        parts = _parse_overrides(overrides, cls)
        try:
            renamed = _prepare(content, cls, file.parent)
            renamed += _replace_settings(content, parts, cls)
            config = cls._build(content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        if renamed:
            names = ", ".join(dict.fromkeys(renamed))
            say(f"{path} has names of an earlier version, which are understood: {names}")
        return config

    @classmethod
    def from_dict(
        cls,
        content: Mapping[str, Any],
        overrides: Sequence[str] = (),
        *,
        folder: str | Path | None = None,
    ) -> Self:
        """Return the run that sections and keys describe, as a RUN.toml has them.

        Args:
            content: For example ``{"output": "run", "model": {"base": "starter"}, "data":
                {"train": "photos"}}``.
            overrides: As for :meth:`from_toml`.
            folder: Where relative paths count from; None: the working directory.

        Returns:
            The config, not resolved yet.

        Raises:
            InputError: If a key is unknown or in the wrong section, something that is needed is
                missing, or a value has the wrong type or range.
        """
        if not isinstance(content, Mapping):
            raise InputError(
                f"a run must be a dict of sections and keys, got {type(content).__name__}"
            )
        parts = _parse_overrides(overrides, cls)
        copy = plain_values(content)
        _prepare(copy, cls, expand_home(folder).absolute() if folder else Path.cwd())
        _replace_settings(copy, parts, cls)
        return cls._build(copy)

    @classmethod
    def _build(cls, content: dict[str, Any]) -> Self:
        missing: dict[str, Any] = {name: {} for name in section_types(cls)}  # all their defaults
        return cls(**missing | content)

    def to_dict(self) -> dict[str, Any]:
        """Return sections and keys that :meth:`from_dict` takes; what is None is left out."""
        content: dict[str, Any] = plain_values(self)
        return content

    def to_toml(self, path: str | Path) -> None:
        """Write a file that :meth:`from_toml` reads back equal.

        Paths that are not absolute count from the working directory, and are written absolute.

        Args:
            path: Where to; its directory must exist.

        Raises:
            InputError: If the file cannot be written.
            MissingExtraError: If tomli-w is not installed.
        """
        content = self.to_dict()
        _prepare(content, type(self), Path.cwd())
        _write(content, expand_home(path))


def _read(path: str | Path) -> dict[str, Any]:
    try:
        # Notepad begins a file with a byte order mark.
        return tomllib.loads(expand_home(path).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:  # as for numbers of thousands of digits
        raise InputError(f"{path} is not valid TOML: {error}") from error


def _write(content: Mapping[str, Any], path: Path) -> None:
    try:
        import tomli_w
    except ImportError as error:
        raise MissingExtraError("torch", "Writing a run's config") from error

    text = tomli_w.dumps(content)
    try:
        text.encode()  # TOML has no way to write a file name that is no UTF-8
        write_text(path, text)
    except (OSError, UnicodeEncodeError) as error:
        raise InputError(f"{path} cannot be written: {error}") from error


def _prepare(content: dict[str, Any], schema: Any, folder: Path) -> list[str]:
    """Give settings the names of today and absolute paths, in place; return what was renamed."""
    renamed = list(rename_settings(content))
    for section, kind in {"": schema, **section_types(schema)}.items():
        part = content.get(section, {}) if section else content
        for key, field in kind.__pydantic_fields__.items():
            anchor = next((item for item in field.metadata if isinstance(item, Anchor)), None)
            if anchor is None or not isinstance(part, dict) or key not in part:
                continue
            try:
                part[key] = anchor.absolute(part[key], folder)
            except ValueError as error:
                raise InputError(f"{section}.{key} {error}") from error
    return renamed


def _parse_overrides(overrides: Sequence[str], schema: Any) -> list[dict[str, Any]]:
    """Return each override as the part of a file that it stands for."""
    rule = 'overrides must be a list such as ["seed=3"]'
    return [parse_override(override, schema) for override in items_of(overrides, rule)]


def _replace_settings(
    content: dict[str, Any], parts: Sequence[dict[str, Any]], schema: Any
) -> list[str]:
    """Replace settings in place by those of overrides; return what was renamed."""
    renamed = []
    for part in parts:
        renamed += _prepare(part, schema, Path.cwd())
        merge_settings(content, part)
    return renamed


def parse_override(override: object, schema: Any) -> dict[str, Any]:
    """Return "optimizer.lr=1e-5" as the part of a file that it stands for.

    Args:
        override: A key, "=" and a value; one that is not TOML is a text.
        schema: The class of the settings.

    Returns:
        A section with one key, or one key.

    Raises:
        InputError: If it is something else.
    """
    if not isinstance(override, str):
        raise InputError(f"an override must be a string such as seed=3, got {override!r}")
    dotted, sign, text = override.partition("=")
    section, dot, key = dotted.strip().partition(".")
    if not sign or not section or (dot and not key):
        raise InputError(f'"{override}" must be KEY=VALUE, for example optimizer.lr=1e-5')
    kind = section_types(schema).get(section) if dot else schema
    hint = field_types(kind).get(key if dot else section) if kind else None
    value = _parse_value(text.strip())
    if hint is str and not isinstance(value, str):  # output=2026 is a name as well
        value = text.strip()
    return {section: {key: value}} if dot else {section: value}


def merge_settings(content: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Replace settings in place: single keys of a section, and other values as a whole.

    Args:
        content: Sections and keys, changed.
        part: The same, of those that are replaced.
    """
    for name, value in part.items():
        if isinstance(value, dict) and isinstance(content.get(name), dict):
            content[name].update(value)
        else:
            content[name] = value


def _parse_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text
