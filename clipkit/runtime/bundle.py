"""The compiled bundle: a checkpoint directory with its two towers as ONNX graphs, and a manifest.

Beside the checkpoint's own files lie two graphs a precision (``image_tower.onnx`` and
``text_tower.onnx`` in float32, the same with ``.int8`` in 8 bits), the golden vectors, and the
manifest ``onnx_bundle.json``, written last. Without a manifest there is no bundle.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipkit.errors import CheckpointError
from clipkit.files import file_sha256, read_json_object
from clipkit.paths import cache_directory
from clipkit.runtime.base import Scoring

MANIFEST = "onnx_bundle.json"
GOLDEN_VECTORS = "golden_vectors.npz"
FORMAT = 3
EARLIER_FORMATS = (2,)  # that are read: without smoothed int8, and without a shift of scores
PRECISIONS = ("fp32", "int8")  # safest first
# The gate: least mean and 1st percentile of cosines to the towers in float32 on torch, and the most
# that scores may shift. At a shift of .08, 92 of 100 of a text's five closest images stay among
# them on real CLIP, and 1 in 13 searches says another verdict: chosen on COCO's photographs,
# benchmarks/score_shift.py.
_LIMITS = {
    "fp32": (0.999, 0.995, 0.08),
    "bf16": (0.999, 0.995, 0.08),
    "fp16": (0.999, 0.995, 0.08),
    "int8": (0.99, 0.97, 0.25),
}
_CLOSE_LIMITS = (0.999, 0.99, 0.08)  # from here on a precision may be chosen automatically
_FIRST_NAMES = {"num_pictures": "num_images", "same_first_picture": "same_first_image"}
_COMPILERS = ("clipkit", "onnxruntime", "torch", "open_clip_torch")  # whose versions matter


@dataclass(frozen=True)
class Parity:
    """How close graphs come to the float32 towers on torch, measured on the reference inputs."""

    num_images: int
    num_texts: int
    mean_image_cosine: float
    p1_image_cosine: float  # 1st percentile
    mean_text_cosine: float
    p1_text_cosine: float
    same_first_image: float  # share of the texts whose closest image stays the same
    top5_overlap: float  # mean share of a text's five closest images that stay among them
    # How far a text's scores move beside each other, in standard deviations of its scores; not a
    # number if an earlier clipkit compiled the model, which did not measure it.
    score_shift: float

    @property
    def is_close(self) -> bool:
        """Whether the precision may be chosen automatically: rankings hardly change."""
        return self._keeps(*_CLOSE_LIMITS)

    def passes(self, precision: str) -> bool:
        """Return whether a precision may be used at all."""
        return self._keeps(*_LIMITS[precision])

    def _keeps(self, mean: float, first_percentile: float, shift: float) -> bool:
        return (  # one by one: what is not a number keeps nothing
            not self.score_shift > shift
            and self.mean_image_cosine >= mean
            and self.mean_text_cosine >= mean
            and self.p1_image_cosine >= first_percentile
            and self.p1_text_cosine >= first_percentile
        )

    def __str__(self) -> str:
        shift = f"; scores shift by {self.score_shift:.3f} of their spread"
        return (
            f"cosine mean {self.mean_image_cosine:.5f}, 1st percentile "
            f"{self.p1_image_cosine:.5f} for {self.num_images} images; "
            f"mean {self.mean_text_cosine:.5f}, 1st percentile {self.p1_text_cosine:.5f} "
            f"for {self.num_texts} texts{'' if math.isnan(self.score_shift) else shift}"
        )


@dataclass(frozen=True)
class Refusal:
    """Why a precision is not in a bundle."""

    reason: str
    parity: Parity | None = None  # where it was built and measured


@dataclass(frozen=True)
class StoredFile:
    """Size and digest of a file of the bundle when it was compiled."""

    size: int  # bytes
    sha256: str


@dataclass(frozen=True)
class Bundle:
    """A compiled bundle, as its manifest describes it."""

    name: str  # of the model, as it was resolved
    space_id: str
    embed_dim: int
    image_size: tuple[int, int]  # height and width, pixels
    scoring: Scoring
    padding_id: int | None  # token that rows of a batch are cut after; None: they stay whole
    weights: str  # name of the file that the graphs borrow their weights from
    reference: str  # digest of the inputs that parity and golden vectors are of
    precisions: dict[str, Parity]  # those that may be used
    refused: dict[str, Refusal] = field(default_factory=dict)  # those that may not
    # By tower, the weights whose products are in float32 in the int8 graph, as 8 bits are too few.
    kept: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)  # by name; all but the manifest
    origin: dict[str, tuple[int, int]] = field(default_factory=dict)  # path: bytes, mtime in ns
    versions: dict[str, str] = field(default_factory=dict)  # of what compiled it
    format: int = FORMAT

    @classmethod
    def read(cls, directory: Path) -> "Bundle":
        """Read the manifest of a bundle and check that its files are there, in full length.

        Their content is not read, which takes longer than a query; :func:`verify` does.

        Args:
            directory: The bundle.

        Returns:
            The manifest.

        Raises:
            CheckpointError: If the directory is no bundle, is damaged or is of another format.
        """
        path = directory / MANIFEST
        entries = read_json_object(path, CheckpointError)
        try:
            version = entries["format"]
            if version in (FORMAT, *EARLIER_FORMATS):
                bundle = cls(**_decoded(entries))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} cannot be read as a manifest: {error}") from error
        if version not in (FORMAT, *EARLIER_FORMATS):
            is_newer = isinstance(version, int) and version > FORMAT
            raise CheckpointError(
                f"{path} was written by a newer clipkit; update clipkit"
                if is_newer
                else f"{directory} was compiled by an older clipkit: compile it again"
            )
        for name, stored in bundle.files.items():
            try:
                size = (directory / name).stat().st_size
            except OSError as error:
                raise CheckpointError(
                    f"the compiled model in {directory} has no {name}: compile it again"
                ) from error
            if size != stored.size:
                raise CheckpointError(
                    f"{directory / name} has {size} bytes, not the {stored.size} it was compiled "
                    "with: it is damaged or was replaced; fetch or compile it again"
                )
        return bundle

    def to_dict(self) -> dict[str, object]:
        """Return the parity of each precision and why others were refused, as JSON takes it."""
        return {
            "kept": self.kept,
            "precisions": {
                name: dataclasses.asdict(parity) for name, parity in self.precisions.items()
            },
            "refused": {name: refusal.reason for name, refusal in self.refused.items()},
        }

    def to_json(self) -> str:
        """Return the manifest as the text of its file."""
        entries = {"format": self.format, **dataclasses.asdict(self)}
        entries["scoring"] = {
            "logit_scale": self.scoring.log_scale,  # as the parameter of a checkpoint is called
            "logit_bias": self.scoring.logit_bias,
        }
        return json.dumps(entries, indent=2) + "\n"


def count_kept(kept: Mapping[str, Sequence[str]]) -> str:
    """Return in words how many products of graphs in 8 bits are in float32; "" if none is."""
    counts = " and ".join(f"{len(names)} of the {tower} tower" for tower, names in kept.items())
    return f"products in float32: {counts}" if counts else ""


def write_manifest(bundle: Bundle, directory: Path) -> None:
    """Write the manifest of a bundle, which makes its directory one."""
    (directory / MANIFEST).write_text(bundle.to_json(), encoding="utf-8")


def is_bundle(directory: Path) -> bool:
    """Return whether a directory holds a compiled bundle."""
    return (directory / MANIFEST).is_file()


def verify(directory: Path) -> Bundle:
    """Read a bundle and every byte of its files.

    Args:
        directory: The bundle.

    Returns:
        The manifest.

    Raises:
        CheckpointError: If the bundle cannot be read, or a file is not as it was compiled.
    """
    bundle = Bundle.read(directory)
    for name, stored in bundle.files.items():
        try:
            sha256 = file_sha256(directory / name)
        except OSError as error:
            raise CheckpointError(f"{directory / name} cannot be read: {error.strerror}") from error
        if sha256 != stored.sha256:
            raise CheckpointError(
                f"{directory / name} is not the file this bundle was compiled with: if it is "
                f"damaged, fetch it again; if it was replaced, remove {MANIFEST} beside it, which "
                "belongs to the old one"
            )
    return bundle


def verify_once(directory: Path) -> None:
    """Verify a bundle, unless that was done and its files have the same size and time as then.

    Reading them takes a second for 300 MB, and other weights of the same architecture have the
    same size: without this they would pass for the ones that were compiled.

    Args:
        directory: The bundle.

    Raises:
        CheckpointError: As `verify` does.
    """
    bundle = Bundle.read(directory)
    facts = [str(directory.resolve())]
    for name, stored in sorted(bundle.files.items()):
        facts.append(f"{name} {(directory / name).stat().st_mtime_ns} {stored.sha256}")
    digest = hashlib.sha256(os.fsencode("\n".join(facts))).hexdigest()
    mark = cache_directory() / "verified" / digest[:32]
    if mark.exists():
        return
    verify(directory)
    with contextlib.suppress(OSError):  # if it cannot be noted, all is read every time
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def graph_name(tower: str, precision: str) -> str:
    """Return the name of a graph's file, for tower "image" or "text"."""
    return f"{tower}_tower.onnx" if precision == "fp32" else f"{tower}_tower.{precision}.onnx"


