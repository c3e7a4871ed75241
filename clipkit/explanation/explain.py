"""clipkit.explain: the heat map of a text over an image.

Shapes: H x W places, T texts, B everyday words, D dimensions.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import ENCODER_RULE, check_kind, check_progress, items_of
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.explanation.heat_map import THERE_FROM, HeatMap, Method
from clipkit.explanation.windows import PLACES, SIDES, window_embeddings
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.images import DecodedImage, Size, read_image
from clipkit.inputs.preprocess import Preprocess
from clipkit.progress import Progress
from clipkit.word_evidence import WordScale

EMPTY_PROMPT = "a photo"  # the contrast where none is named
METHODS = ("auto", *get_args(Method))


def explain(
    encoder: Encoder,
    image: ImageInput,
    text: str,
    *,
    against: Sequence[str] = (EMPTY_PROMPT,),
    method: Method | Literal["auto"] = "auto",
    progress: Progress | None = None,
) -> HeatMap:
    """Return which part of an image a text fits, as cosines, and whether it is there at all.

    The methods, of which docs/explain.md has formulas and measurements:

    - "naclip" and "clearclip" look into the last block of a vision transformer.
    - "windows" embeds parts of the image one by one. It takes 74 passes of the image tower for a
      square image, works with any model on any engine, and needs no torch.
    - "gradient" takes one pass forward and part of one back. Gradients have no cosines: the map is
      stretched between the lowest and the highest cosine of a place.
    - "patches" is the last layer as it is, to compare with.

    All but "windows" need an encoder on torch, as ``load(NAME, engine="torch")`` returns it.

    Args:
        encoder: The model.
        image: The image, as for read_image.
        text: What is looked for.
        against: Contrasting prompts, at least one: things the text is to be told from, or a prompt
            that says nothing.
        method: "auto" takes "naclip" for a vision transformer on torch, else "windows".
        progress: Called with (done, total) after every batch of windows; the other methods are
            done at once.

    Returns:
        The map. The encoder is left as it was.

    Raises:
        InputError: If a text is empty, the text is among those it is told from, there is no such
            method, or it cannot explain this encoder.
        ImageReadError: If the image cannot be read.
    """
    check_kind(encoder, "encode_texts", ENCODER_RULE)
    check_progress(progress)
    texts = _checked_texts(encoder, text, against)
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    decoded = _decoded(encoder, image)
    # Before the towers are asked for: from then on no embedding of a text is looked up on disk.
    words = np.asarray(encoder.encode_texts(BACKGROUND_NAMES))
    rows = np.asarray(encoder.encode_texts(texts))
    scale = WordScale(words)
    chosen = _method(encoder, method)
    pixel_values = encoder.preprocess.pixel_values(decoded)
    whole = np.asarray(encoder.encode_pixel_values(pixel_values[None]))[0]
    heat = None
    if chosen == "windows":
        places = window_embeddings(encoder, decoded, progress)
        box = (0.0, 0.0, float(decoded.size[0]), float(decoded.size[1]))
    else:
        from clipkit.explanation.towers import tower_places

        direction = (rows[0] - scale.center).astype(np.float32)
        places, heat = tower_places(encoder, pixel_values, chosen, direction)
        box = seen_box(encoder.preprocess, decoded.size)
    cosines = places @ rows.T  # (H, W, T)
    return HeatMap(
        text=text,
        values=_stretched(heat, cosines[..., 0]),
        against=tuple(texts[1:]),
        contrast=_shares(cosines * encoder.logit_scale),
        score=float(whole @ rows[0]),
        evidence=best_evidence(scale, rows[0], places, whole),
        levels=_levels(scale, words, rows[0], places),
        method=chosen,
        model=encoder.name,
        space_id=encoder.space_id,
        image_size=decoded.size,
        box=box,
    )


def seen_box(preprocess: Preprocess, size: Size) -> tuple[float, float, float, float]:
    """Return the part of an image that the image tower sees, in pixels of the upright image.

    Args:
        preprocess: The model's.
        size: (width, height) of the upright image.

    Returns:
        Left, top, right and bottom. Outside the image where it is padded.
    """
    height, width = preprocess.size
    resized = preprocess.resized_size(size)
    half = size[0] * width / resized[0] / 2, size[1] * height / resized[1] / 2
    middle = size[0] / 2, size[1] / 2
    return middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]


def _checked_texts(encoder: Encoder, text: object, against: object) -> list[str]:
    """Return the text and its contrasts."""
    others = list(items_of(against, "against must be a list of texts"))
    texts = [text, *others]
    for one in texts:
        if not isinstance(one, str) or not one.strip():
            raise InputError(f"text and contrasts must be texts with a word in them, got {one!r}")
    if not others:
        raise InputError('against must have at least one text, such as "a photo", got none')
    token_ids = encoder.tokenize(texts).token_ids
    for other, ids in zip(others, token_ids[1:], strict=True):
        if np.array_equal(ids, token_ids[0]):
            raise InputError(
                f"{other!r} is the same to the model as {text!r}, which it is to be told from: "
                "take another contrast"
            )
    return texts


def _method(encoder: Encoder, method: Method | Literal["auto"]) -> Method:
    if method != "auto":
        return method
    if encoder.engine != "torch":
        return "windows"
    from clipkit.explanation.towers import best_method

    return best_method(encoder)


def _decoded(encoder: Encoder, image: ImageInput) -> DecodedImage:
    """Return an image, decoded large enough for the smallest windows at the tower's input size."""
    side = PLACES / min(SIDES) * max(encoder.preprocess.size)

    def wanted(size: Size) -> Size:
        ratio = min(1.0, side / min(size))
        return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))

    return read_image(image, target=wanted, max_pixels=encoder.max_pixels)


def _stretched(
    heat: NDArray[np.float32] | None, cosines: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the map: the cosines, or a heat without a scale between their lowest and highest."""
    if heat is None:
        return np.ascontiguousarray(cosines)
    low, high = float(cosines.min()), float(cosines.max())
    stretched: NDArray[np.float32] = low + (high - low) * heat / max(float(heat.max()), 1e-30)
    return stretched.astype(np.float32)


def _shares(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax share of the first of texts, shape (H, W), of logits (H, W, T)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = powers[..., 0] / powers.sum(axis=-1)
    return shares.astype(np.float32)


def best_evidence(
    scale: WordScale,
    text: NDArray[np.float32],
    places: NDArray[np.float32],
    whole: NDArray[np.float32],
) -> float:
    """Return the evidence of the place that fits a text best; the whole image is a place too.

    Args:
        scale: The measure.
        text: Its embedding, shape (D,).
        places: Of the image, shape (H, W, D).
        whole: The image's own embedding, shape (D,).

    Returns:
        In spreads of everyday words' scores.
    """
    rows = np.concatenate([places.reshape(-1, places.shape[-1]), whole[None]])
    return float(scale.evidence(text[None], rows).max())


def _levels(
    scale: WordScale,
    words: NDArray[np.float32],
    text: NDArray[np.float32],
    places: NDArray[np.float32],
) -> tuple[float, float]:
    """Return the cosines, middling over the places, at evidence 0 and where a text is there."""
    rows = places.reshape(-1, places.shape[-1])
    spread = (rows @ words.T).std(axis=1)  # a spread of evidence, in cosines
    at_zero = rows @ text - scale.evidence(text[None], rows)[:, 0] * spread
    low, step = float(np.median(at_zero)), float(np.median(spread))
    return low, low + THERE_FROM * step
