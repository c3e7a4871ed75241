"""EncoderSpec: what an encoder can be loaded from again, in another process or from JSON."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipkit.encoder.encoder import Encoder
from clipkit.encoder.engines import Engine, open_encoder, verify_compiled
from clipkit.encoder.text_cache import user_text_cache
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.models.sources import resolve_source


@dataclass(frozen=True)
class EncoderSpec:
    """What :func:`clipkit.load` was given and what it chose: enough to load the same encoder.

    An encoder is pickled as its ``encoder.spec``, and loaded again where it is unpickled: in a
    process pool, or in a worker of torch's DataLoader. Weights and sessions do not cross process
    borders.
    """

    name: str  # as resolve_source spells it: paths are absolute
    engine: Engine  # what load() chose, and so with precision and device
    precision: str
    device: str
    space_id: str
    cache_dir: str | None = None  # absolute; None: the hub's own cache
    cache_texts: bool = True
    truncate_dim: int | None = None  # dimensions that are kept; None: all

    def load(self) -> Encoder:
        """Return such an encoder.

        Returns:
            An encoder on the same engine, in the same precision, of the same space.

        Raises:
            SpaceMismatchError: If the weights are no longer those that they were.
            InputError: If the device, or the compiled model, is not there.
            CheckpointError: If the weights are missing or damaged.
        """
        source = resolve_source(self.name)
        encoder = open_encoder(
            source,
            engine=self.engine,
            device=self.device,
            precision=self.precision,
            cache_dir=None if self.cache_dir is None else Path(self.cache_dir),
            text_cache=user_text_cache() if self.cache_texts else None,
        )
        verify_compiled(encoder, source)
        if self.truncate_dim is not None:
            encoder = encoder.truncated(self.truncate_dim)
        if encoder.space_id != self.space_id:
            raise SpaceMismatchError(
                f"the encoder was made of {self.name} when it was of space {self.space_id}; what "
                f"lies there now is of space {encoder.space_id}: load it anew where it is needed"
            )
        encoder.spec = self
        return encoder

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON can hold them; :meth:`from_dict` is the reverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "EncoderSpec":
        """Return the spec that :meth:`to_dict` described.

        Args:
            fields: By name: strings; "cache_dir" may be None, "cache_texts" is a bool, and
                "truncate_dim" a whole number or None.

        Returns:
            An equal spec.

        Raises:
            InputError: If a field is missing, unknown or of another kind.
        """
        kinds: dict[str, tuple[type, ...]] = {
            field.name: (str,) for field in dataclasses.fields(cls)
        }
        kinds |= {"cache_dir": (str, type(None)), "cache_texts": (bool,)}
        kinds["truncate_dim"] = (int, type(None))
        problems = [f"{name} is unknown" for name in fields if name not in kinds]
        for field in dataclasses.fields(cls):
            if field.name not in fields:
                if field.default is dataclasses.MISSING:
                    problems.append(f"{field.name} is missing")
            elif not isinstance(fields[field.name], kinds[field.name]):
                problems.append(f"{field.name} must not be {fields[field.name]!r}")
        if problems:
            raise InputError(
                f"this is no description of an encoder, as encoder.spec.to_dict() makes it: "
                f"{'; '.join(problems)}"
            )
        return cls(**fields)
