"""Made by docs/write_api.py from clipkit/__init__.py."""

from clipkit.embeddings import EmbeddingArray as EmbeddingArray
from clipkit.embeddings import cosine_similarity as cosine_similarity
from clipkit.embeddings import mix_embeddings as mix_embeddings
from clipkit.embeddings import normalize_rows as normalize_rows
from clipkit.embeddings import top_k as top_k
from clipkit.encoder.encoder import EncodedBatch as EncodedBatch
from clipkit.encoder.encoder import Encoder as Encoder
from clipkit.encoder.encoder import EncodingReport as EncodingReport
from clipkit.encoder.loading import EncoderSpec as EncoderSpec
from clipkit.encoder.loading import compile_model as compile_model
from clipkit.encoder.loading import load as load
from clipkit.encoder.text_embedding import UnknownTextWarning as UnknownTextWarning
from clipkit.errors import CheckpointError as CheckpointError
from clipkit.errors import ClipkitError as ClipkitError
from clipkit.errors import ClipkitWarning as ClipkitWarning
from clipkit.errors import ImageReadError as ImageReadError
from clipkit.errors import InputError as InputError
from clipkit.errors import LibraryBusyError as LibraryBusyError
from clipkit.errors import LibraryError as LibraryError
from clipkit.errors import MissingExtraError as MissingExtraError
from clipkit.errors import OfflineError as OfflineError
from clipkit.errors import PromptError as PromptError
from clipkit.errors import SpaceMismatchError as SpaceMismatchError
from clipkit.errors import TrainingError as TrainingError
from clipkit.inputs.decoder import DecodedImage as DecodedImage
from clipkit.inputs.folders import LeftOut as LeftOut
from clipkit.inputs.images import ImageInput as ImageInput
from clipkit.inputs.preprocess import Preprocess as Preprocess
from clipkit.inputs.thumbnails import render_thumbnail as render_thumbnail
from clipkit.inputs.tokenizer import TextCutWarning as TextCutWarning
from clipkit.inputs.tokenizer import TokenizedTexts as TokenizedTexts
from clipkit.inputs.truncated import CutOffImageWarning as CutOffImageWarning
from clipkit.models.listing import ModelListing as ModelListing
from clipkit.models.listing import list_models as list_models
from clipkit.progress import Progress as Progress
from clipkit.runs.callbacks import Listener as Listener
from clipkit.runs.report import TrainingReport as TrainingReport
from clipkit.runs.run import train as train
from clipkit.runtime.base import Scoring as Scoring
from clipkit.search.changes import FileState as FileState
from clipkit.search.duplicates.calibration import Calibration as Calibration
from clipkit.search.duplicates.groups import DuplicateGroup as DuplicateGroup
from clipkit.search.duplicates.groups import DuplicateReport as DuplicateReport
from clipkit.search.export import ExportReport as ExportReport
from clipkit.search.export import LibraryEmbeddings as LibraryEmbeddings
from clipkit.search.filters import FilterOptions as FilterOptions
from clipkit.search.library import PhotoLibrary as PhotoLibrary
from clipkit.search.lookup import IndexedFiles as IndexedFiles
from clipkit.search.query import Query as Query
from clipkit.search.query import QueryPart as QueryPart
from clipkit.search.query import SearchQuery as SearchQuery
from clipkit.search.query import parse_query as parse_query
from clipkit.search.ranking import SearchHit as SearchHit
from clipkit.search.ranking import SearchOptions as SearchOptions
from clipkit.search.status import LibraryStatus as LibraryStatus
from clipkit.search.store.records import ImageFile as ImageFile
from clipkit.search.sync import SyncReport as SyncReport
from clipkit.search.thumbnails import ThumbnailCache as ThumbnailCache
from clipkit.training.config import ComputeConfig as ComputeConfig
from clipkit.training.config import DataConfig as DataConfig
from clipkit.training.config import LossConfig as LossConfig
from clipkit.training.config import ModelConfig as ModelConfig
from clipkit.training.config import OptimizerConfig as OptimizerConfig
from clipkit.training.config import RunConfig as RunConfig
from clipkit.training.config import SourceConfig as SourceConfig
from clipkit.training.config import WatchConfig as WatchConfig
from clipkit.training.config_file import parse_config as parse_config
from clipkit.training.config_file import read_config as read_config
from clipkit.zero_shot.classifier import ClassifiedBatch as ClassifiedBatch
from clipkit.zero_shot.classifier import LabelScore as LabelScore
from clipkit.zero_shot.classifier import ZeroShotClassifier as ZeroShotClassifier
from clipkit.zero_shot.classifier import classify_each as classify_each
from clipkit.zero_shot.labels import EqualLabelsWarning as EqualLabelsWarning
from clipkit.zero_shot.templates import TEMPLATE_SETS as TEMPLATE_SETS

__all__ = [
    "Calibration",
    "CheckpointError",
    "ClassifiedBatch",
    "ClipkitError",
    "ClipkitWarning",
    "ComputeConfig",
    "CutOffImageWarning",
    "DataConfig",
    "DecodedImage",
    "DuplicateGroup",
    "DuplicateReport",
    "EmbeddingArray",
    "EncodedBatch",
    "Encoder",
    "EncoderSpec",
    "EncodingReport",
    "EqualLabelsWarning",
    "ExportReport",
    "FileState",
    "FilterOptions",
    "ImageFile",
    "ImageInput",
    "ImageReadError",
    "IndexedFiles",
    "InputError",
    "LabelScore",
    "LeftOut",
    "LibraryBusyError",
    "LibraryEmbeddings",
    "LibraryError",
    "LibraryStatus",
    "Listener",
    "LossConfig",
    "MissingExtraError",
    "ModelConfig",
    "ModelListing",
    "OfflineError",
    "OptimizerConfig",
    "PhotoLibrary",
    "Preprocess",
    "Progress",
    "PromptError",
    "Query",
    "QueryPart",
    "RunConfig",
    "Scoring",
    "SearchHit",
    "SearchOptions",
    "SearchQuery",
    "SourceConfig",
    "SpaceMismatchError",
    "SyncReport",
    "TEMPLATE_SETS",
    "TextCutWarning",
    "ThumbnailCache",
    "TokenizedTexts",
    "TrainingError",
    "TrainingReport",
    "UnknownTextWarning",
    "WatchConfig",
    "ZeroShotClassifier",
    "classify_each",
    "compile_model",
    "cosine_similarity",
    "list_models",
    "load",
    "mix_embeddings",
    "normalize_rows",
    "parse_config",
    "parse_query",
    "read_config",
    "render_thumbnail",
    "top_k",
    "train",
]
