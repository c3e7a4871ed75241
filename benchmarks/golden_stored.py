"""What can be checked of the published numbers without any weights.

Tokens and pixel values beside open_clip's own, zero-shot probabilities from vectors that others
stored, and whether numbers of one source, or of two, follow from each other.

Shapes: N images, T texts, D dimensions.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from golden_line import Line
from golden_models import read_labels, sigmoid, softmax
from golden_numbers import GOLDEN, RCLIP_QUERIES, Golden
from golden_rclip import image_paths
from numpy.typing import NDArray
from PIL import Image

import clipkit
from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import TokenizedTexts, Tokenizer
from clipkit.models.known_models import clip_vocabulary
from clipkit.runtime.base import Scoring

SIGLIP2 = "Findit-AI+siglip2-naflex"  # b720074d tests/fixtures, beside the folder or in it
_LONG = "one two three " * 40  # longer than a text tower reads
# How the models of the published numbers see an image.
PREPROCESSES = {
    "CLIP's, 224": Preprocess((224, 224)),
    "CLIP's, 256": Preprocess((256, 256)),
    "CLIP's, 288": Preprocess((288, 288)),
    "CLIP's, 336": Preprocess((336, 336)),
    "CLIP's, 384": Preprocess((384, 384)),
    "CLIP's, 448": Preprocess((448, 448)),
    "SigLIP's, 224": Preprocess((224, 224), (0.5,) * 3, (0.5,) * 3, resize_mode="squash"),
}


@dataclass(frozen=True)
class StoredTexts:
    """Embeddings of texts in place of an encoder: all that a classifier needs of one."""

    texts: Embeddings  # (T, D)
    scoring: Scoring

    def encode_prompts(self, ensembles: object, *, progress: object = None) -> Embeddings:
        """Return the stored embeddings, whatever the prompts."""
        return self.texts

    def tokenize(self, texts: Iterable[str]) -> TokenizedTexts:
        """Return the token ids by CLIP's vocabulary, which tell texts apart."""
        return Tokenizer.from_config({}, clip_vocabulary()).tokenize_quietly(texts)

    def unknown_texts(self, texts: Iterable[str]) -> list[str]:
        """Return no text."""
        return []


def classify(images: Embeddings, texts: Embeddings, scoring: Scoring) -> NDArray[np.float64]:
    """Return the probabilities of clipkit's classifier for stored embeddings, shape (N, T)."""
    names = [f"text {number}" for number in range(len(texts))]
    stored = StoredTexts(texts, scoring)
    classifier = clipkit.ZeroShotClassifier(stored, names, templates=["{}"])  # type: ignore[arg-type]
    return np.asarray(classifier.scores(images), dtype=np.float64)


def check_clip_features(folder: Path) -> list[Line]:
    """Return NumPyCLIP's probabilities beside those that its stored features give."""
    stored = folder / "numpyclip"
    images = normalize_rows(np.load(stored / "image_features.npy"))
    texts = normalize_rows(np.load(stored / "text_features.npy"))
    published = next(one for one in GOLDEN if one.image == "numpyclip/CLIP.png")
    got = classify(images, texts, Scoring(float(np.log(100))))[0]
    what = f"stored features of CLIP.png and 3 texts, classified ({published.source})"
    return [Line(what, published.values, got.tolist(), published.atol)]


def check_siglip2(folder: Path) -> list[Line]:
    """Return SigLIP2's scale, norms, and probabilities beside p = sigmoid(exp(scale) cos + bias).

    Args:
        folder: Findit-AI's, with calibration.json, text_embeddings.npy and embeddings/.
    """
    calibration = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    scoring = Scoring(calibration["logit_scale"], calibration["logit_bias"])
    texts = np.load(folder / "text_embeddings.npy")
    images = np.stack([np.load(path) for path in sorted((folder / "embeddings").glob("*.npy"))])
    cosines = images.astype(np.float64) @ texts.astype(np.float64).T
    expected = sigmoid(np.exp(calibration["logit_scale"]) * cosines + calibration["logit_bias"])
    got = classify(images, texts, scoring)
    norms = np.linalg.norm(np.concatenate([images, texts]), axis=1)
    source = "Findit-AI/siglip2-naflex b720074d tests/fixtures"
    return [
        Line(
            f"SigLIP2: exp of the stored scale ({source})", [115.302], [scoring.logit_scale], 5e-4
        ),
        Line(f"SigLIP2: stored embeddings have norm 1 ({source})", [1] * len(norms), norms, 1e-6),
        Line(
            f"SigLIP2: probabilities of {got.size} pairs, classified ({source})",
            expected.ravel().tolist(),
            got.ravel().tolist(),
            atol=1e-7,
            rtol=1e-5,
        ),
    ]


