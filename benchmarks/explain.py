"""Where heat maps point on collages of photographs, and whether a text counts as there.

Run as  python benchmarks/explain.py  with clipkit[torch] installed. It prints the tables of
docs/explain.md. Another model is measured with  --model NAME , a vision transformer by more
methods; the photographs are those of demo/samples, or of a folder with such a labels.json.

Collages: four photographs of four labels in quadrants, "a photo of a LABEL" each. Heat is what a
place scores above words that do not fit, as the drawing has it; its share in the label's quadrant
is .25 by chance, and so is pointing: whether the hottest place lies in that quadrant. Intervals
are of 95 %, drawn 1000 times over collages. Random weights are the model's own modules,
initialised anew, with batch norms fitted to the collages.

Presence: each photograph with its own label, and with those of the others. The evidence from which
a text counts as there is fitted on every other photograph, the lowest that at most 3 % of the other
labels reach, and reported on the rest.
"""

import argparse
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.explanation import explain as explanation
from clipkit.explanation.explain import METHODS, best_evidence
from clipkit.explanation.heat_map import THERE_FROM
from clipkit.explanation.windows import window_embeddings
from clipkit.inputs.images import read_image
from clipkit.word_evidence import WordScale

SAMPLES = Path(__file__).parents[1] / "demo" / "samples"
SIDE = 256  # pixels of a quadrant
DRAWS = 1000
FALSE_SHARE = 0.03  # of other labels that may count as there, where the threshold is fitted
Photos = list[tuple[str, NDArray[np.uint8]]]  # label and square pixels


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="starter")
    parser.add_argument("--photos", type=Path, default=SAMPLES)
    parser.add_argument("--collages", type=int, default=24)
    parser.add_argument("--presence", action="store_true", help="print that table, and no other")
    arguments = parser.parse_args()
    if arguments.presence:
        print_presence(clipkit.load(arguments.model), arguments.photos)
        return
    encoder = clipkit.load(arguments.model, engine="torch", precision="fp32")
    collages = list(made_collages(read_photos(arguments.photos), arguments.collages))
    print("| weights | method | share of heat | pointing | n |\n|---|---|---|---|---|")
    for method in METHODS[1:]:
        print_row(encoder, arguments.model, method, collages)
    randomize(encoder, [pixels for _, pixels in collages])
    for method in METHODS[1:]:
        print_row(encoder, "random", method, collages)


def read_photos(folder: Path) -> Photos:
    """Return the labelled photographs of a folder, cut to squares."""
    labels = json.loads((folder / "labels.json").read_text())
    return [(label, square(folder / name)) for name, label in labels.items()]


def square(path: Path) -> NDArray[np.uint8]:
    """Return the middle of a photograph, shape (SIDE, SIDE, 3)."""
    pixels = read_image(path).pixels
    side = min(pixels.size)
    left, top = (pixels.width - side) // 2, (pixels.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(pixels.resize((SIDE, SIDE), box=box))


