"""The recipe's commands: ``python -m recipe fetch|features|train|evaluate|seeds|latency|build``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from clipkit.errors import ClipkitError
from recipe.build import TRUNK_VERSION, Workshop, build_checkpoint
from recipe.captioned_photographs import fetch_captioned_photographs
from recipe.evaluation import evaluate_checkpoint, report_as_json, report_as_text
from recipe.latency import measure_latency
from recipe.packages import PACKAGES, Cache, RecipeError
from recipe.seeds import evaluate_seeds
from recipe.settings import read_settings
from recipe.validation import read_validation

_MEASURED_SEEDS = range(4)
CHECKPOINT_FOLDER = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    options = _parser().parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing but the pinned packages is ever downloaded
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    cache = Cache(options.cache.resolve())
    started = time.monotonic()
    try:
        for command in _COMMANDS[options.command]:
            command(options, cache)
    except (RecipeError, ClipkitError) as error:
        _say(f"recipe: {error}")
        return 1
    _say(f"{options.command}: {time.monotonic() - started:.0f} s")
    return 0


def _fetch(options: argparse.Namespace, cache: Cache) -> None:
    for package in PACKAGES:
        cache.fetch(package)
    fetch_captioned_photographs(cache)
    read_validation(cache)
    _say(f"all packages are in {cache.root}")


def _features(options: argparse.Namespace, cache: Cache) -> None:
    Workshop(cache, options.trunk, read_settings())


def _train(options: argparse.Namespace, cache: Cache) -> None:
    settings = read_settings()
    seed = settings.seed if options.seed is None else options.seed
    build_checkpoint(options.folder, cache, settings, version=options.trunk, seed=seed)
    _say(f"wrote {options.folder}")


def _evaluate(options: argparse.Namespace, cache: Cache) -> None:
    former = None if options.former is None else options.former.resolve()
    report = evaluate_checkpoint(options.folder.resolve(), cache, former=former)
    _write(report_as_json(report) if options.json else report_as_text(report))


def _seeds(options: argparse.Namespace, cache: Cache) -> None:
    workshop = Workshop(cache, options.trunk, read_settings())
    _write("\n".join(evaluate_seeds(workshop, _MEASURED_SEEDS)))


def _latency(options: argparse.Namespace, cache: Cache) -> None:
    latency = measure_latency(options.folder.resolve())
    _write(f"one picture {latency.image_milliseconds:.1f} ms")
    _write(f"one text {latency.text_milliseconds:.1f} ms")


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


_COMMANDS = {
    "fetch": (_fetch,),
    "features": (_fetch, _features),
    "train": (_fetch, _train),
    "evaluate": (_fetch, _evaluate),
    "seeds": (_fetch, _seeds),
    "latency": (_latency,),
    "build": (_fetch, _train, _evaluate, _latency),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recipe", description=__doc__)
    parser.add_argument("command", choices=sorted(_COMMANDS))
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "clipkit-starter",
        help="folder for packages, maps and features, about 14 GB (default: %(default)s)",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=CHECKPOINT_FOLDER,
        help="the checkpoint to write or to measure (default: %(default)s)",
    )
    parser.add_argument("--trunk", type=int, choices=(0, 2), default=TRUNK_VERSION)
    parser.add_argument(
        "--former", type=Path, help="evaluate: another checkpoint to compare everyday searches with"
    )
    parser.add_argument("--seed", type=int, help="instead of the one in RUN.toml")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