def check_tokens(texts: Sequence[str]) -> Line:
    """Return how many texts have the same token ids by open_clip's tokenizer of CLIP; all."""
    from open_clip.tokenizer import SimpleTokenizer

    own = Tokenizer.from_config({}, clip_vocabulary()).tokenize_quietly(texts).token_ids
    others = SimpleTokenizer()(list(texts)).numpy()
    differing = [
        text for text, *rows in zip(texts, own, others, strict=True) if (rows[0] != rows[1]).any()
    ]
    what = "texts with open_clip's token ids, CLIP's vocabulary"
    return Line(what, [len(texts)], [len(texts) - len(differing)], remark=", ".join(differing))


def check_pixels(paths: Sequence[Path]) -> list[Line]:
    """Return how many images have open_clip's pixel values bit for bit, by each preprocess; all.

    open_clip converts an image to RGB after it is resized: a palette or a bit a pixel is resized
    without blending, and what is transparent comes out in its hidden colour. Here it is converted
    first, on white. Such images are counted apart, and handed to open_clip as white has them.
    """
    from open_clip.transform import PreprocessCfg, image_transform_v2

    plain = [path for path in paths if is_plain(path)]
    others = [path for path in paths if path not in plain]
    lines = []
    for name, preprocess in PREPROCESSES.items():
        config: dict[str, Any] = preprocess.to_config()
        transform = image_transform_v2(PreprocessCfg(**config), is_train=False)

        def difference(
            path: Path, *, first: bool, ours: Preprocess = preprocess, theirs: Any = transform
        ) -> float:
            with Image.open(path) as image:
                values = theirs(on_white(image) if first else image).numpy()
            return float(np.abs(ours(path) - values).max())

        for kind, some, first in (
            ("in RGB or grey", plain, False),
            ("with a palette, one bit or transparency, converted first", others, True),
        ):
            found = {path.name: difference(path, first=first) for path in some}
            differing = [f"{file} by {most:.2g}" for file, most in found.items() if most]
            what = f"images with open_clip's pixel values, {name}, {kind}"
            same = len(some) - len(differing)
            lines.append(Line(what, [len(some)], [same], remark=", ".join(differing)))
    return lines


def is_plain(path: Path) -> bool:
    """Return whether a file holds nothing but levels of red, green and blue, or of grey."""
    with Image.open(path) as image:
        return image.mode in ("RGB", "L") and not image.has_transparency_data


def on_white(image: Image.Image) -> Image.Image:
    """Return an image in RGB, with white where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def check_against_each_other(goldens: Sequence[Golden]) -> list[Line]:
    """Return numbers that follow from others: probabilities from logits, logits of one model."""
    lines = []
    logits = {(one.model, one.image, one.texts): one for one in goldens if one.measure == "logits"}
    for one in goldens:
        known = logits.get((one.model, one.image, one.texts))
        if one.measure == "probabilities" and known is not None:
            what = f"{one.model}: softmax of the published logits, {one.image} ({one.source})"
            got = softmax(known.values).tolist()
            lines.append(Line(what, one.values, got, one.atol))
        elif one.measure == "probabilities":
            what = f"{one.model}: published probabilities sum to 1, {one.image} ({one.source})"
            lines.append(Line(what, [1], [sum(one.values)], 1e-4))
        elif one.measure in ("unit image", "unit text"):
            what = f"{one.model}: components shown are of norm below 1 ({one.source})"
            norm = float(np.linalg.norm(one.values))
            lines.append(Line(what, [0], [max(norm - 1, 0.0)]))
        if one.or_values:
            what = f"{one.model}: two versions of the source agree ({one.source})"
            lines.append(Line(what, one.values, one.or_values, 5e-3, 5e-3))
    two_cats = [one for one in goldens if one.model.endswith("siglip-base-patch16-224")]
    for one in two_cats:
        what = f"{one.model}: sigmoid of the published logits ({one.source})"
        lines.append(Line(what, [0.31937, 3.2463e-05], sigmoid(one.values).tolist(), 5e-6, 1e-4))
    return lines


def all_texts(folder: Path, siglip2: Path) -> list[str]:
    """Return every text of the published numbers, and some that are hard to tokenize."""
    texts = [text for one in GOLDEN for text in one.texts]
    texts += [word for parts in RCLIP_QUERIES.values() for word in parts]
    texts += [f"a photo of {label}" for _, label in read_labels(folder)]
    if siglip2.is_dir():
        texts += json.loads((siglip2 / "text_prompts.json").read_text(encoding="utf-8"))
    return [*dict.fromkeys(texts), "", "  A  B\n", "caf\u00e9 &amp; cr\u00e8me \U0001f408", _LONG]


def all_images(folder: Path, siglip2: Path) -> list[Path]:
    """Return every image of the folder."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    paths += [path for path, _ in read_labels(folder)]
    paths += [folder / "numpyclip" / "CLIP.png", *image_paths(folder)]
    return [*sorted(paths), *sorted((siglip2 / "images").glob("*.png"))]
