"""The diagnosis of a model: its files, its settings, and what it computes on this machine."""

from collections.abc import Iterator
from pathlib import Path

from clipkit.doctor.behaviour import check_behaviour
from clipkit.doctor.description import describe_model
from clipkit.doctor.golden import (
    check_bundle_files,
    check_golden,
    check_other_precisions,
    golden_parity,
)
from clipkit.doctor.health import Diagnosis, HealthCheck, has_problem
from clipkit.doctor.published import check_published
from clipkit.doctor.settings import check_logit_scale, check_standards, check_texts
from clipkit.doctor.weights import check_weights_file, check_weights_values
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.engines import Engine, fits_compiled, open_encoder
from clipkit.errors import CheckpointError, OfflineError
from clipkit.models.locate import CheckpointFiles, locate
from clipkit.models.open_clip_config import read_config
from clipkit.models.sources import (
    CONFIG_NAME,
    AdapterSource,
    DirectorySource,
    FileSource,
    Source,
    resolve_source,
)
from clipkit.runtime.cache import find_compiled, remembered_refusal


def diagnose_model(
    name: str | Path, *, device: str = "auto", precision: str = "auto", engine: Engine = "auto"
) -> Diagnosis:
    """Check a model: first its files, then, if those are whole, what is computed with them.

    Args:
        name: A model, as for :func:`clipkit.load`.
        device: As for :func:`clipkit.load`.
        precision: As for :func:`clipkit.load`.
        engine: As for :func:`clipkit.load`.

    Returns:
        The diagnosis; without a description where the model cannot be opened.

    Raises:
        InputError: If device, precision or engine do not fit.
        CheckpointError: If there is no such model.
        OfflineError: If weights would have to be fetched and there is no network.
        MissingExtraError: If the model needs torch and torch is not installed.
    """
    source = resolve_source(name)
    directory = find_compiled(source)
    # Beside a compiled model lies all of its checkpoint, so that open_clip need not be installed.
    is_whole = directory is not None and fits_compiled(engine, device, precision)
    checks: list[HealthCheck] = []
    try:
        files = locate(
            DirectorySource(source.name, directory) if directory and is_whole else source
        )
        checks += _file_checks(source, files, directory)
        if has_problem(checks):
            checks.append(_unseen(source))
            return Diagnosis(source.name, "model", tuple(checks))
        encoder = open_encoder(
            source,
            engine=engine,
            device=device,
            precision=precision,
            cache_dir=None,
            text_cache=None,
        )
        golden = None if directory is None else golden_parity(encoder, directory)
        description = describe_model(encoder, files, directory, golden)
    except OfflineError:
        raise
    except CheckpointError as error:
        checks.append(HealthCheck("opening the model", source.name, str(error), "problem"))
        return Diagnosis(source.name, "model", tuple(checks))
    checks += _setting_checks(source, files, encoder)
    if directory is not None:
        checks.append(check_golden(encoder, directory, golden))
        checks += check_other_precisions(source, encoder, directory)
    checks += check_behaviour(source, files, encoder)
    return Diagnosis(source.name, "model", tuple(checks), description)


def _file_checks(
    source: Source, files: CheckpointFiles, directory: Path | None
) -> Iterator[HealthCheck]:
    if files.weights is not None:
        is_local = isinstance(source, AdapterSource | DirectorySource | FileSource)
        whole = list(check_weights_file(files.weights, None if is_local else source.name))
        yield from whole
        if not has_problem(whole):
            yield from check_weights_values(files.weights)
    if directory is not None:
        yield check_bundle_files(directory)
        return
    refusal = remembered_refusal(source)
    if refusal is not None:
        yield HealthCheck(
            "compiled files", source.name, f"it cannot be compiled: {refusal}", "remark"
        )
    else:
        yield HealthCheck(
            "golden vectors",
            source.name,
            "there are no golden vectors to compare with before it is compiled",
            "remark",
        )


def _unseen(source: Source) -> HealthCheck:
    return HealthCheck(
        "settings and embeddings",
        source.name,
        "not looked at: they tell nothing while the files are wrong",
        "remark",
        "run it again when the files are right",
    )


def _setting_checks(
    source: Source, files: CheckpointFiles, encoder: Encoder
) -> Iterator[HealthCheck]:
    yield from _unsaid_checks(source)
    yield from check_published(source, files)
    yield check_standards(encoder.preprocess, source.name)
    yield from check_texts(files)
    yield check_logit_scale(encoder.scoring, source.name)


def _unsaid_checks(source: Source) -> Iterator[HealthCheck]:
    """Yield remarks on settings that nothing states."""
    if isinstance(source, FileSource) and not source.architecture.endswith(
        ("-quickgelu", ".json")  # a JSON file says "quick_gelu" where it is
    ):
        yield HealthCheck(
            "activation",
            str(source.path),
            "a weights file does not say its activation",
            "remark",
            "if it was trained from weights with QuickGELU, such as OpenAI's, call it "
            f'"{source.architecture}-quickgelu={source.path}"',
        )
    if isinstance(source, DirectorySource):
        config = source.directory / CONFIG_NAME
        # Without it the directory is in transformers' layout, which never leaves these out.
        if config.is_file() and not read_config(config).get("preprocess_cfg"):
            yield HealthCheck(
                "preprocess",
                str(config),
                f"{config} has no preprocess_cfg",
                "remark",
                "mean, std, interpolation and resize mode are open_clip's defaults, which need not "
                "be those it was trained with",
            )
