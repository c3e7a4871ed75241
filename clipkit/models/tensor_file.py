"""clipkit's own small safetensors files: tensors, and one JSON object that says what they are.

The object is the only text of the metadata, under a mark of its kind, as in ``"clipkit_head"``: so
that the mark stands in the first bytes, and equal content makes equal files.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from clipkit.errors import InputError
from clipkit.models.safetensors_header import read_metadata

About = Mapping[str, Any]
"""What a file says of its tensors, as JSON has it."""

Tensors = Mapping[str, NDArray[Any]]

_FORMAT, _DIGEST = "format", "sha256"  # keys of the object
_VERSION = 1
_Content = TypeVar("_Content")


@dataclass(frozen=True)
class TensorFileKind:
    """A kind of such files, as it is written and read."""

    mark: str  # the key of the object, such as "clipkit_head"
    noun: str  # what a file holds, such as "head"
    maker: str  # the command that writes one

    def to_bytes(self, about: About, tensors: Tensors) -> bytes:
        """Return the content of a file.

        Args:
            about: What JSON takes.
            tensors: By name.

        Returns:
            It with the digest of both, by which a changed bit is found.
        """
        known = {_FORMAT: _VERSION, **about}
        text = json.dumps({**known, _DIGEST: _digest(known, tensors)})
        content: bytes = save_tensors(dict(tensors), {self.mark: text})
        return content

    def read(self, path: Path, parse: Callable[[About, Tensors], _Content]) -> _Content:
        """Return what a file holds.

        Args:
            path: The file. One of another program's may lack the digest.
            parse: Makes the result of the file's parts. It raises a ValueError that says what does
                not fit together, or a KeyError for what is missing.

        Returns:
            What parse returns.

        Raises:
            InputError: If it cannot be read, is none of this kind, or is damaged.
        """
        try:
            texts = read_metadata(path)
            self._check_kind(path, texts)
            content = path.read_bytes()
        except InputError:
            raise  # it is a ValueError as well
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path} is no {self.noun}, or a damaged one: it is no whole safetensors file; "
                f"{self.maker} writes one"
            ) from error
        try:
            return parse(*_parts(texts[self.mark], content))
        except KeyError as error:
            raise self._damaged(path, f"it has no {error}") from error
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged(path, str(error)) from error

    def _check_kind(self, path: Path, texts: Mapping[str, str]) -> None:
        if self.mark not in texts:
            raise InputError(
                f'{path} is no {self.noun}: it is a safetensors file without "{self.mark}" in its '
                f"metadata; {self.maker} writes one"
            )
        version = _version(texts[self.mark])
        if version != _VERSION:
            raise InputError(
                f"{path} is a {self.noun} of format {version!r:.20}, and this version of clipkit "
                f"reads {_VERSION}: use the one that wrote it, or write it again with {self.maker}"
            )

    def _damaged(self, path: Path, why: str) -> InputError:
        return InputError(
            f"{path} is a damaged {self.noun}: {why}; write it again with {self.maker}"
        )


def check_types(about: About, types: Mapping[str, type | tuple[type, ...]]) -> None:
    """Raise for what a file does not say of its tensors, or says as something else.

    Args:
        about: As it was read.
        types: Of what it must say, by key.

    Raises:
        KeyError: If a key is missing.
        ValueError: If a value is of another type.
    """
    for key, expected in types.items():
        if not isinstance(about[key], expected):
            raise ValueError(f'its "{key}" is {about[key]!r:.60}')


def _version(text: str) -> object:
    """Return the format that a file names; that of this version if it cannot be read."""
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return _VERSION  # what is wrong is said later
    return found.get(_FORMAT) if isinstance(found, dict) else None


def _parts(text: str, content: bytes) -> tuple[About, Tensors]:
    """Return the two parts of a file; raise a ValueError if it is not as it was written."""
    about = json.loads(text)
    try:
        tensors = load_tensors(content)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"its tensors cannot be read ({error})") from error
    if (written := about.pop(_DIGEST, None)) not in (None, _digest(about, tensors)):
        raise ValueError(f"it is not as it was written, whose {_DIGEST} was {written!r:.80}")
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError("it holds numbers that are not finite")
    return about, tensors


def _digest(about: About, tensors: Tensors) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode("ascii"))
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
