"""Addresses of collections: what a URL may say, and what it must not."""

from pathlib import Path

import pytest

from clipkit.errors import InputError
from clipkit.search.store.milvus.address import read_address


@pytest.mark.parametrize(
    ("url", "uri", "collection", "database"),
    [
        ("milvus://host:19531/photos", "http://host:19531", "photos", ""),
        ("milvus://host/photos", "http://host:19530", "photos", ""),
        ("milvus://10.0.0.1:1/_a1/", "http://10.0.0.1:1", "_a1", ""),
        ("milvus://[::1]:19530/photos", "http://[::1]:19530", "photos", ""),
        ("milvus://host/family/photos", "http://host:19530", "photos", "family"),
        ("milvus:///data/all of it.db", "/data/all of it.db", "images", ""),
        ("milvus:///data/x.db/photos", "/data/x.db", "photos", ""),
    ],
)
def test_a_url_names_server_and_collection(
    url: str, uri: str, collection: str, database: str
) -> None:
    address = read_address(url, {})
    assert (address.uri, address.collection, address.database) == (uri, collection, database)
    assert address.is_file == url.startswith("milvus:///")
    assert str(address) == url


@pytest.mark.parametrize(
    "url",
    [
        "milvus://host",
        "milvus://host/",
        "milvus://host/1st",
        "milvus://host/my-photos",
        "milvus://host/a/b/c",
        "milvus://host:port/photos",
        "milvus:///data/photos.sqlite",
        "milvus:///.db",
        "http://host:19530/photos",
        "host:19530/photos",
        "",
    ],
)
def test_other_urls_are_refused_with_the_form_to_use(url: str) -> None:
    with pytest.raises(InputError, match="milvus://HOST:19530/COLLECTION"):
        read_address(url, {})


@pytest.mark.parametrize(
    "url", ["milvus://root:secret@host/photos", "milvus://host/photos?token=secret"]
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError, match="CLIPKIT_MILVUS_TOKEN") as caught:
        read_address(url, {})
    assert "secret" not in str(caught.value)


def test_secrets_come_from_the_environment_and_are_not_printed(tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    pem.write_text("-")
    address = read_address(
        "milvus://host/photos",
        {"CLIPKIT_MILVUS_TOKEN": "root:secret", "CLIPKIT_MILVUS_CA": f"{pem}"},
    )
    assert address.uri == "https://host:19530"
    assert address.secrets == {"token": "root:secret", "server_pem_path": str(pem)}
    assert "secret" not in f"{address} {address!r}"


def test_tls_and_a_certificate_of_the_client(tmp_path: Path) -> None:
    pem = tmp_path / "any.pem"
    pem.write_text("-")
    assert read_address("milvus://host/a", {"CLIPKIT_MILVUS_TLS": "1"}).uri == "https://host:19530"
    assert read_address("milvus://host/a", {"CLIPKIT_MILVUS_TLS": "0"}).uri == "http://host:19530"
    names = ("CLIPKIT_MILVUS_CA", "CLIPKIT_MILVUS_CERTIFICATE", "CLIPKIT_MILVUS_KEY")
    assert read_address("milvus://host/a", dict.fromkeys(names, str(pem))).secrets == {
        "ca_pem_path": str(pem),
        "client_pem_path": str(pem),
        "client_key_path": str(pem),
    }
    with pytest.raises(InputError, match="belong together"):
        read_address("milvus://host/a", {"CLIPKIT_MILVUS_KEY": str(pem)})
    with pytest.raises(InputError, match="no such file"):
        read_address("milvus://host/a", {"CLIPKIT_MILVUS_CA": "/not/there.pem"})
