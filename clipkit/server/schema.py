"""The OpenAPI schema of a server: what its types say, with the limits it was started with."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from clipkit.server.settings import ServerSettings
from clipkit.version import __version__

TITLE = "clipkit"
_DESCRIPTION = """\
Search and classify images by words, and embed both: one model, and one library of images.

Embeddings are those of OpenAI's API, for images too, as infinity and vLLM take them. An image is a
data URL; nothing is fetched because of what a text looks like. Paths are relative to the library.
"""


def make_schema(app: FastAPI, settings: ServerSettings) -> dict[str, Any]:
    """Return the schema of an application, as it answers with these settings."""
    schema = get_openapi(
        title=TITLE, version=__version__, description=_DESCRIPTION, routes=app.routes
    )
    parts = schema["components"]["schemas"]
    limits = settings.limits
    for name in ("SearchRequest", "SimilarRequest"):
        parts[name]["properties"]["k"]["maximum"] = limits.max_k
    parts["ClassifyRequest"]["properties"]["labels"]["maxItems"] = limits.max_labels
    for kind in parts["EmbeddingsRequest"]["properties"]["input"]["anyOf"]:
        if kind.get("type") == "array":
            is_texts = kind["items"].get("type") == "string"
            kind["maxItems"] = limits.max_texts if is_texts else limits.max_images
    if settings.keys:
        schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, operations in schema["paths"].items():
            if not path.startswith("/health/"):
                for operation in operations.values():
                    operation["security"] = [{"key": []}]
    return schema
