"""The page as an MCP server, asked by a client of the protocol."""

import asyncio
import json
import select
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

from clipkit.demo.api_calls import CallError, read_tool_call
from clipkit.demo.request_filter import MCP
from tests.conftest import SAMPLES
from tests.demo.conftest import WARNINGS, served


def call(**arguments: object) -> bytes:
    parameters = {"name": "search", "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}
    return json.dumps(message).encode()


def test_a_tool_is_given_words_and_numbers() -> None:
    message = read_tool_call(call(query="a cat", count=3, image=None))
    assert message["params"]["arguments"] == {"query": "a cat", "count": 3, "image": None}
    assert read_tool_call(b'{"method": "tools/list"}') == {"method": "tools/list"}


@pytest.mark.parametrize(
    "body",
    [call(image="http://127.0.0.1:1/x.jpg"), call(image="HTTPS://a.example"), b"{", b"[]",
     call(image="data:image/png;base64,AAAA"), call(image={"path": "/etc/passwd"}),
     call(query=["a"]), b'{"method": "tools/call", "params": {"arguments": [1]}}'],
    ids=lambda body: body[-60:].decode(),
)  # fmt: skip
def test_a_tool_is_given_no_file_and_no_address(body: bytes) -> None:
    with pytest.raises(CallError):
        read_tool_call(body)


def run_apart(job: Coroutine[Any, Any, Any]) -> Any:
    """Run a job in a thread: the browser of other tests has a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, job).result()


async def with_client(address: str, use: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async with (
        streamablehttp_client(f"{address.rstrip('/')}{MCP}") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        return await use(session)


@pytest.mark.slow
class TestServed:
    """What a client gets from a page that is served."""

    pytestmark = WARNINGS

    def test_a_client_lists_the_tools_and_finds_the_cat(self, tmp_path: Path) -> None:
        pytest.importorskip("mcp", reason='--mcp needs  pip install "clipkit[mcp]"')

        async def use(session: Any) -> tuple[Any, ...]:
            tools = await session.list_tools()
            found = await session.call_tool("search", {"query": "a cat", "count": 2})
            narrow = {"query": "", "sort": "name", "folder": "nowhere", "size": 100}
            nothing = await session.call_tool("search", narrow)
            wrong = await session.call_tool("search", {"query": "", "date_to": "soon"})
            return {tool.name: tool for tool in tools.tools}, found, nothing, wrong

        with served(SAMPLES, tmp_path, has_mcp=True) as address:
            tools, found, nothing, wrong = run_apart(with_client(address, use))
        fields = tools["search"].inputSchema["properties"]
        assert "landscape, portrait or square" in fields["shape"]["description"]
        assert tools["search"].inputSchema["required"] == ["query"]
        assert "'file': 'cat.jpg'" in found.content[0].text
        assert "Found 1 among" in found.content[0].text
        assert "passes the filters" in nothing.content[0].text
        assert wrong.isError
        assert "got soon" in wrong.content[0].text

    def test_nothing_is_fetched_and_other_names_are_refused(self, tmp_path: Path) -> None:
        pytest.importorskip("mcp", reason='--mcp needs  pip install "clipkit[mcp]"')
        accept = {"Accept": "application/json, text/event-stream"}
        with (
            served(SAMPLES, tmp_path, has_mcp=True) as address,
            socket.create_server(("127.0.0.1", 0)) as listener,
        ):
            there = f"http://127.0.0.1:{listener.getsockname()[1]}/x.jpg"
            place = f"{address.rstrip('/')}{MCP}"
            for body, headers, status in (
                (call(query="", image=there), accept, 422),
                (call(query="a cat"), {**accept, "Host": "evil.example"}, 403),
                (call(query="a cat"), {**accept, "Origin": "http://evil.example"}, 403),
                (call(query="a" * 2**18), accept, 413),
            ):
                kind = {"Content-Type": "application/json"}
                answer = httpx.post(place, content=body, headers={**kind, **headers})
                assert answer.status_code == status
            assert httpx.get(place, headers=accept).status_code == 405
            assert httpx.get(f"{place}sse").status_code == 404
            assert not select.select([listener], [], [], 0)[0], "somebody was sent to fetch"

    def test_without_the_option_there_is_none(self, address: str) -> None:
        answer = httpx.post(f"{address.rstrip('/')}{MCP}", content=call(query="a cat"))
        assert answer.status_code == 404
