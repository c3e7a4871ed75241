"""``clipkit embed``: a collection of any size to files of embeddings, by one process or by many."""

import argparse
import shlex
import sys
from contextlib import redirect_stdout
from typing import get_args

from clipkit.bulk_embedding.embed import BulkEngine, EmbedOptions, EmbedReport, embed_source
from clipkit.bulk_embedding.part_files import Layout
from clipkit.cli import values
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.report_lines import skipped_lines
from clipkit.cli.terminal import note, progress_bar, to_json, warn
from clipkit.plain_text import visible
from clipkit.progress import Callbacks

_EPILOG = """\
examples:
  clipkit embed ~/Pictures embeddings
  clipkit embed "s3://bucket/laion/{00000..00999}.tar" s3://bucket/embeddings --engine ray
  clipkit embed photos.parquet embeddings --engine ray --gpus-per-worker .5
  clipkit embed photos embeddings --layout clip-retrieval
  clipkit index ~/Pictures --from embeddings

OUT holds embeddings.json, which names the model, part-00000.parquet and so on with the columns id,
vector (16 bits a number), digest, size and mtime_ns, and errors/ with a reason for each image that
could not be read. Parts appear whole or not at all, and the same images give the same bytes
whatever the number of workers. Run the same command again to resume, or to embed what is new.

--engine ray needs the extra ray; $RAY_ADDRESS or --ray-address names a cluster. Its machines must
reach SOURCE and OUT by the same names, and have the model.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "embed",
        help="embed a large collection into Parquet files, on one machine or many",
        description="Embed all images of a folder, a list, a table or shards into Parquet files "
        "that other programs read, and that clipkit index takes vectors from.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "source",
        type=values.path,
        metavar="SOURCE",
        help="a folder; a list (.txt, a path a line); a table (.csv, .tsv, .jsonl, .parquet) of "
        'paths or, in Parquet, of files; or webdataset shards ("data-{000..099}.tar"): a path, or '
        "a URL that fsspec opens",
    )
    parser.add_argument(
        "out",
        type=values.path,
        metavar="OUT",
        help="a new or empty folder, or that of an earlier run; or a URL that fsspec writes to",
    )
    parser.add_argument(
        "--engine",
        dest="bulk_engine",
        choices=get_args(BulkEngine),
        default="local",
        help="local: this process, on all its cores; ray: Ray Data's workers",
    )
    group = parser.add_argument_group("Ray")
    group.add_argument(
        "--workers",
        type=values.whole_number(1),
        metavar="N",
        help="how many workers, each with the model (default: one for four cores, or by "
        "--gpus-per-worker)",
    )
    group.add_argument(
        "--gpus-per-worker",
        type=values.number(0),
        default=0.0,
        metavar="X",
        help="how much of a GPU each worker has: 1, or .5 for two on one (default: 0)",
    )
    group.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help='of a cluster: "auto", or HOST:PORT (default: Ray is started here, and ended)',
    )
    parser.add_argument(
        "--part-size",
        type=values.whole_number(1),
        metavar="N",
        help="images a file, and of a kill the most that a worker loses; a shard is always one "
        "file (default: 4096)",
    )
    parser.add_argument(
        "--layout",
        choices=get_args(Layout),
        help="parquet (default), or clip-retrieval: img_emb/*.npy and metadata/*.parquet, as "
        "autofaiss reads them",
    )
    parser.add_argument(
        "--image-column",
        default="",
        metavar="NAME",
        help="column of a table with the images (default: filepath, file_name, image or similar)",
    )
    parser.add_argument(
        "--allow-urls",
        action="store_true",
        help="fetch what a list or a table names by addresses (http://, s3:// and others)",
    )
    parser.add_argument(
        "--retry-errors",
        action="store_true",
        help="try files again that could not be read by an earlier run",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.add_argument("--strict", action="store_true", help="exit 1 if an image was skipped")
    add_model_options(parser, engine="--runtime")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Embed and report.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if a shard could not be got at, or an image was skipped and --strict was given; 130
        after Ctrl-C.
    """
    options = EmbedOptions(
        engine=arguments.bulk_engine,
        workers=arguments.workers,
        gpus_per_worker=arguments.gpus_per_worker,
        ray_address=arguments.ray_address,
        part_size=arguments.part_size,
        layout=arguments.layout,
        image_column=arguments.image_column,
        allow_urls=arguments.allow_urls,
        retry_errors=arguments.retry_errors,
    )
    if arguments.precision == "auto":
        arguments.precision = "fastest"  # half a minute of measuring pays off over many images
    encoder = load_encoder(arguments, cache_texts=False)
    callbacks = Callbacks(say=note, warn=warn, progress_for=progress_bar)
    try:
        # Ray tells of killed workers on stdout, where programs read the report.
        with redirect_stdout(sys.stderr):
            report = embed_source(
                arguments.source, arguments.out, encoder, options=options, callbacks=callbacks
            )
    except KeyboardInterrupt:
        command = f"clipkit embed {shlex.quote(arguments.source)} {shlex.quote(arguments.out)}"
        note(f"interrupted: whole parts are kept; to resume, run  {command}  with the same options")
        return 130
    _print_report(report, as_json=arguments.json)
    has_skipped = report.num_unread or report.skipped
    return 1 if report.num_failed or (has_skipped and arguments.strict) else 0


def _print_report(report: EmbedReport, *, as_json: bool) -> None:
    if as_json:
        print(to_json(report.to_dict()))
    else:
        print(
            f"{visible(report.folder)}: {report.num_embedded} embedded, {report.num_before} there "
            f"before, {report.num_unread} unreadable"
        )
    for line in skipped_lines([*report.skipped, *report.unread]):
        note(line)
    if report.num_unread > len(report.unread):
        note(f"all reasons are in {report.folder}/errors")
    if report.num_changed:
        note(f"{report.num_changed} of them had changed: of each the last vector counts")
    if report.num_retried:
        parts = "part" if report.num_retried == 1 else "parts"
        note(f"{report.num_retried} {parts} done again: a worker was lost at them")
