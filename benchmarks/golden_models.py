"""What a model's own weights give for the published numbers, through clipkit alone.

Everything is in float32 on torch, with images decoded in full. Shapes: T texts, D dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from golden_line import Line
from golden_numbers import CATS, GOLDEN, OPTIONS, POKEMON, VIT_B_32, Golden, Measure
from numpy.typing import NDArray
from PIL import Image

import clipkit
from clipkit.embeddings import cosine_similarity, normalize_rows
from clipkit.encoder.encoder import Encoder

Values = NDArray[np.float64]
FEATURES = ("image_features.npy", "text_features.npy")
CLIP_PNG = "numpyclip/CLIP.png"
LABELLED = "99991/NumPyCLIP e798f873 tests.py"


@dataclass(frozen=True)
class Pictures:
    """Where the images lie that the published numbers are of."""

    folder: Path
    given: dict[str, Path]  # by option

    def path(self, image: str) -> Path | str:
        """Return the path of an image, or why there is none."""
        if image in OPTIONS:
            if image in self.given:
                return self.given[image]
            return f"image is not here: give {image} FILE"
        path = self.folder / image
        return path if path.is_file() else f"image is not here: {image}"


def load_exact(name: str) -> Encoder:
    """Return a model's encoder that decodes images in full and computes in float32 on torch."""
    encoder = clipkit.load(name, engine="torch", precision="fp32", cache_texts=False)
    encoder.decode = "exact"
    return encoder


def compare(golden: Golden, encoder: Encoder, image: Path | None) -> Line:
    """Return published numbers beside what a model gives.

    Args:
        golden: The numbers.
        encoder: Of `load_exact`.
        image: The image that the numbers are of; None where they are of texts alone.
    """
    got = MEASURES[golden.measure](encoder, image, golden.texts)
    expected, others = np.array(golden.values), np.array(golden.or_values)
    if golden.measure == "logits, softmaxed":
        expected = softmax(expected)
    if golden.measure in ("raw image", "raw text", "unit image", "unit text"):
        got = got[: len(expected)]
    return Line(
        title(golden),
        expected.tolist(),
        got.tolist(),
        golden.atol,
        golden.rtol,
        others.tolist(),
        remark="the source has black around it, clipkit white" if golden.image == CLIP_PNG else "",
    )


def compare_features(encoder: Encoder, folder: Path) -> list[Line]:
    """Return NumPyCLIP's stored features of CLIP.png and three texts beside a model's, all of them.

    The image is transparent around its drawing. The source sees that as black, as open_clip does,
    and clipkit as white, so here it goes through open_clip's preprocess; what clipkit's own reading
    gives stands below.
    """
    import torch

    stored = folder / "numpyclip"
    published = next(one for one in GOLDEN if one.image == CLIP_PNG)
    with Image.open(folder / CLIP_PNG) as image:
        pixel_values = encoder.towers.preprocess(image)[None].to(encoder.device)
    with torch.inference_mode():
        raw = encoder.towers.image_encoder(pixel_values).cpu().numpy()
    texts = _raw_texts(encoder, published.texts)
    cosines = cosine_similarity(normalize_rows(raw), normalize_rows(texts))[0]
    expected = [np.load(stored / name).ravel() for name in FEATURES]
    names = ("raw image, all, CLIP.png on black", "raw texts, all")
    lines = [
        Line(f"{VIT_B_32}: {name} ({LABELLED})", want, got.ravel(), 1e-5)
        for name, want, got in zip(names, expected, (raw, texts), strict=True)
    ]
    probabilities = softmax(encoder.logit_scale * cosines.astype(np.float64))
    what = f"{VIT_B_32}: probabilities, CLIP.png on black ({published.source})"
    return [*lines, Line(what, published.values, probabilities.tolist(), published.atol)]


def without_features(folder: Path, reason: str) -> list[Line]:
    """Return NumPyCLIP's stored features beside the reason why a model gives none."""
    return [
        Line(
            f"{VIT_B_32}: {name} ({LABELLED})",
            np.load(folder / "numpyclip" / name).ravel(),
            reason,
            1e-5,
        )
        for name in FEATURES
    ]


def without_numbers(golden: Golden, reason: str) -> Line:
    """Return published numbers beside the reason why a model gives none."""
    return Line(
        title(golden), golden.values, reason, golden.atol, golden.rtol, or_expected=golden.or_values
    )


