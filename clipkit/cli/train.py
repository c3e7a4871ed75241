"""``clipkit train``: train a dual encoder, from scratch or from any model."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from clipkit.cli.terminal import note, progress_bar
from clipkit.errors import InputError, LostProcessError
from clipkit.progress import Callbacks, Progress

if TYPE_CHECKING:
    from clipkit.runs.preflight_report import PreflightReport
    from clipkit.runs.sweep import SweepCheck
    from clipkit.runs.sweep_report import SweepReport
    from clipkit.training.config import RunConfig

_EPILOG = """\
examples:
  clipkit train run.toml --check
  clipkit train run.toml --set optimizer.lr=1e-5 --set output=runs/slow
  clipkit train run.toml --sweep optimizer.lr=1e-6,1e-5,1e-4 --sweep seed=0,1
  clipkit train run.toml --extend --set compute.epochs=10
  clipkit train --finalize runs/slow --set watch.max_forgetting=0.1
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train a model on your own pairs of images and texts",
        description=(
            "Train a dual encoder as RUN.toml says: from scratch or from any model. The same "
            "command resumes a run that was interrupted. With several processes: torchrun "
            "--nproc-per-node=4 -m clipkit train RUN.toml"
        ),
        epilog=_EPILOG,
    )
    parser.add_argument(
        "config",
        type=Path,
        metavar="RUN.toml",
        help="what to train on what; with --finalize the directory of a run",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="replace a setting, as in --set optimizer.lr=1e-5; may be given several times",
    )
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="KEY=VALUE,VALUE",
        help="train a run for each value, one after another, and compare them, as in --sweep "
        "optimizer.lr=1e-6,1e-5; given several times, for each combination",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="look at the data, time a few steps, warn of what would go wrong; train nothing",
    )
    parser.add_argument(
        "--extend",
        action="store_true",
        help="go on with a run that has ended or was interrupted by more epochs or steps, other "
        "pairs or another schedule; with --check say what that would change",
    )
    parser.add_argument(
        "--finalize",
        action="store_true",
        help="choose the final weights of a run that has ended once more, by other settings, as in "
        "--finalize runs/mine --set watch.max_forgetting=0.1; train nothing",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train, or check, and print the report.

    Args:
        arguments: The parsed command line.

    Returns:
        0 when the run is finished; 130 when it was interrupted and can be resumed; 1 when a run of
        a sweep has failed.
    """
    if arguments.finalize:
        return _finalize(arguments)
    if not arguments.config.is_file():
        raise InputError(f"there is no file {arguments.config}: give the RUN.toml of a run")
    # Imported here, so that the other commands start without torch.
    from clipkit.training.config import RunConfig

    callbacks = Callbacks(say=_say, warn=_warn, progress_for=_bar)
    config = RunConfig.from_toml(arguments.config, arguments.overrides, say=callbacks.say)
    if arguments.sweep:
        return _sweep(arguments, config, callbacks)
    if arguments.check:
        from clipkit.runs.preflight import check

        return _print(arguments, check(config, extend=arguments.extend, callbacks=callbacks))
    return _train(arguments, config, callbacks)


def _train(arguments: argparse.Namespace, config: "RunConfig", callbacks: Callbacks) -> int:
    from clipkit.runs.report import report_lines
    from clipkit.runs.run import train

    is_first = _is_first_process()
    try:
        report = train(config, extend=arguments.extend, callbacks=callbacks)
    except LostProcessError:
        if is_first:
            raise
        return 2  # of the processes that are left one tells it
    if is_first:
        if arguments.json:
            print(_json(report.to_dict()))
        elif report.is_finished:
            print("\n".join(report_lines(report)))
        if not report.is_finished:
            _say(
                f"stopped after step {report.step} of {report.num_steps}; the same command "
                "resumes the run"
            )
    return 0 if report.is_finished else 130


def _is_first_process() -> bool:
    """Return whether this process tells what happens; as one of torchrun's it heeds SIGTERM."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        signal.signal(signal.SIGTERM, _end_unless_failing)
    return os.environ.get("RANK", "0") == "0"


def _end_unless_failing(number: int, frame: FrameType | None) -> None:
    """End this process at SIGTERM, unless it ends by an error already.

    torchrun sends SIGTERM to the others as soon as it sees that one process has ended. By then they
    mostly have their own error, which is to be told before they go.
    """
    if sys.exc_info()[0] is None:
        raise SystemExit(128 + number)


def _finalize(arguments: argparse.Namespace) -> int:
    from clipkit.runs.report import report_lines
    from clipkit.runs.run import choose_again

    if arguments.sweep:
        raise InputError("--sweep is for runs to come, --finalize for one that has ended")
    if arguments.check:
        raise InputError("--check is for a run to come, --finalize for one that has ended")
    if arguments.extend:
        raise InputError("--extend trains, --finalize trains nothing: give one after the other")
    callbacks = Callbacks(say=_say, warn=_warn, progress_for=_bar)
    report = choose_again(arguments.config, arguments.overrides, callbacks=callbacks)
    print(_json(report.to_dict()) if arguments.json else "\n".join(report_lines(report)))
    return 0


def _sweep(arguments: argparse.Namespace, config: "RunConfig", callbacks: Callbacks) -> int:
    """Train, or check, every run of a sweep; return 0, 1 or 130 as run does."""
    from clipkit.runs.sweep import check_sweep, sweep
    from clipkit.runs.sweep_names import parse_sweeps

    if arguments.extend:
        raise InputError(
            "--extend continues one run, and --sweep trains several: give it that run's own "
            "run.toml, as in  clipkit train OUTPUT/lr=1e-05/run.toml --extend --set "
            "compute.epochs=10"
        )
    values = parse_sweeps(arguments.sweep)
    if arguments.check:
        return _print(arguments, check_sweep(config, values, callbacks=callbacks))
    report = sweep(config, values, callbacks=callbacks)
    _print(arguments, report)
    if report.is_stopped:
        _say("stopped; the same command resumes the sweep")
        return 130
    return int(report.has_failed)


def _print(
    arguments: argparse.Namespace, report: "PreflightReport | SweepCheck | SweepReport"
) -> int:
    print(_json(report.to_dict()) if arguments.json else "\n".join(report.lines()))
    return 0


def _say(line: str) -> None:
    note(f"clipkit: {line}")


def _warn(line: str) -> None:
    _say(f"warning: {line}")


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=2)  # in ASCII: a file's name may be no UTF-8


def _bar(label: str) -> AbstractContextManager[Progress]:
    return progress_bar(label, unit="step" if label == "training" else "image")