def made_collages(photos: Photos, count: int) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
    """Yield the labels of the quadrants, in reading order, and the pixels."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        order = rng.permutation(len(photos))
        picked: dict[str, NDArray[np.uint8]] = {}
        for number in order:
            picked.setdefault(*photos[number])
            if len(picked) == 4:
                break
        first, second, third, fourth = picked.values()
        yield list(picked), np.vstack([np.hstack([first, second]), np.hstack([third, fourth])])


def print_row(
    encoder: clipkit.Encoder,
    weights: str,
    method: Any,
    collages: Sequence[tuple[list[str], NDArray[np.uint8]]],
) -> None:
    """Print what a method reaches, unless the model is not of its kind."""
    measured = []
    for labels, pixels in collages:
        windows = functools.cache(window_embeddings_of(encoder, pixels))
        explanation.window_embeddings = lambda *_, windows=windows: windows()  # once for four texts
        for quadrant, label in enumerate(labels):
            try:
                found = clipkit.explain(encoder, pixels, f"a photo of a {label}", method=method)
            except clipkit.InputError:
                return
            measured.append(judged(found, quadrant))
    by_collage = np.array(measured).reshape(len(collages), 4, 2).mean(axis=1)
    rng = np.random.default_rng(0)
    drawn = by_collage[rng.integers(len(collages), size=(DRAWS, len(collages)))].mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    cells = [
        f"{mean:.2f} ({below:.2f} to {above:.2f})"
        for mean, below, above in zip(by_collage.mean(axis=0), low, high, strict=True)
    ]
    print(f"| {weights} | {method} | {cells[0]} | {cells[1]} | {len(measured)} |", flush=True)


def window_embeddings_of(
    encoder: clipkit.Encoder, pixels: NDArray[np.uint8]
) -> Callable[[], NDArray[np.float32]]:
    """Return what embeds the windows of a collage."""
    return lambda: window_embeddings(encoder, read_image(pixels))


def judged(found: clipkit.HeatMap, quadrant: int) -> tuple[float, float]:
    """Return the share of heat in a quadrant, and whether the hottest place lies there."""
    # At the pixels of the collage: a grid of odd sides has places on both sides of the middle.
    shown = found.on_image((64, 64))
    heat = np.maximum(shown - found.levels[0], 0).reshape(2, 32, 2, 32).sum(axis=(1, 3)).ravel()
    share = float(heat[quadrant] / heat.sum()) if heat.sum() > 0 else 0.25
    hottest = (shown == shown.max()).reshape(2, 32, 2, 32).sum(axis=(1, 3)).ravel()
    return share, float(hottest[quadrant] / hottest.sum())


def randomize(encoder: clipkit.Encoder, images: Sequence[NDArray[np.uint8]]) -> None:
    """Initialise the image tower of an encoder anew, so that its output still tells images apart.

    Batch norms take their statistics from the images: with those of initialisation a deep tower's
    signal dies out, and its places differ by rounding errors only.
    """
    import torch

    torch.manual_seed(0)
    visual: Any = encoder.towers.image_encoder
    norms = []
    for module in visual.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the mean of all that passes
            norms.append(module.train())
    batch = np.stack([encoder.preprocess(image) for image in images])
    with torch.no_grad():
        visual(torch.from_numpy(batch).to(next(visual.parameters())))
    for norm in norms:
        norm.eval()


def print_presence(encoder: clipkit.Encoder, folder: Path) -> None:
    """Print how often texts count as there that are, and that are not."""
    labels = json.loads((folder / "labels.json").read_text())
    names = sorted(set(labels.values()))
    texts = np.asarray(encoder.encode_texts([f"a photo of a {name}" for name in names]))
    scale = WordScale(encoder.encode_texts(BACKGROUND_NAMES))
    evidence = []
    for name in labels:
        image = read_image(folder / name)
        places = window_embeddings(encoder, image)
        whole = np.asarray(encoder.encode_images([folder / name]))[0]
        evidence.append([best_evidence(scale, text, places, whole) for text in texts])
    rows = np.array(evidence)
    is_right = np.array([[label == name for name in names] for label in labels.values()])
    fitted, rest = slice(0, None, 2), slice(1, None, 2)
    others = rows[fitted][~is_right[fitted]]
    best = min(cut for cut in np.arange(0, 9, 0.25) if (others >= cut).mean() <= FALSE_SHARE)
    print("| photographs | from | own label there | other label there | n own, n other |")
    print("|---|---|---|---|---|")
    cuts = dict.fromkeys((best, THERE_FROM))  # the fitted one, and what clipkit has
    for cut, (title, half) in product(cuts, (("fitted on", fitted), ("the rest", rest))):
        own, other = rows[half][is_right[half]] >= cut, rows[half][~is_right[half]] >= cut
        print(
            f"| {title} | {cut:.2f} | {own.mean():.2f} | {other.mean():.3f} | "
            f"{own.size}, {other.size} |"
        )


if __name__ == "__main__":
    main()
