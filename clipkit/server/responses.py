"""Answers of the API as pydantic types, for the schema: they describe what `to_dict()` returns."""

from typing import Literal

from pydantic import BaseModel, Field


class Fault(BaseModel):
    """What was wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(BaseModel):
    """A request that was not answered."""

    error: Fault


class Embedding(BaseModel):
    """One embedding, of norm 1."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens of the texts, the marks of start and end included; images have none."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """Embeddings in the order of the input."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    """The model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    embed_dim: int
    space_id: str


class Models(BaseModel):
    """The one model that is served."""

    object: Literal["list"]
    data: list[Model]


class Hit(BaseModel):
    """One image that was found, as `clipkit search --json` prints it."""

    path: str
    similarity: float
    relevance: float
    width: int | None
    height: int | None
    taken_at: str | None
    raw: str | None
    camera: str | None
    crop: tuple[float, float, float, float] | None


class SearchAnswer(BaseModel):
    """Hits, and what the search says as a whole."""

    verdict: Literal["found", "not sure", "probably nothing"]
    num_found: int
    num_searched: int
    may_be_more: bool
    hits: list[Hit]


class Label(BaseModel):
    """One label and its score."""

    score: float
    label: str


class ClassifyAnswer(BaseModel):
    """Labels of the image, best first, as `clipkit classify --json` prints them."""

    labels: list[Label]
    unknown: bool | None = None


class ContextImage(BaseModel):
    """One image of a context."""

    rank: int
    relevance: float
    similarity: float
    path: str
    uri: str
    captions: list[str]
    label: str | None
    taken_at: str | None
    width: int | None
    height: int | None
    camera: str | None
    raw: str | None
    num_copies: int
    thumbnail: str | None
    thumbnail_error: str | None


class ContextAnswer(BaseModel):
    """What `clipkit context --json` prints."""

    schema_: str = Field(alias="schema")
    notice: str
    query: str
    verdict: Literal["found", "not sure", "probably nothing"]
    is_nothing: bool
    summary: str
    folder: str
    model: str
    num_searched: int
    num_found: int
    may_be_more: bool
    min_relevance: float
    num_images_cut: int
    num_thumbnails_cut: int
    images: list[ContextImage]


class Health(BaseModel):
    """Whether the server lives, or is ready."""

    status: Literal["ok", "loading", "ending"]
