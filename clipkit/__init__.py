"""Images and text as unit vectors in one shared space, and what follows from that.

    >>> import clipkit
    >>> encoder = clipkit.load()  # doctest: +SKIP
    >>> clipkit.ZeroShotClassifier(encoder, ["cat", "dog"]).classify(
    ...     ["photo.jpg"]
    ... )  # doctest: +SKIP

Names are loaded when they are first used: importing clipkit reads no file and imports no torch.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipkit.embeddings import (
        EmbeddingArray,
        cosine_similarity,
        mix_embeddings,
        normalize_rows,
        top_k,
    )
    from clipkit.encoder.encoder import EncodedBatch, Encoder, EncodingReport
    from clipkit.encoder.loading import EncoderSpec, compile_model, load
    from clipkit.encoder.text_embedding import UnknownTextWarning
    from clipkit.errors import (
        CheckpointError,
        ClipkitError,
        ClipkitWarning,
        ImageReadError,
        InputError,
        LibraryBusyError,
        LibraryError,
        MissingExtraError,
        OfflineError,
        PromptError,
        SpaceMismatchError,
        TrainingError,
    )
    from clipkit.inputs.folders import LeftOut
    from clipkit.inputs.preprocess import Preprocess
    from clipkit.inputs.thumbnails import render_thumbnail
    from clipkit.inputs.tokenizer import TextCutWarning, TokenizedTexts
    from clipkit.inputs.truncated import CutOffImageWarning
    from clipkit.models.listing import ModelListing, list_models
    from clipkit.progress import Callbacks
    from clipkit.runs.report import TrainingReport
    from clipkit.runs.run import train
    from clipkit.runtime.base import Scoring
    from clipkit.search.duplicates.calibration import Calibration
    from clipkit.search.duplicates.groups import DuplicateGroup, DuplicateReport
    from clipkit.search.export import ExportReport, LibraryEmbeddings
    from clipkit.search.library import PhotoLibrary, SearchHit, SyncReport
    from clipkit.search.lookup import IndexedFiles
    from clipkit.search.query import Query, QueryPart, SearchQuery, parse_query
    from clipkit.search.status import LibraryStatus
    from clipkit.search.store.records import ImageFile
    from clipkit.search.thumbnails import ThumbnailCache
    from clipkit.training.config import RunConfig
    from clipkit.zero_shot.classifier import (
        ClassifiedBatch,
        LabelScore,
        ZeroShotClassifier,
        classify_each,
    )
    from clipkit.zero_shot.labels import EqualLabelsWarning
    from clipkit.zero_shot.templates import TEMPLATE_SETS

__all__ = [
    "TEMPLATE_SETS",
    "Calibration",
    "Callbacks",
    "CheckpointError",
    "ClassifiedBatch",
    "ClipkitError",
    "ClipkitWarning",
    "CutOffImageWarning",
    "DuplicateGroup",
    "DuplicateReport",
    "EmbeddingArray",
    "EncodedBatch",
    "Encoder",
    "EncoderSpec",
    "EncodingReport",
    "EqualLabelsWarning",
    "ExportReport",
    "ImageFile",
    "ImageReadError",
    "IndexedFiles",
    "InputError",
    "LabelScore",
    "LeftOut",
    "LibraryBusyError",
    "LibraryEmbeddings",
    "LibraryError",
    "LibraryStatus",
    "MissingExtraError",
    "ModelListing",
    "OfflineError",
    "PhotoLibrary",
    "Preprocess",
    "PromptError",
    "Query",
    "QueryPart",
    "RunConfig",
    "Scoring",
    "SearchHit",
    "SearchQuery",
    "SpaceMismatchError",
    "SyncReport",
    "TextCutWarning",
    "ThumbnailCache",
    "TokenizedTexts",
    "TrainingError",
    "TrainingReport",
    "UnknownTextWarning",
    "ZeroShotClassifier",
    "classify_each",
    "compile_model",
    "cosine_similarity",
    "list_models",
    "load",
    "mix_embeddings",
    "normalize_rows",
    "parse_query",
    "render_thumbnail",
    "top_k",
    "train",
]

_ROOMS = {
    "clipkit.embeddings": (
        "EmbeddingArray",
        "cosine_similarity",
        "mix_embeddings",
        "normalize_rows",
        "top_k",
    ),
    "clipkit.encoder.encoder": (
        "EncodedBatch",
        "Encoder",
        "EncodingReport",
    ),
    "clipkit.errors": (
        "CheckpointError",
        "ClipkitError",
        "ClipkitWarning",
        "ImageReadError",
        "InputError",
        "LibraryBusyError",
        "LibraryError",
        "MissingExtraError",
        "OfflineError",
        "PromptError",
        "SpaceMismatchError",
        "TrainingError",
    ),
    "clipkit.inputs.truncated": ("CutOffImageWarning",),
    "clipkit.inputs.folders": ("LeftOut",),
    "clipkit.inputs.preprocess": ("Preprocess",),
    "clipkit.inputs.thumbnails": ("render_thumbnail",),
    "clipkit.inputs.tokenizer": (
        "TextCutWarning",
        "TokenizedTexts",
    ),
    "clipkit.encoder.loading": (
        "EncoderSpec",
        "compile_model",
        "load",
    ),
    "clipkit.models.listing": (
        "ModelListing",
        "list_models",
    ),
    "clipkit.progress": ("Callbacks",),
    "clipkit.runs.report": ("TrainingReport",),
    "clipkit.runs.run": ("train",),
    "clipkit.runtime.base": ("Scoring",),
    "clipkit.search.export": (
        "ExportReport",
        "LibraryEmbeddings",
    ),
    "clipkit.search.duplicates.calibration": ("Calibration",),
    "clipkit.search.store.records": ("ImageFile",),
    "clipkit.search.duplicates.groups": (
        "DuplicateGroup",
        "DuplicateReport",
    ),
    "clipkit.search.library": (
        "PhotoLibrary",
        "SearchHit",
        "SyncReport",
    ),
    "clipkit.search.lookup": ("IndexedFiles",),
    "clipkit.search.query": (
        "Query",
        "QueryPart",
        "SearchQuery",
        "parse_query",
    ),
    "clipkit.search.status": ("LibraryStatus",),
    "clipkit.search.thumbnails": ("ThumbnailCache",),
    "clipkit.encoder.text_embedding": ("UnknownTextWarning",),
    "clipkit.training.config": ("RunConfig",),
    "clipkit.zero_shot.classifier": (
        "ClassifiedBatch",
        "LabelScore",
        "ZeroShotClassifier",
        "classify_each",
    ),
    "clipkit.zero_shot.labels": ("EqualLabelsWarning",),
    "clipkit.zero_shot.templates": ("TEMPLATE_SETS",),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name from its room when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'clipkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # next time without this function
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
