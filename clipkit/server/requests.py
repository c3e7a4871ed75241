"""The requests of the API as pydantic types: kinds, ranges and descriptions, for the schema too.

Nothing is converted: a number in quotes is no number. Limits that the server was started with are
checked in `clipkit.server.operations`, and written into the schema by `clipkit.server.schema`.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from clipkit.search.filters import FilterOptions
from clipkit.server.image_data import DATA_URL
from clipkit.server.refusals import shown
from clipkit.server.settings import MAX_TEXT

_MAX_PATH = 1024
_DATE = r"^\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d)?)?)?)?$"

Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Words = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")]
ImageData = Annotated[
    str,
    Field(
        description="an image as a data URL; nothing is fetched",
        json_schema_extra={"pattern": DATA_URL},
    ),
]
LibraryPath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=_MAX_PATH,
        description='an image of the library, by the "path" of a hit',
    ),
]
Glob = Annotated[str, Field(min_length=1, max_length=200)]
Moment = Annotated[
    str, Field(pattern=_DATE, description="2024, 2024-06, 2024-06-01 or with Thh:mm")
]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Pixels = Annotated[int, Field(ge=0, lt=2**31)]


def _example(**fields: Any) -> ConfigDict:
    """Return the configuration of a type with an example in its schema."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class _Request(BaseModel):
    """A request of clipkit's own: a misspelt field is a fault, not ignored."""

    model_config = ConfigDict(strict=True, extra="forbid")


class _OpenRequest(BaseModel):
    """A request as other servers take it too, whose clients send fields that mean nothing here."""

    model_config = ConfigDict(strict=True, extra="ignore")


# --- embeddings, as OpenAI, infinity and vLLM have them -------------------------------------------


class ImageItem(_Request):
    """One image to embed."""

    image: ImageData


class TextItem(_Request):
    """One text to embed."""

    text: Text


class TextPart(_OpenRequest):
    """A text of a message."""

    type: Literal["text"]
    text: Text


class ImageUrl(_OpenRequest):
    """Where OpenAI's API has the address of an image; here its data."""

    url: ImageData


