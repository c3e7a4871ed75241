"""Published numbers of real CLIP checkpoints, beside what clipkit gives.

Run as  python benchmarks/golden.py --clip-data FOLDER  with clipkit[torch] installed. FOLDER holds
the images and stored vectors of golden_numbers.py's sources:

    CLIP's and others' images  ivy_cat.jpg, franz-kafka.jpg, fastembed_image.jpeg
    numpyclip/                 of 99991/NumPyCLIP data/: CLIP.png, images/, labels.csv, and
                               image_features.npy and text_features.npy, raw
    rclip/                     of yurijmikhalevich/rclip tests/e2e: images/, and as expected/ its
                               output_snapshots without "test_"
    Findit-AI+siglip2-naflex/  of Findit-AI/siglip2-naflex tests/fixtures; also beside FOLDER

It may lie in a "golden" of the folder given. Weights come from the hub's cache on this machine;
--fetch gets those that are missing. What needs no weights is checked first.
"""

import argparse
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from golden_line import HEADER, NO_WEIGHTS, Line, summarize
from golden_models import (
    Pictures,
    compare,
    compare_features,
    count_labelled,
    labelled_title,
    load_exact,
    without_features,
    without_numbers,
)
from golden_numbers import CATS, GOLDEN, OPTIONS, POKEMON, RCLIP_MODEL, VIT_B_32
from golden_rclip import check_sums, compare_results, read_results, without_scores
from golden_stored import (
    SIGLIP2,
    all_images,
    all_texts,
    check_against_each_other,
    check_clip_features,
    check_pixels,
    check_siglip2,
    check_tokens,
)

import clipkit
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ClipkitError
from clipkit.models.sources import resolve_source

MODELS = tuple(dict.fromkeys([*(one.model for one in GOLDEN), RCLIP_MODEL]))


def main() -> None:
    """Check, compare, print."""
    arguments = _arguments()
    if not arguments.fetch:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client
    folder: Path = arguments.clip_data
    folder = folder / "golden" if (folder / "golden").is_dir() else folder
    given = {CATS: arguments.cats_image, POKEMON: arguments.pokemon_image}
    pictures = Pictures(folder, {name: path for name, path in given.items() if path})
    places = dict(place.split("=", 1) for place in arguments.place)
    lines = []
    print(HEADER)
    for line in _all_lines(pictures, _chosen(arguments.models), places, fetch=arguments.fetch):
        print(line, flush=True)
        lines.append(line)
    print(summarize(lines))


def check_inputs(folder: Path) -> Iterator[Line]:
    """Yield what can be checked without weights."""
    inside, beside = folder / SIGLIP2, folder.parent / SIGLIP2
    siglip2 = inside if inside.is_dir() else beside
    yield check_tokens(all_texts(folder, siglip2))
    yield from check_pixels(all_images(folder, siglip2))
    yield from check_clip_features(folder)
    if siglip2.is_dir():
        yield from check_siglip2(siglip2)
    yield from check_against_each_other(GOLDEN)
    yield from check_sums(read_results(folder))


def compare_model(name: str, pictures: Pictures, encoder: Encoder | str) -> Iterator[Line]:
    """Yield the published numbers of a model.

    Args:
        name: The model.
        pictures: The images.
        encoder: The model's, or why there is none.
    """
    for golden in GOLDEN:
        if golden.model == name:
            image = pictures.path(golden.image) if golden.image else None
            reason = encoder if isinstance(encoder, str) else image
            if isinstance(encoder, str) or isinstance(image, str):
                yield without_numbers(golden, str(reason))
            else:
                yield compare(golden, encoder, image)
    if name == VIT_B_32:
        if isinstance(encoder, str):
            yield from without_features(pictures.folder, encoder)
            yield Line(labelled_title(), [100], encoder)
        else:
            yield from compare_features(encoder, pictures.folder)
            yield count_labelled(encoder, pictures.folder)
    if name == RCLIP_MODEL:
        results = read_results(pictures.folder)
        if isinstance(encoder, str):
            yield from without_scores(results, encoder)
        else:
            yield from compare_results(results, encoder, pictures.folder)


def open_model(name: str, *, fetch: bool) -> Encoder | str:
    """Return a model's encoder, or why there is none.

    Args:
        name: The model.
        fetch: Whether what is missing is fetched from the hub.
    """
    is_on_hub = name in MODELS
    here = {listing.name for listing in clipkit.list_models() if listing.is_here}
    if is_on_hub and not fetch and name not in here:
        return NO_WEIGHTS
    try:
        return load_exact(name)
    except ClipkitError as error:
        return f"DOES NOT LOAD: {error}"


def _all_lines(
    pictures: Pictures, models: list[str], places: Mapping[str, str], *, fetch: bool
) -> Iterator[Line]:
    yield from check_inputs(pictures.folder)
    for name in models:
        yield from compare_model(name, pictures, open_model(places.get(name, name), fetch=fetch))


def _chosen(names: list[str] | None) -> list[str]:
    """Return the models to compare, as the table spells them."""
    if names is None:
        return list(MODELS)
    chosen = [resolve_source(name).name for name in names]
    unknown = [name for name in chosen if name not in MODELS]
    if unknown:
        raise SystemExit(f"no published numbers of {unknown[0]}; there are some of {MODELS}")
    return chosen


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip-data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--models", nargs="*", metavar="NAME", help="these only; none: no model")
    parser.add_argument("--fetch", action="store_true", help="get missing weights from the hub")
    parser.add_argument(
        "--place",
        action="append",
        default=[],
        metavar="NAME=MODEL",
        help="load a model by another name, as of a directory: ViT-B-32/openai=local-dir:PATH",
    )
    for option, what in OPTIONS.items():
        parser.add_argument(option, type=Path, metavar="FILE", help=what)
    return parser.parse_args()


if __name__ == "__main__":
    main()