def stored_file(path: Path) -> StoredFile:
    """Return size and digest of a file."""
    return StoredFile(path.stat().st_size, file_sha256(path))


def compiler_versions() -> dict[str, str]:
    """Return the versions of the installed packages that compiling depends on."""
    from importlib import metadata  # only here: it takes 30 ms, and finding a bundle never asks

    versions = {}
    for name in _COMPILERS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "none"
    return versions


def _decoded(entries: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a bundle from what JSON keeps of them."""
    height, width = entries["image_size"]
    return {
        **entries,
        "image_size": (height, width),
        "scoring": Scoring(entries["scoring"]["logit_scale"], entries["scoring"]["logit_bias"]),
        "precisions": {key: _parity(value) for key, value in entries["precisions"].items()},
        "refused": {key: _refusal(value) for key, value in entries["refused"].items()},
        "files": {key: StoredFile(**value) for key, value in entries["files"].items()},
        "origin": {key: (size, mtime) for key, (size, mtime) in entries["origin"].items()},
    }


def _refusal(entry: dict[str, Any]) -> Refusal:
    parity = entry["parity"]
    return Refusal(entry["reason"], None if parity is None else _parity(parity))


def _parity(entry: dict[str, Any]) -> Parity:
    """Return what a manifest says of a precision, also one with the first names of the keys."""
    named = {_FIRST_NAMES.get(key, key): value for key, value in entry.items()}
    return Parity(**{"score_shift": math.nan, **named})