class ImagePart(_OpenRequest):
    """An image of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


class Message(_OpenRequest):
    """One message of a chat, as vLLM takes images to embed."""

    role: Literal["user", "system", "assistant"] = "user"
    content: (
        Text
        | Annotated[
            list[Annotated[TextPart | ImagePart, Field(discriminator="type")]],
            Field(min_length=1, max_length=1),
        ]
    )


class EmbeddingsRequest(_OpenRequest):
    """Texts and images to embed. Of `input` and `messages` one is given."""

    model_config = _example(input=["a red boat", "a dog"])

    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
        | Annotated[list[ImageItem | TextItem], Field(min_length=1)]
        | None
    ) = Field(
        default=None,
        description="a text, several, or objects with an image or a text each; with modality "
        '"image" the strings are data URLs of images',
    )
    messages: Annotated[list[Message], Field(min_length=1, max_length=1)] | None = Field(
        default=None, description="one message with one text or one image, as vLLM takes them"
    )
    model: Annotated[str, Field(max_length=300)] | None = Field(
        default=None, description="the name that /v1/models has; without it the one that is served"
    )
    modality: Literal["text", "image"] = Field(
        default="text", description="what strings in input are, as infinity has it"
    )
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="base64 is of float32, little-endian, as OpenAI has it"
    )
    dimensions: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="how many dimensions are kept, from the first on (Matryoshka)"
    )
    user: str | None = Field(default=None, description="ignored")

    @field_validator("input", mode="wrap")
    @classmethod
    def _is_of_one_kind(cls, value: object, check: ValidatorFunctionWrapHandler) -> Any:
        """Say what it must be in one sentence: pydantic would list what is wrong with each kind."""
        try:
            return check(value)
        except ValidationError as error:
            raise ValueError(
                "must be a text, a list of texts, or a list of objects, each with an image (a data "
                f"URL) or a text of up to {MAX_TEXT} characters, got {shown(value)}"
            ) from error

    @model_validator(mode="after")
    def _has_one_source(self) -> "EmbeddingsRequest":
        if (self.input is None) == (self.messages is None):
            raise ValueError("give input or messages, one of the two")
        return self


# --- search ---------------------------------------------------------------------------------------


class Filters(_Request):
    """Which images may be hits; what is not given sets no condition."""

    path: Glob | None = Field(default=None, description="a glob on the path inside the library")
    not_path: Annotated[list[Glob], Field(max_length=16)] | None = None
    after: Moment | None = None
    before: Moment | None = None
    min_width: Pixels = 0
    min_height: Pixels = 0
    orientation: Literal["portrait", "landscape", "square"] | None = None
    camera: Annotated[str, Field(max_length=200)] | None = None
    not_camera: (
        Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=16)] | None
    ) = None

    def options(self) -> FilterOptions:
        """Return them as `PhotoLibrary.search` takes them: only those that were given."""
        given: dict[str, Any] = self.model_dump(exclude_none=True)
        return cast(FilterOptions, given)  # the fields have its names


class Part(_Request):
    """One part of a query: a text, an image, or an image of the library."""

    text: Words | None = None
    image: ImageData | None = None
    path: LibraryPath | None = None
    weight: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] = Field(
        default=1.0, description="negative subtracts; not 0"
    )

    @model_validator(mode="after")
    def _is_one_thing(self) -> "Part":
        if sum(value is not None for value in (self.text, self.image, self.path)) != 1:
            raise ValueError("a part is one of text, image and path")
        if self.weight == 0:
            raise ValueError("a weight of 0 says nothing: leave this part out")
        return self


class _HitsRequest(_Request):
    """Which hits, how many, in which order."""

    k: Annotated[int, Field(ge=1)] = Field(default=10, description="how many hits at most")
    min_relevance: Share = Field(default=0.0, description="less relevant images are left out")
    diversity: Share = Field(default=0.0, description="how much hits should differ")
    sort: Literal["best", "newest", "oldest", "name", "largest"] = "best"
    filters: Filters = Field(default_factory=Filters)


class _Queried(_Request):
    """What is searched for: words, an image, parts, or several of these together."""

    query: Words | None = Field(default=None, description="words; never a path, nor a + or -")
    image: ImageData | None = None
    parts: Annotated[list[Part], Field(max_length=8)] = Field(
        default_factory=list, description="further texts and images, weighted"
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> "_Queried":
        if self.query is None and self.image is None and not self.parts:
            raise ValueError("there is nothing to search for: give query, image or parts")
        return self

    def all_parts(self) -> list[Part]:
        """Return the query as parts."""
        first = [] if self.query is None else [Part(text=self.query)]
        second = [] if self.image is None else [Part(image=self.image)]
        return [*first, *second, *self.parts]


class SearchRequest(_HitsRequest, _Queried):
    """A search by words, images, or both."""

    model_config = _example(query="a red boat", k=5, filters={"after": "2024"})


class SimilarRequest(_HitsRequest):
    """A search for images like one of the library, or like one that is sent."""

    model_config = _example(path="2024/boat.jpg", k=5)

    path: LibraryPath | None = None
    image: ImageData | None = None

    @model_validator(mode="after")
    def _names_one_image(self) -> "SimilarRequest":
        if (self.path is None) == (self.image is None):
            raise ValueError("give path or image, one of the two")
        return self

    def all_parts(self) -> list[Part]:
        """Return the query as parts."""
        return [Part(path=self.path, image=self.image)]


class ContextRequest(_Queried):
    """A search whose answer is for the prompt of a language model."""

    model_config = _example(query="a red boat", k=4)

    k: Annotated[int, Field(ge=1, le=50)] = Field(default=8, description="how many images at most")
    min_relevance: Share | None = Field(
        default=None, description="0.4 unless given, or 0.05 where no image has that"
    )
    diversity: Share = 0.0
    copies: bool = Field(default=False, description="whether near-duplicates are listed too")
    thumbnails: Annotated[int, Field(ge=16, le=1024)] | None = Field(
        default=None, description="pixels of the longer side of a JPEG with each image"
    )
    filters: Filters = Field(default_factory=Filters)


# --- classification -------------------------------------------------------------------------------


class ClassifyRequest(_Request):
    """An image and the labels that it may have."""

    model_config = _example(path="2024/boat.jpg", labels=["boat", "car"], unknown=True)

    image: ImageData | None = None
    path: LibraryPath | None = None
    labels: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1)
    ]
    templates: (
        Annotated[str, Field(min_length=1, max_length=200)]
        | Annotated[
            list[Annotated[str, Field(min_length=1, max_length=200)]],
            Field(min_length=1, max_length=16),
        ]
    ) = Field(default="default", description="the name of a set, or templates with a {}")
    domain: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="what kind of things the labels are, such as food"
    )
    k: Annotated[int, Field(ge=1)] = Field(default=3, description="how many labels at most")
    multi_label: bool = Field(default=False, description="whether each is scored on its own")
    unknown: bool = Field(default=False, description='whether "none of these" is an answer too')

    @model_validator(mode="after")
    def _names_one_image(self) -> "ClassifyRequest":
        if (self.path is None) == (self.image is None):
            raise ValueError("give image or path, one of the two")
        return self
