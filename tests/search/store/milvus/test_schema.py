"""Rows of a collection and records of images, each as the other."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipkit.errors import LibraryError
from clipkit.search.store.milvus.schema import (
    RECORD_FIELDS,
    decode_path,
    digest_key,
    encode_path,
    entity_of,
    meta_of,
    path_key,
    properties_of,
    record_of,
    share_of_keys,
)
from clipkit.search.store.records import CatalogMeta, ImageRow

# What Python makes of the names of files: any letters, and single bytes that are no letters.
NAMES = st.text(st.characters() | st.characters(codec=None, categories=["Cs"]) | st.just("\x01"))


@given(path=NAMES, other=NAMES)
@example(path="a\x01dce9", other="")  # looks as if it were encoded already
def test_any_path_becomes_valid_unicode_and_back(path: str, other: str) -> None:
    stored = encode_path(path)
    stored.encode()
    assert decode_path(stored) == path
    # Letter by letter, so that a folder's paths begin as the folder does, and no others.
    assert encode_path(path + other) == stored + encode_path(other)
    assert other.startswith(path) == encode_path(other).startswith(stored)


@pytest.mark.parametrize(
    "record",
    [
        ImageRow("a.jpg", 0, -5, 7),
        ImageRow("é/\udcff.jpg", 2**40, 10**18, 7, False, b"\0" * 16, 0, 3, "2024-06-01", "Cänon"),
    ],
)
def test_a_record_becomes_fields_and_back(record: ImageRow) -> None:
    entity = entity_of(record, np.zeros(2, np.float32))
    assert record_of({name: entity[name] for name in RECORD_FIELDS}, 7) == record


def test_keys_are_in_the_order_of_the_digests_and_fit_into_what_milvus_takes() -> None:
    digests = [bytes(16), b"\0" * 7 + b"\2" * 9, b"\x7f" + b"\xff" * 15, b"\x80" * 16, b"\xff" * 16]
    keys = [digest_key(digest) for digest in digests]
    assert keys == sorted(keys)
    assert min(keys) == 0
    assert max(keys) == digest_key(None) == 2**63 - 1
    assert digest_key(b"\x80" + bytes(15)) == share_of_keys(0.5) == 2**62
    assert 0 <= path_key("a.jpg") < 2**63


META = CatalogMeta("/caf\udce9", "space", 8, "starter", "onnx", "fp32", "0.2", "", decoder="pillow")


def test_properties_tell_of_the_whole() -> None:
    stored = properties_of(META)
    for value in stored.values():
        value.encode()
    assert meta_of({"mmap.enabled": "true", **stored}, "milvus://host/photos") == META


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({}, "was not made by clipkit"),
        ({**properties_of(META), "clipkit.format": "2"}, "update clipkit"),
        ({"clipkit.format": "1"}, "--rebuild"),
        ({**properties_of(META), "clipkit.embed_dim": "{"}, "--rebuild"),
    ],
)
def test_a_collection_of_somebody_else_is_refused(properties: dict[str, str], message: str) -> None:
    with pytest.raises(LibraryError, match=message):
        meta_of(properties, "milvus://host/photos")