def title(golden: Golden) -> str:
    """Return the model, what is compared, and the source."""
    image = {CATS: "two cats", POKEMON: "pokemon.jpeg", "": "text"}.get(golden.image, golden.image)
    return f"{golden.model}: {golden.measure}, {image} ({golden.source})"


def count_labelled(encoder: Encoder, folder: Path) -> Line:
    """Return how many of NumPyCLIP's labelled images "a photo of LABEL" finds; all of them."""
    rows = read_labels(folder)
    labels = sorted({label for _, label in rows})
    images = encoder.encode_images([path for path, _ in rows])
    texts = encoder.encode_texts([f"a photo of {label}" for label in labels])
    found = cosine_similarity(images, texts).argmax(axis=1)
    right = sum(labels[place] == label for place, (_, label) in zip(found, rows, strict=True))
    return Line(labelled_title(), [len(rows)], [right])


def labelled_title() -> str:
    """Return what `count_labelled` compares."""
    return f'{VIT_B_32}: "a photo of LABEL" is first, images ({LABELLED})'


def read_labels(folder: Path) -> list[tuple[Path, str]]:
    """Return NumPyCLIP's labelled images, and what each shows."""
    lines = (folder / "numpyclip" / "labels.csv").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(",", 1) for line in lines if line)
    return [(folder / "numpyclip" / "images" / name, label) for name, label in pairs]


def softmax(logits: Sequence[float] | Values) -> Values:
    """Return the softmax of logits, of the same shape (T,)."""
    powers = np.exp(np.asarray(logits, dtype=np.float64) - np.max(logits))
    shares: Values = powers / powers.sum()
    return shares


def sigmoid(logits: Sequence[float] | Values) -> Values:
    """Return the sigmoid of logits, of the same shape."""
    shares: Values = 1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64)))
    return shares


def _logits(encoder: Encoder, image: Path | None, texts: Sequence[str]) -> Values:
    cosines = _unit_image(encoder, image, texts) @ _unit_texts(encoder, texts).T
    logits: Values = encoder.logit_scale * cosines + (encoder.logit_bias or 0.0)
    return logits


def _probabilities(encoder: Encoder, image: Path | None, texts: Sequence[str]) -> Values:
    shares = sigmoid if encoder.scoring.is_sigmoid else softmax
    return shares(_logits(encoder, image, texts))


def _softmaxed(encoder: Encoder, image: Path | None, texts: Sequence[str]) -> Values:
    return softmax(_logits(encoder, image, texts))


def _unit_image(encoder: Encoder, image: Path | None, texts: Sequence[str]) -> Values:
    assert image is not None
    first: Values = np.asarray(encoder.encode_images([image]), dtype=np.float64)[0]
    return first


def _unit_texts(encoder: Encoder, texts: Sequence[str]) -> Values:
    return np.asarray(encoder.encode_texts(texts), dtype=np.float64)


def _unit_text(encoder: Encoder, image: Path | None, texts: Sequence[str]) -> Values:
    first: Values = _unit_texts(encoder, texts)[0]
    return first


def _raw_image(encoder: Encoder, image: Path | None, texts: Sequence[str]) -> Values:
    import torch

    assert image is not None
    pixel_values = torch.from_numpy(encoder.preprocess(image))[None].to(encoder.device)
    with torch.inference_mode():
        features = encoder.towers.image_encoder(pixel_values)
    return np.asarray(features[0].cpu(), dtype=np.float64)


def _raw_texts(encoder: Encoder, texts: Sequence[str]) -> Values:
    import torch

    token_ids = torch.from_numpy(encoder.tokenize(texts).token_ids).to(encoder.device)
    with torch.inference_mode():
        features = encoder.towers.text_encoder(token_ids)
    return np.asarray(features.cpu(), dtype=np.float64)


MEASURES: dict[Measure, Callable[[Encoder, Path | None, Sequence[str]], Values]] = {
    "probabilities": _probabilities,
    "logits": _logits,
    "logits, softmaxed": _softmaxed,
    "raw image": _raw_image,
    "raw image, sum": lambda *asked: _raw_image(*asked).sum(keepdims=True),
    "raw text": lambda encoder, _, texts: _raw_texts(encoder, texts)[0],
    "raw texts, sums": lambda encoder, _, texts: _raw_texts(encoder, texts).sum(axis=1),
    "unit image": _unit_image,
    "unit text": _unit_text,
}
