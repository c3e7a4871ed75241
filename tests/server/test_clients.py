"""Existing clients, unchanged, against a server that runs: OpenAI's, and one of MCP."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import clipkit
from tests.conftest import SAMPLES
from tests.server.conftest import KEY, RunningServer, data_url, served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the client has two names for one
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_openais_client_embeds_texts_and_images(
    server: RunningServer, starter: clipkit.Encoder
) -> None:
    openai = pytest.importorskip("openai", reason="a client to test with")
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        (model,) = client.models.list().data
        assert client.models.retrieve("starter").id == model.id == "starter"
        # It asks for base64 by itself, and decodes it.
        found = client.embeddings.create(model=model.id, input=["a cat", "an owl"])
        expected = starter.encode_texts(["a cat", "an owl"])
        rows = [each.embedding for each in found.data]
        np.testing.assert_allclose(rows, expected, atol=1e-5)
        assert found.usage.prompt_tokens == 8
        image = client.embeddings.create(
            model=model.id, input=data_url(), extra_body={"modality": "image"},
            encoding_format="float",
        )  # fmt: skip
        row = starter.encode_image(SAMPLES / "cat.jpg")
        np.testing.assert_allclose(image.data[0].embedding, row, atol=1e-4)
        short = client.embeddings.create(model=model.id, input="a cat", dimensions=16)
        assert len(short.data[0].embedding) == 16
        with pytest.raises(openai.NotFoundError, match="is not served here") as caught:
            client.embeddings.create(model="text-embedding-3-small", input="a cat")
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.UnprocessableEntityError, match="never followed"):
            client.embeddings.create(
                model=model.id, input="https://a.example/x.jpg", extra_body={"modality": "image"}
            )


def test_with_a_key_only_who_has_it_is_answered(tmp_path: Any) -> None:
    openai = pytest.importorskip("openai", reason="a client to test with")
    with served(tmp_path, CLIPKIT_API_KEY=KEY) as server:
        address = f"{server.address}/v1"
        with openai.OpenAI(base_url=address, api_key=KEY) as client:
            assert client.models.list().data[0].id == "starter"
        with (
            openai.OpenAI(base_url=address, api_key="wrong") as client,
            pytest.raises(openai.AuthenticationError, match="a key is needed"),
        ):
            client.models.list()

        async def use(session: Any) -> Any:
            return await session.list_tools()

        headers = {"Authorization": f"Bearer {KEY}"}
        assert len(ask_mcp(server, use, headers).tools) == 5
        assert not any(KEY in line for line in server.lines)


def ask_mcp(server: RunningServer, use: Any, headers: dict[str, str] | None = None) -> Any:
    """Run a job with a client of MCP, in a thread: the browser of other tests has a loop here."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def job() -> Any:
        async with (
            streamablehttp_client(f"{server.address}/mcp", headers=headers) as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await use(session)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, job()).result()


def test_an_mcp_client_lists_the_tools_and_uses_them(server: RunningServer) -> None:
    async def use(session: Any) -> tuple[Any, ...]:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        found = await session.call_tool("search", {"query": "a cat", "k": 2})
        similar = await session.call_tool("similar", {"path": "cat.jpg", "k": 1})
        labels = {"path": "cat.jpg", "labels": ["cat", "dog"]}
        label = await session.call_tool("classify", labels)
        context = await session.call_tool("context", {"query": "a castle", "k": 1})
        row = await session.call_tool("embed", {"input": "a cat"})
        wrong = await session.call_tool("search", {"query": "a cat", "k": "many"})
        nothing = await session.call_tool("similar", {"path": "/etc/passwd"})
        return tools, found, similar, label, context, row, wrong, nothing

    tools, *answers, wrong, nothing = ask_mcp(server, use)
    assert set(tools) == {"search", "similar", "classify", "context", "embed"}
    fields = tools["search"].inputSchema["properties"]
    assert "never a path" in fields["query"]["description"]
    found, similar, label, context, row = (json.loads(each.content[0].text) for each in answers)
    assert not any(each.isError for each in answers)
    assert found["hits"][0]["path"] == "cat.jpg"
    assert len(similar["hits"]) == 1
    assert label["labels"][0]["label"] == "cat"
    assert context["schema"] == "clipkit.context/1"
    assert len(row["data"][0]["embedding"]) == 384
    assert wrong.isError
    assert "k: Input should be a valid integer" in wrong.content[0].text
    assert nothing.isError
    assert "no indexed image" in nothing.content[0].text
