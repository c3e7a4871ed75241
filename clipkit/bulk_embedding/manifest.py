"""What a folder of embeddings says of itself: the model, the layout, how it was cut and made."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, get_args

from clipkit.bulk_embedding.output_folder import LOCK_NAME, OutputFolder
from clipkit.bulk_embedding.part_files import Layout
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.repeatable import images_a_call
from clipkit.errors import InputError, LibraryError, SpaceMismatchError, advise_model
from clipkit.inputs.decoder_name import decoder_name
from clipkit.progress import Callbacks
from clipkit.version import __version__

NAME = "embeddings.json"
_MARK = "clipkit embed"
_FORMAT = 1  # to be raised when files hold something else


@dataclass(frozen=True)
class Manifest:
    """A folder of embeddings."""

    source: str  # what was embedded, as it was named last
    model: str
    space_id: str
    embed_dim: int  # D
    layout: Layout
    part_size: int  # the most images of a part, but for shards
    # What else decides the bits of a vector, of each run that had other values than those before.
    made_with: list[dict[str, Any]] = field(default_factory=list)
    # Whether images have changed since they were embedded first: of one id the last row counts.
    has_changed: bool = False

    @classmethod
    def read(cls, folder: OutputFolder) -> "Manifest | None":
        """Return the manifest of a folder, None if the folder is empty.

        Args:
            folder: The folder.

        Returns:
            What it says.

        Raises:
            LibraryError: If the folder holds something else, or what a newer clipkit wrote.
        """
        if not folder.has(NAME):
            names = folder.names() - {LOCK_NAME}
            if not names:
                return None
            raise LibraryError(
                f"{folder} holds {min(names)!r} and no {NAME}, so clipkit embed has not written "
                "it: give a new or empty folder, nothing is overwritten"
            )
        try:
            found = json.loads(folder.read(NAME))
            mark, number = found.pop("written_by"), found.pop("format")
            if mark != _MARK or number > _FORMAT:
                raise ValueError(f"it was written by {mark} in format {number}")
            return cls(**found)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LibraryError(
                f"{folder}/{NAME} is damaged, or of a newer clipkit: {error}"
            ) from error

    def write(self, folder: OutputFolder) -> None:
        """Write it.

        Args:
            folder: Where to.

        Raises:
            LibraryError: If it cannot be written.
        """
        told = {"written_by": _MARK, "format": _FORMAT, **dataclasses.asdict(self)}
        folder.write(NAME, (json.dumps(told, indent=2) + "\n").encode())

    def about(self) -> dict[str, Any]:
        """Return what the file of each part says."""
        return {
            "model": self.model,
            "space_id": self.space_id,
            "embed_dim": self.embed_dim,
            **self.made_with[-1],
        }


def settle_manifest(
    folder: OutputFolder,
    encoder: Encoder,
    source: str,
    *,
    layout: Layout | None,
    part_size: int | None,
    callbacks: Callbacks,
) -> Manifest:
    """Return what a run writes into a folder, and refuse what does not fit to what is there.

    Args:
        folder: The folder.
        encoder: The model.
        source: What is embedded.
        layout: As asked; None: as before, else parquet.
        part_size: As asked; None: as before, else 4096.
        callbacks: Warned if vectors will differ in their last bits from those that are there.

    Returns:
        The manifest; it is not written yet.

    Raises:
        SpaceMismatchError: If the folder is of another model.
        InputError: If layout or part_size are others than before, or no such values.
        LibraryError: If the folder holds something else.
    """
    if layout is not None and layout not in get_args(Layout):
        raise InputError(f"layout must be one of {', '.join(get_args(Layout))}, got {layout!r}")
    made_with = {
        "engine": encoder.engine,
        "precision": encoder.precision,
        "decode": encoder.decode,
        "decoder": decoder_name(),
        "images_a_call": images_a_call(encoder),
        "max_pixels": encoder.max_pixels,
        "clipkit": __version__,
    }
    before = Manifest.read(folder)
    if before is None:
        return Manifest(
            source,
            encoder.name,
            encoder.space_id,
            encoder.embed_dim,
            layout or "parquet",
            part_size or DEFAULT_PART_SIZE,
            [made_with],
        )
    if before.space_id != encoder.space_id:
        raise SpaceMismatchError(
            f"{folder} holds embeddings of {before.model} (space {before.space_id}), and "
            f"{encoder.name} makes others (space {encoder.space_id}): "
            + advise_model(before.model, encoder.name, otherwise="embed into a folder of its own")
        )
    for name, asked in (("layout", layout), ("part_size", part_size)):
        is_now = getattr(before, name)
        if asked not in (None, is_now):
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{folder} was begun with {option} {is_now}, got {asked}: leave the option out, or "
                "give another folder"
            )
    history = before.made_with
    if made_with not in history:
        others = [name for name, value in made_with.items() if value != history[-1].get(name)]
        callbacks.warn(
            f"{folder} was begun with other settings ({', '.join(others)}): new vectors fit those "
            "that are there, but are not the same bits as in one run"
        )
    if made_with in history[-1:]:
        return dataclasses.replace(before, source=source)
    return dataclasses.replace(before, source=source, made_with=[*history, made_with])


DEFAULT_PART_SIZE = 4096
"""A kill costs at most the work on as many images a worker; 10^8 make 25 000 files."""
