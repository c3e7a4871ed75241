"""clipkit.make_model_card: what a base model is, what it can do and what it cannot."""

from pathlib import Path

from clipkit.encoder.encoder import Encoder
from clipkit.errors import CheckpointError, InputError
from clipkit.evaluation.card.measure import battery, measure_probes
from clipkit.evaluation.card.origin import ModelOrigin, read_origin
from clipkit.evaluation.card.report import ModelCard
from clipkit.models.public_name import public_name
from clipkit.models.sources import resolve_source
from clipkit.progress import Callbacks
from clipkit.version import environment

_PACKAGES = ("clipkit", "numpy", "onnxruntime", "torch", "open_clip_torch", "pillow", "tokenizers")


def make_model_card(encoder: Encoder, *, callbacks: Callbacks | None = None) -> ModelCard:
    """Return a model card: small probes of what a model can do, and what is known of its origin.

    Each probe is a forced choice among prompts that differ in one attribute, on drawn images and
    photographs that come with clipkit. The verdicts follow from exact permutation tests, corrected
    for their number: of models without any of the abilities at most one card in 20 claims one.

    Args:
        encoder: The model.
        callbacks: For progress. Embedding about 900 images and 1300 prompts takes most of the time.

    Returns:
        The card. :func:`clipkit.model_card_text` writes it as a README.md.

    Raises:
        InputError: If weights were changed since the model was loaded.
        CheckpointError: If clipkit was installed without its photographs.
    """
    encoder.check_weights()
    probes = measure_probes(encoder, battery(), callbacks or Callbacks())
    return ModelCard(
        model=public_name(encoder.name).removeprefix("local-dir:"),
        space_id=encoder.space_id,
        facts=_facts(encoder),
        origin=_origin(encoder),
        probes=probes,
    )


def _facts(encoder: Encoder) -> dict[str, str]:
    facts = {"embeddings": f"{encoder.embed_dim} dimensions, space {encoder.space_id}"}
    preprocess = getattr(encoder, "preprocess", None)
    if preprocess is not None:
        height, width = preprocess.size
        facts["images"] = f"{height} x {width} pixels, {preprocess.interpolation}"
        facts["texts"] = f"up to {encoder.context_length} tokens"
    scoring = encoder.scoring
    bias = "" if scoring.logit_bias is None else f" {scoring.logit_bias:+.4g}"
    facts["logits"] = f"{scoring.logit_scale:.4g} x cosine{bias}"
    facts["engine"] = f"{encoder.engine} on {encoder.device} in {encoder.precision}"
    facts["made with"] = environment(_PACKAGES)
    return facts


def _origin(encoder: Encoder) -> ModelOrigin:
    try:
        spec = encoder.spec
        cache_dir = None if spec.cache_dir is None else Path(spec.cache_dir)
        return read_origin(resolve_source(spec.name, cache_dir=cache_dir), cache_dir=cache_dir)
    except (InputError, CheckpointError):  # not made by load(), or moved away since
        return ModelOrigin()
