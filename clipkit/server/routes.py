"""The addresses of the HTTP API, and how errors are answered."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from clipkit.errors import ClipkitError
from clipkit.server import requests, responses
from clipkit.server.metrics import CONTENT_TYPE, ServerMetrics
from clipkit.server.refusals import (
    AsciiJSONResponse,
    RefusedError,
    describe_faults,
    place_of,
    refusal_of,
)
from clipkit.server.serving import Serving

_REFUSALS: Mapping[int | str, dict[str, Any]] = {
    status: {"model": responses.ErrorAnswer, "description": description}
    for status, description in {
        400: "The request is no JSON.",
        401: "The key is missing or wrong.",
        403: "The server is not reached under this name.",
        404: "There is no such model, library or address.",
        408: "The body took too long.",
        413: "The body is too large.",
        415: "The body is not declared as JSON.",
        422: "A value is refused; the message says which and why.",
        500: "A fault of the server.",
        503: "The server is loading, busy or ending: try again.",
    }.items()
}
_READ_REFUSALS: Mapping[int | str, dict[str, Any]] = {
    status: _REFUSALS[status] for status in (401, 403, 404, 500, 503)
}


def add_routes(app: FastAPI, serving: Serving, metrics: ServerMetrics) -> None:
    """Add all addresses but that of MCP."""
    _add_embeddings(app, serving)
    _add_search(app, serving)
    _add_health(app, serving, metrics)
    _add_errors(app)


def _add_embeddings(app: FastAPI, serving: Serving) -> None:
    refusals = dict(_REFUSALS)

    @app.post(
        "/v1/embeddings",
        response_model=responses.EmbeddingsAnswer,
        responses=refusals,
        tags=["embeddings"],
        summary="Embed texts and images",
    )
    async def embed(request: requests.EmbeddingsRequest) -> Response:
        return AsciiJSONResponse(await serving.operations.embed(request))

    @app.get(
        "/v1/models",
        response_model=responses.Models,
        responses=dict(_READ_REFUSALS),
        tags=["embeddings"],
        summary="The model that is served",
    )
    async def models() -> Response:
        return AsciiJSONResponse(serving.operations.models())

    @app.get(
        "/v1/models/{name:path}",
        response_model=responses.Model,
        responses={**_READ_REFUSALS, 422: _REFUSALS[422]},
        tags=["embeddings"],
        summary="A model by its name",
    )
    async def model(name: str) -> Response:
        return AsciiJSONResponse(serving.operations.model_named(name))


def _add_search(app: FastAPI, serving: Serving) -> None:
    refusals = dict(_REFUSALS)

    @app.post(
        "/v1/search",
        response_model=responses.SearchAnswer,
        responses=refusals,
        tags=["library"],
        summary="Images that fit words or an image",
    )
    async def search(request: requests.SearchRequest) -> Response:
        return AsciiJSONResponse(await serving.operations.search(request))

    @app.post(
        "/v1/similar",
        response_model=responses.SearchAnswer,
        responses=refusals,
        tags=["library"],
        summary="Images like another one",
    )
    async def similar(request: requests.SimilarRequest) -> Response:
        return AsciiJSONResponse(await serving.operations.search(request))

    @app.post(
        "/v1/context",
        response_model=responses.ContextAnswer,
        responses=refusals,
        tags=["library"],
        summary="Images that fit, for the prompt of a language model",
    )
    async def context(request: requests.ContextRequest) -> Response:
        return AsciiJSONResponse(await serving.operations.context(request))

    @app.post(
        "/v1/classify",
        response_model=responses.ClassifyAnswer,
        responses=refusals,
        tags=["classification"],
        summary="Which label fits an image",
    )
    async def classify(request: requests.ClassifyRequest) -> Response:
        return AsciiJSONResponse(await serving.operations.classify(request))


def _add_health(app: FastAPI, serving: Serving, metrics: ServerMetrics) -> None:
    answers: Mapping[int | str, dict[str, Any]] = {
        503: {"model": responses.Health, "description": "Loading or ending."}
    }

    @app.get("/health/live", response_model=responses.Health, tags=["health"], summary="It runs")
    async def live() -> Response:
        return AsciiJSONResponse({"status": "ok"})

    @app.get(
        "/health/ready",
        response_model=responses.Health,
        responses=dict(answers),
        tags=["health"],
        summary="It answers: the model is loaded, and it is not ending",
    )
    async def ready() -> Response:
        is_ready = serving.phase == "ok"
        return AsciiJSONResponse({"status": serving.phase}, 200 if is_ready else 503)

    @app.get(
        "/metrics",
        response_class=Response,
        responses={
            **{status: _READ_REFUSALS[status] for status in (401, 403)},
            200: {"content": {"text/plain": {}}, "description": "In Prometheus' text form."},
        },
        tags=["health"],
        summary="Numbers for Prometheus",
    )
    async def numbers() -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE)


def _add_errors(app: FastAPI) -> None:
    """Answer whatever is raised in one form."""

    async def refuse(request: Request, error: Exception) -> Response:
        return _refusal(error).answer()

    for kind in (RefusedError, ClipkitError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, refuse)


def _refusal(error: Exception) -> RefusedError:
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, ClipkitError):
        return refusal_of(error)
    if isinstance(error, RequestValidationError):
        faults = error.errors()
        is_json = all(fault["type"] != "json_invalid" for fault in faults)
        return RefusedError(
            422 if is_json else 400,
            describe_faults(faults),
            "invalid_request",
            param=(place_of(faults[0]) or None) if is_json else None,
        )
    if isinstance(error, HTTPException):
        message = _SENTENCES.get(error.status_code, str(error.detail))
        return RefusedError(error.status_code, message, "http_error", error.headers)
    logging.getLogger(__name__).error("%s: %s", type(error).__name__, error)
    return RefusedError(500, "this is a fault of the server; its log says more", "internal_error")


_SENTENCES = {
    400: "the body cannot be parsed: send JSON in UTF-8, not nested deeply and without numbers of "
    "thousands of digits",
    404: "there is nothing at this address: see /openapi.json",
    405: "this address takes another method: see /openapi.json",
}
