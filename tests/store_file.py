"""A store in a file of Milvus Lite, for tests of what is sent to a store and searched in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clipkit.search.store.milvus.connection import MilvusConnection


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A store's URL; connections to it are closed after the test, as they are with the process."""
    made: list[MilvusConnection] = []
    make = MilvusConnection.__init__

    def remember(self: MilvusConnection, *arguments: object, **options: object) -> None:
        make(self, *arguments, **options)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(MilvusConnection, "__init__", remember)
    yield f"milvus://{tmp_path}/milvus.db/photos"
    for connection in made:
        connection.close()
