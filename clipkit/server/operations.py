"""What the API does: from a request to its answer, the same for HTTP and for MCP."""

import base64
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import normalize_rows
from clipkit.errors import InputError
from clipkit.search.context import ContextOptions
from clipkit.search.query import QueryPart
from clipkit.server.image_data import read_image
from clipkit.server.refusals import RefusedError
from clipkit.server.requests import (
    ClassifyRequest,
    ContextRequest,
    EmbeddingsRequest,
    ImageItem,
    ImagePart,
    Part,
    SearchRequest,
    SimilarRequest,
    TextItem,
)
from clipkit.server.served_library import ServedLibrary
from clipkit.server.served_model import LabelSet, ServedModel
from clipkit.server.settings import MAX_TEXT, Limits
from clipkit.zero_shot.classifier import NONE_OF_THESE

_UNKNOWN_CUT = 0.5  # as clipkit classify --unknown has it


class Operations:
    """The operations over one model, and one library if there is one.

    Args:
        model: Embeds.
        library: Is searched; None: only the model is served.
        limits: Of one request.
    """

    def __init__(self, model: ServedModel, library: ServedLibrary | None, limits: Limits) -> None:
        self.model = model
        self._library = library
        self._limits = limits
        self._since = int(time.time())

    def models(self) -> dict[str, Any]:
        """Return the list of models, which is one, as OpenAI has it."""
        return {"object": "list", "data": [self._described()]}

    def model_named(self, name: str) -> dict[str, Any]:
        """Return the model of a name; refuse any other name."""
        self._check_model(name)
        return self._described()

    async def embed(self, request: EmbeddingsRequest) -> dict[str, Any]:
        """Return embeddings in the order of the input, as OpenAI has them."""
        self._check_model(request.model)
        places, texts, images = _sorted_inputs(request)
        self._check_count("texts", len(texts), self._limits.max_texts, "--max-texts")
        self._check_count("images", len(images), self._limits.max_images, "--max-images")
        rows: dict[int, NDArray[np.float32]] = {}
        num_tokens = 0
        if texts:
            embedded = await self.model.embed_texts(texts)
            rows |= dict(zip(places["text"], (each.embedding for each in embedded), strict=True))
            num_tokens = sum(each.num_tokens for each in embedded)
        if images:
            found = await self.model.embed_images(images)
            rows |= dict(zip(places["image"], found, strict=True))
        return {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": index,
                    "embedding": _encoded(self._cut(rows[index], request.dimensions), request),
                }
                for index in range(len(rows))
            ],
            "model": self.model.name,
            "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens},
        }

    async def search(self, request: SearchRequest | SimilarRequest) -> dict[str, Any]:
        """Return the images that fit words, images, or one image of the library."""
        library = self._needed_library()
        self._check_count("k", request.k, self._limits.max_k, "--max-k")
        asked = request.all_parts()
        options = {
            "k": request.k,
            "min_relevance": request.min_relevance,
            "diversity": request.diversity,
            "sort": request.sort,
            **request.filters.options(),
        }
        parts = await self._embedded(asked)
        return await library.search(parts, _own_paths(asked, parts), options)

    async def context(self, request: ContextRequest) -> dict[str, Any]:
        """Return the images that fit, with what is known of each, for a language model."""
        library = self._needed_library()
        asked = request.all_parts()
        options = ContextOptions(
            k=request.k,
            min_relevance=request.min_relevance,
            diversity=request.diversity,
            has_copies=request.copies,
            thumbnail_size=request.thumbnails,
            max_pixels=self._limits.max_pixels,
        )
        parts = await self._embedded(asked)
        hidden = _own_paths(asked, parts)
        return await library.context(parts, hidden, options, request.filters.options())

    async def classify(self, request: ClassifyRequest) -> dict[str, Any]:
        """Return the labels of an image, best first."""
        self._check_count("labels", len(request.labels), self._limits.max_labels, "--max-labels")
        templates = request.templates
        asked = LabelSet(
            tuple(dict.fromkeys(request.labels)),
            templates if isinstance(templates, str) else tuple(templates),
            request.domain,
            request.multi_label,
            request.unknown,
        )
        (image,) = await self._embedded([Part(image=request.image, path=request.path)])
        classifier = await self.model.classifier(asked)
        row = np.asarray(image.content, dtype=np.float32)
        (labels,) = classifier.rank(row[None], k=request.k)
        if not request.unknown:
            return {"labels": labels}
        is_unknown = labels[0]["label"] == NONE_OF_THESE and labels[0]["score"] >= _UNKNOWN_CUT
        return {"labels": labels, "unknown": is_unknown}

    async def _embedded(self, parts: Sequence[Part]) -> list[QueryPart]:
        """Return parts of a query with embeddings for content; a message names the part as sent."""
        texts = [part.text for part in parts if part.text is not None]
        images = [read_image(part.image) for part in parts if part.image is not None]
        self._check_count("images", len(images), self._limits.max_images, "--max-images")
        text_rows = iter(await self.model.embed_texts(texts) if texts else [])
        image_rows = iter(await self.model.embed_images(images) if images else [])
        embedded = []
        for part in parts:
            if part.text is not None:
                row, name = next(text_rows).embedding, part.text
            elif part.image is not None:
                row, name = next(image_rows), "<image>"
            else:
                path = str(part.path)
                row, name = await self._needed_library().embedding_of(path)
            is_image = part.text is None
            embedded.append(QueryPart(row, part.weight, is_image=is_image, name=name))
        return embedded

    def _described(self) -> dict[str, Any]:
        encoder = self.model.encoder
        return {
            "id": self.model.name,
            "object": "model",
            "created": self._since,
            "owned_by": "clipkit",
            "embed_dim": encoder.embed_dim,
            "space_id": encoder.space_id,
        }

    def _needed_library(self) -> ServedLibrary:
        if self._library is None:
            raise RefusedError(
                404,
                "there is no library here, only a model: start the server with a folder, as in "
                "clipkit serve FOLDER",
                "no_library",
            )
        return self._library

    def _check_model(self, name: str | None) -> None:
        if name is not None and name != self.model.name:
            raise RefusedError(
                404,
                f"the model {name!a} is not served here; {self.model.name} is: leave model "
                "out, or see /v1/models",
                "model_not_found",
            )

    def _check_count(self, name: str, count: int, most: int, option: str) -> None:
        if count > most:
            raise InputError(
                f"{name}: at most {most}, got {count}: send several requests, or start the server "
                f"with a larger {option}"
            )

    def _cut(self, row: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
        """Return the first dimensions of an embedding, of norm 1 again."""
        if dimensions is None or dimensions == len(row):
            return row
        if dimensions > len(row):
            raise InputError(
                f"dimensions must be at most {len(row)}, which is what the model has, got "
                f"{dimensions}"
            )
        return np.asarray(normalize_rows(row[None, :dimensions])[0])


def _own_paths(asked: Sequence[Part], parts: Sequence[QueryPart]) -> list[str]:
    """Return the images of the library that a query is made of, by their paths in the index."""
    return [str(part.name) for one, part in zip(asked, parts, strict=True) if one.path is not None]


def _sorted_inputs(
    request: EmbeddingsRequest,
) -> tuple[dict[str, list[int]], list[str], list[bytes]]:
    """Return the texts and the images of a request, and which place each has in it."""
    places: dict[str, list[int]] = {"text": [], "image": []}
    texts: list[str] = []
    images: list[bytes] = []
    for place, item in enumerate(_items(request)):
        if isinstance(item, TextItem):
            places["text"].append(place)
            texts.append(item.text)
            continue
        places["image"].append(place)
        try:
            images.append(read_image(item.image))
        except InputError as error:
            raise InputError(f"input[{place}]: {error}") from error
    return places, texts, images


def _items(request: EmbeddingsRequest) -> list[TextItem | ImageItem]:
    """Return the items of a request, whichever way they were sent."""
    if request.messages is not None:
        content = request.messages[0].content
        part = content if isinstance(content, str) else content[0]
        if isinstance(part, ImagePart):
            return [ImageItem(image=part.image_url.url)]
        return [TextItem(text=part if isinstance(part, str) else part.text)]
    given = request.input
    values = [given] if isinstance(given, str) else given or []
    items: list[TextItem | ImageItem] = []
    for place, value in enumerate(values):
        if not isinstance(value, str):
            items.append(value)
        elif request.modality == "image":
            items.append(ImageItem(image=value))
        elif len(value) > MAX_TEXT:
            raise InputError(
                f"input[{place}]: a text may have up to {MAX_TEXT} characters, got {len(value)}: "
                "the model reads some 70 words of it"
            )
        else:
            items.append(TextItem(text=value))
    return items


def _encoded(row: NDArray[np.float32], request: EmbeddingsRequest) -> list[float] | str:
    if request.encoding_format == "base64":
        return base64.b64encode(np.ascontiguousarray(row, dtype="<f4").tobytes()).decode("ascii")
    values: list[float] = row.tolist()
    return values
