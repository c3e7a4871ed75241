"""A real Milvus server that asks who is there, over TLS: what is in the environment lets one in."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import trustme

from clipkit.embeddings import normalize_rows
from clipkit.errors import LibraryError
from clipkit.search.store.milvus.address import read_address
from clipkit.search.store.milvus.connection import MilvusConnection
from clipkit.search.store.milvus.store import MilvusStore
from clipkit.search.store.records import CatalogMeta, ImageRow
from tests.search.store.conftest import StartMilvus

pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
pytestmark = pytest.mark.slow

TOKEN = "root:Milvus"  # of a server that nobody has changed
META = CatalogMeta("/photos", "space", 4, "starter", "onnx", "fp32", "0.2", "")


def test_a_token_and_a_certificate_let_one_in(start_milvus: StartMilvus, tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    other = tmp_path / "other.pem"
    url = start_milvus(_secured(tmp_path, authority)).url("photos")
    trustme.CA().cert_pem.write_to_path(str(other))
    trusted = {"CLIPKIT_MILVUS_CA": str(authority)}

    # Before any client is let in: pymilvus keeps the connections of a process, and uses them again.
    for unknown in ({}, {"CLIPKIT_MILVUS_TLS": "1"}, {"CLIPKIT_MILVUS_CA": str(other)}):
        with pytest.raises(
            LibraryError, match=r"no Milvus server answers at .*MILVUS_TLS"
        ) as caught:
            _open(url, unknown | {"CLIPKIT_MILVUS_TOKEN": TOKEN}).count()
        assert TOKEN not in str(caught.value)
    for refused in ({}, {"CLIPKIT_MILVUS_TOKEN": "root:another"}):
        with pytest.raises(LibraryError, match="refuses the token: set CLIPKIT_MILVUS_TOKEN to"):
            _open(url, trusted | refused).count()
    store = _open(url, trusted | {"CLIPKIT_MILVUS_TOKEN": TOKEN})
    store.create(META)
    store.upsert([ImageRow("a.jpg", 1, 1, 0, digest=bytes(16))], normalize_rows(np.ones((1, 4))))
    assert store.count() == 1
    store.drop()
    store.close()


def _secured(folder: Path, authority: Path) -> dict[str, object]:
    """Return the settings of a server with a certificate; write that of its authority."""
    made = trustme.CA()
    certificate = made.issue_cert("127.0.0.1", "localhost")
    made.cert_pem.write_to_path(str(authority))
    chain, key = folder / "server.pem", folder / "server.key"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(key))
    return {
        "authorization_enabled": True,
        "tls_mode": 1,
        "server_pem_path": str(chain),
        "server_key_path": str(key),
        "ca_pem_path": str(authority),
    }


def _open(url: str, environment: Mapping[str, str]) -> MilvusStore:
    return MilvusStore(MilvusConnection(read_address(url, environment), patience=1))
