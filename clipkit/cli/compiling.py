"""Compiling a model once, before a command that profits: every later one starts in a second."""

import argparse
from importlib.util import find_spec

from clipkit.cli.progress import note
from clipkit.errors import CheckpointError, OfflineError
from clipkit.loading import compile_model, fits_compiled
from clipkit.models.sources import resolve_source
from clipkit.runtime.compiled import find_compiled, remembered_refusal


def compile_if_it_pays(arguments: argparse.Namespace) -> None:
    """Compile the model of a command, unless that is done, cannot be done, or was not wanted.

    Loading torch and open_clip takes longer than many a command, so it pays for any that runs on
    the CPU. What goes wrong is a note: the model runs on torch as well.

    Args:
        arguments: With the options of ``add_model_options``.
    """
    if not fits_compiled(arguments.engine, arguments.device, arguments.precision):
        return
    source = resolve_source(arguments.model)
    if find_compiled(source) is not None or remembered_refusal(source) is not None:
        return
    if not (find_spec("torch") and find_spec("onnxscript")):
        return  # loading it says what is missing
    if arguments.device == "auto" and _has_accelerator():
        return

    note(
        f"compiling {source.name}, once: from then on it starts in about a second, without torch "
        "(--engine torch does without)"
    )
    try:
        compile_model(arguments.model, progress=lambda step: note(f"  {step}"))
    except OfflineError:
        return  # loading it says what is missing
    except CheckpointError as error:
        note(f"not compiled, running on torch: {error}")


def _has_accelerator() -> bool:
    from clipkit.runtime.torch_device import choose_device

    return choose_device("auto").type != "cpu"
