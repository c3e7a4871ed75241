"""Autotuning of compiled models: the engines and precisions that come close, timed once.

ONNX Runtime is always there. OpenVINO is tried where it is installed.
"""

import dataclasses
import functools
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipkit.errors import MissingExtraError
from clipkit.inputs.preprocess import Preprocess
from clipkit.models.locate import locate
from clipkit.models.sources import DirectorySource
from clipkit.runtime.autotune import Trial, choose_fastest, remembered_trial, trial_key
from clipkit.runtime.bundle import GOLDEN_VECTORS, PRECISIONS, Bundle, graph_name
from clipkit.runtime.onnx_runtime import OnnxRuntime
from clipkit.runtime.openvino_runtime import OPENVINO_PRECISIONS, OpenVinoRuntime

_BATCH = 8  # images, as an indexing run gives them to the towers


class CompiledChoice(NamedTuple):
    """What a compiled model runs on: its image tower at least."""

    engine: str  # "onnx" or "openvino"
    precision: str

    def __str__(self) -> str:
        return f"{self.precision} on {self.engine}"


def autotune_compiled(
    directory: Path, engine: str = "auto", *, may_measure: bool = True
) -> CompiledChoice:
    """Return what a compiled model is fastest on, as measured once on this machine.

    Args:
        directory: A compiled bundle.
        engine: "onnx", "openvino" or "auto": both, as far as they are installed.
        may_measure: Whether there is time for it; without, what was not measured yet is taken to be
            no faster.

    Returns:
        float32, on ONNX Runtime if that may be, or what is faster and has embeddings close enough
        to those in float32 to be chosen automatically.

    Raises:
        CheckpointError: If the directory is no whole bundle.
        MissingExtraError: If the engine is not installed.
    """
    if engine == "openvino" and not installed_openvino():
        raise MissingExtraError("openvino", "The openvino engine")
    bundle = Bundle.read(directory)
    choices = {str(choice): choice for choice in automatic_choices(bundle, engine)}
    if len(choices) == 1:
        return next(iter(choices.values()))
    trial = compiled_trial(bundle, engine)
    if trial is None or trial.chosen not in choices:
        if not may_measure:
            return next(iter(choices.values()))
        trial = _try(bundle, directory, choices)
    return choices[trial.chosen]


def compiled_trial(bundle: Bundle, engine: str = "auto") -> Trial | None:
    """Return what was measured for a bundle on this machine; None if nothing was."""
    return remembered_trial(
        _key(bundle, [str(choice) for choice in automatic_choices(bundle, engine)])
    )


def open_compiled(directory: Path, choice: CompiledChoice) -> OnnxRuntime:
    """Open a compiled bundle.

    Args:
        directory: The bundle.
        choice: What it is to run on.

    Returns:
        Its towers.

    Raises:
        CheckpointError: If the directory is no whole bundle.
        InputError: If the bundle does not have the precision.
    """
    if choice.engine == "openvino":
        return OpenVinoRuntime(directory, choice.precision)
    return OnnxRuntime(directory, choice.precision)


def automatic_choices(bundle: Bundle, engine: str = "auto") -> list[CompiledChoice]:
    """Return what may be chosen automatically if it is fast, the safest first."""
    has_fixed = graph_name("image", "int8.fixed") in bundle.files
    if engine == "openvino":
        return [
            CompiledChoice(engine, precision)
            for precision in OPENVINO_PRECISIONS
            if precision != "int8" or has_fixed
        ]
    close = [
        precision
        for precision in PRECISIONS
        if precision in bundle.precisions
        and (precision == PRECISIONS[0] or bundle.precisions[precision].is_close)
    ]
    choices = [CompiledChoice("onnx", precision) for precision in close]
    if engine == "auto" and installed_openvino():
        choices.append(CompiledChoice("openvino", "bf16"))
        if has_fixed:
            choices.append(CompiledChoice("openvino", "int8"))
    return choices


def _try(bundle: Bundle, directory: Path, choices: dict[str, CompiledChoice]) -> Trial:
    """Time the choices and compare those that were not compared when the bundle was compiled."""

    @functools.cache
    def runtime(name: str) -> OnnxRuntime:
        return open_compiled(directory, choices[name])

    def check(name: str) -> str | None:
        if choices[name].engine == "onnx":
            return None
        return _why_too_far(runtime(name), bundle, directory)

    def embed(name: str) -> object:
        return runtime(name).image_features(pixel_values)

    generator = np.random.default_rng(0)
    pixel_values = generator.standard_normal((_BATCH, 3, *bundle.image_size), dtype=np.float32)
    return choose_fastest(
        {name: functools.partial(embed, name) for name in choices},
        key=_key(bundle, list(choices)),
        check=check,
    )


def _why_too_far(runtime: OnnxRuntime, bundle: Bundle, directory: Path) -> str | None:
    """Return why the images' embeddings are too far from the original's; None if they are close.

    They are compared with the golden vectors, so the original is not needed.
    """
    # Only here: what was chosen before is looked up at every start, in which nothing is compared.
    from clipkit.runtime.parity import (
        ReferenceEmbeddings,
        compare,
        embed_images,
        reference_digest,
        reference_images,
    )

    if bundle.reference != reference_digest():
        return "it was compiled with other reference images: compile it again"
    golden = ReferenceEmbeddings.read(directory / GOLDEN_VECTORS)
    files = locate(DirectorySource(bundle.name, directory))
    preprocess = Preprocess.from_config(files.preprocess_cfg, bundle.image_size)
    pixel_values = np.stack([preprocess.pixel_values(path) for path in reference_images()])
    found = dataclasses.replace(golden, images=embed_images(runtime, pixel_values))
    parity = compare(golden, found)
    is_good = parity.is_close and parity.passes(runtime.precision)
    return None if is_good else f"too far from the original: {parity}"


def _key(bundle: Bundle, choices: list[str]) -> str:
    facts = [*sorted(bundle.versions.values()), *installed_openvino(), *choices]
    return trial_key("compiled image tower", bundle.space_id, *facts)


@functools.cache
def installed_openvino() -> list[str]:
    """Return which OpenVINO is installed, by the name of its metadata; none: [].

    Reading the metadata takes 30 ms, which every start of a compiled model would take longer.
    """
    spec = find_spec("openvino")
    if spec is None or spec.origin is None:
        return []
    found = sorted(Path(spec.origin).parents[1].glob("openvino-2*.dist-info"))
    return [found[-1].name if found else "openvino"]
