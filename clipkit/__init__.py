"""Images and text as unit vectors in one shared space, and what follows from that.

    >>> import clipkit
    >>> encoder = clipkit.load()  # doctest: +SKIP
    >>> clipkit.ZeroShotClassifier(encoder, ["cat", "dog"]).classify(
    ...     ["photo.jpg"]
    ... )  # doctest: +SKIP

Names are loaded when they are first used: importing clipkit reads no file and imports no torch.
"""

import importlib

# The public names by the module that they come from. After a change here run
# python docs/write_api.py: it makes __init__.pyi for type checkers and editors, and docs/api.md.
_PUBLIC = {
    "clipkit.adaptation.classifiers": ("AdapterClassifier", "CacheClassifier", "LinearClassifier"),
    "clipkit.adaptation.concept": ("Concept",),
    "clipkit.adaptation.concept_store": ("ConceptStore", "StoredConcepts"),
    "clipkit.adaptation.head": ("Head", "HeadClassifier"),
    "clipkit.adaptation.labelling": ("next_in_list", "next_to_label"),
    "clipkit.adaptation.labelling_report": ("ImageToLabel", "LabellingReport"),
    "clipkit.adaptation.options": ("AdaptationOptions",),
    "clipkit.adaptation.report": ("AdaptationReport", "ClassNeed", "CurvePoint", "RungReport"),
    "clipkit.adaptation.teaching": ("TeachingReport", "teach"),
    "clipkit.bulk_embedding.embed": ("EmbedOptions", "EmbedReport", "embed_source"),
    "clipkit.bulk_embedding.embedding_files": (
        "EmbeddingBlock",
        "EmbeddingFiles",
        "StoredEmbeddings",
        "open_embedding_files",
    ),
    "clipkit.data.image_texts": ("ImageTexts", "KnownTexts", "TextSources"),
    "clipkit.data.map_style": ("MapStyleDataset",),
    "clipkit.data.pair": ("PairLayout",),
    "clipkit.data.statistics": ("PairStatistics",),
    "clipkit.doctor.description": ("Compilation", "ImageSide", "ModelDescription", "TextSide"),
    "clipkit.doctor.diagnose": ("diagnose",),
    "clipkit.doctor.health": ("Diagnosis", "HealthCheck"),
    "clipkit.doctor.machine": ("diagnose_machine",),
    "clipkit.embeddings": (
        "EmbeddingArray",
        "cosine_similarity",
        "mix_embeddings",
        "normalize_rows",
        "top_k",
    ),
    "clipkit.encoder.encoder": ("Encoder",),
    "clipkit.encoder.image_embedding": ("EncodedBatch", "EncodingReport"),
    "clipkit.encoder.loading": ("compile_model", "load"),
    "clipkit.encoder.pool": ("EncoderPool",),
    "clipkit.encoder.spec": ("EncoderSpec",),
    "clipkit.encoder.text_embedding": ("UnknownTextWarning",),
    "clipkit.errors": (
        "CheckpointError",
        "ClipkitError",
        "ClipkitWarning",
        "DamagedLibraryError",
        "ImageReadError",
        "InputError",
        "LibraryBusyError",
        "LibraryError",
        "LostProcessError",
        "MissingExtraError",
        "NotIndexedError",
        "OfflineError",
        "PromptError",
        "SpaceMismatchError",
        "TrainingError",
    ),
    "clipkit.evaluation.audit.audit": ("AuditOptions", "audit"),
    "clipkit.evaluation.audit.report": (
        "Association",
        "AuditReport",
        "ColumnAudit",
        "Counterfactual",
        "DebiasResult",
        "Finding",
        "GroupAccuracy",
        "GroupClassification",
        "GroupSize",
        "QuerySkew",
        "RateGap",
        "SkewAtK",
    ),
    "clipkit.evaluation.audit.report_page": ("audit_page",),
    "clipkit.evaluation.card.card": ("make_model_card",),
    "clipkit.evaluation.card.origin": ("ModelOrigin",),
    "clipkit.evaluation.card.report": ("ModelCard", "ProbeAnswer", "ProbeResult"),
    "clipkit.evaluation.card.text": ("model_card_text",),
    "clipkit.evaluation.comparison": (
        "ComparedModel",
        "ComparisonReport",
        "MetricDifference",
        "compare",
    ),
    "clipkit.evaluation.evaluate": ("evaluate",),
    "clipkit.evaluation.options": ("EvaluationOptions",),
    "clipkit.evaluation.report": (
        "CalibrationResult",
        "ClassResult",
        "Confusion",
        "EvaluationReport",
        "LabelSetResult",
        "QueryResult",
        "SelectiveAccuracy",
        "TemplateResult",
    ),
    "clipkit.evaluation.speed": ("Speed",),
    "clipkit.explanation.drawing": ("draw_heat_map",),
    "clipkit.explanation.explain": ("explain",),
    "clipkit.explanation.heat_map": ("HeatMap",),
    "clipkit.inputs.augmentation": ("Augmentation",),
    "clipkit.inputs.crop_boxes": ("CropBox",),
    "clipkit.inputs.decoder": ("DecodedImage",),
    "clipkit.inputs.folders": ("LeftOut",),
    "clipkit.inputs.image_input": ("ImageInput",),
    "clipkit.inputs.preprocess": ("Preprocess",),
    "clipkit.inputs.thumbnails": ("render_thumbnail",),
    "clipkit.inputs.tokenizer": ("TextCutWarning", "TokenizedTexts"),
    "clipkit.inputs.truncated": ("CutOffImageWarning",),
    "clipkit.mapping.image_map": ("ImageMap", "MapOptions", "is_map_laid_out", "make_map"),
    "clipkit.mapping.viewer": ("MapViewer", "make_map_viewer"),
    "clipkit.metrics.calibration": ("ReliabilityBin",),
    "clipkit.metrics.comparison": ("Interval", "ItemValues"),
    "clipkit.models.known_models": ("ModelRecommendation",),
    "clipkit.models.listing": ("ModelListing", "list_models"),
    "clipkit.models.locate": ("fetch_model",),
    "clipkit.models.open_clip_towers": ("OpenClipTowers",),
    "clipkit.progress": ("Callbacks", "Progress", "StopTraining"),
    "clipkit.quantizer": ("EmbeddingQuantizer",),
    "clipkit.runs.adapt": ("adapt", "adapt_images", "fit_head"),
    "clipkit.runs.adapted_model": ("fit_model",),
    "clipkit.runs.preflight": ("check",),
    "clipkit.runs.preflight_report": ("PreflightReport",),
    "clipkit.runs.report": ("TrainingReport",),
    "clipkit.runs.run": ("choose_again", "train"),
    "clipkit.runs.sweep": ("SweepCheck", "check_sweep", "sweep"),
    "clipkit.runs.sweep_report": ("SweepReport", "SweepRow"),
    "clipkit.runtime.autotune": ("Trial",),
    "clipkit.runtime.base": ("Scoring",),
    "clipkit.runtime.bundle": ("Parity", "Refusal"),
    "clipkit.search.changes": ("FileState",),
    "clipkit.search.contact_sheet": ("FoundImage", "contact_sheet"),
    "clipkit.search.context": ("ContextOptions", "retrieve_context"),
    "clipkit.search.context_report": ("ContextImage", "ContextReport"),
    "clipkit.search.duplicates.calibration": ("DuplicateCalibration",),
    "clipkit.search.duplicates.groups": ("DuplicateGroup", "DuplicateReport"),
    "clipkit.search.duplicates.leaks": ("NearDuplicate",),
    "clipkit.search.export": ("ExportReport",),
    "clipkit.search.filters": ("FilterOptions",),
    "clipkit.search.indexing_estimate": ("IndexingEstimate", "RowCost", "estimate_indexing"),
    "clipkit.search.indexing_order": ("IndexingOrder",),
    "clipkit.search.library": ("PhotoLibrary",),
    "clipkit.search.listing": ("LibraryImage",),
    "clipkit.search.lookup": ("IndexedFiles",),
    "clipkit.search.query": ("Query", "QueryPart", "SearchQuery", "parse_query"),
    "clipkit.search.search": ("SearchHit", "SearchHits", "SearchOptions"),
    "clipkit.search.status": ("LibraryStatus",),
    "clipkit.search.store.milvus.ann_index": ("IndexKind",),
    "clipkit.search.store.records": ("ImageFile",),
    "clipkit.search.store_load": ("send_embeddings",),
    "clipkit.search.store_sync": ("StoreReport",),
    "clipkit.search.stored_embeddings": ("LibraryEmbeddings",),
    "clipkit.search.sync": ("SyncReport",),
    "clipkit.search.sync_options": ("SyncOptions",),
    "clipkit.search.sync_progress": ("SyncProgress",),
    "clipkit.search.thumbnails": ("ThumbnailCache",),
    "clipkit.training.config": (
        "ComputeConfig",
        "LossConfig",
        "OptimizerConfig",
        "RunConfig",
        "WatchConfig",
    ),
    "clipkit.training.data_config": ("DataConfig", "SourceConfig"),
    "clipkit.training.loss_function": ("LossFunction",),
    "clipkit.training.model_config": ("ModelConfig",),
    "clipkit.version": ("__version__",),
    "clipkit.zero_shot.calibration": ("Calibration",),
    "clipkit.zero_shot.classifier": ("ZeroShotClassifier",),
    "clipkit.zero_shot.label_scores": ("ClassifiedBatch", "LabelScore"),
    "clipkit.zero_shot.labels": ("EqualLabelsWarning",),
    "clipkit.zero_shot.own_labels": ("classify_each",),
    "clipkit.zero_shot.templates": ("TEMPLATE_SETS",),
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> object:
    """Import a public name from its module when it is first asked for."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'clipkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value  # next time without this function
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
