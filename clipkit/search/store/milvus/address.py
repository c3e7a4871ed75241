"""The address of a Milvus collection: a URL, and from the environment what a URL must not tell.

    milvus://HOST[:PORT][/DATABASE]/COLLECTION    a server or cluster
    milvus:///PATH/NAME.db[/COLLECTION]           a file of Milvus Lite, which needs no server

Whoever may read or write is asked for by the server, if at all, and said in the environment, so
that no token is in a list of processes, a shell's history or a log:

    CLIPKIT_MILVUS_TOKEN         user:password, or an API key
    CLIPKIT_MILVUS_TLS           1: encrypt, and trust whom the system trusts
    CLIPKIT_MILVUS_CA            file (PEM) of the authority that signed the server; TLS as well
    CLIPKIT_MILVUS_CERTIFICATE   file (PEM) that says who the client is, where servers ask for one
    CLIPKIT_MILVUS_KEY           file (PEM) of the private key to that
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from clipkit.errors import InputError

TOKEN_VARIABLE = "CLIPKIT_MILVUS_TOKEN"
TLS_VARIABLE, CA_VARIABLE = "CLIPKIT_MILVUS_TLS", "CLIPKIT_MILVUS_CA"
_CERTIFICATE, _KEY = "CLIPKIT_MILVUS_CERTIFICATE", "CLIPKIT_MILVUS_KEY"
_DEFAULT_PORT = 19530
WORDS = "_background"  # what the name of the words' collection ends with
_DEFAULT_COLLECTION = "images"  # of a file
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")  # Milvus' rule; room for an ending is left
_FORMS = "milvus://HOST:19530/COLLECTION, or milvus:///PATH/NAME.db for a file of Milvus Lite"


@dataclass(frozen=True)
class MilvusAddress:
    """Where a collection is, and how to get in; printing it tells no token.

    Attributes:
        url: As the user wrote it.
        uri: As pymilvus takes it: http://host:port, https://host:port, or the path of a file.
        collection: The name of the collection.
        database: The database it is in; "" for the default one.
        secrets: Further arguments of `pymilvus.MilvusClient`.
    """

    url: str
    uri: str
    collection: str
    database: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def words_collection(self) -> str:
        """The name of the collection of the words that queries are weighed against."""
        return f"{self.collection}{WORDS}"

    @property
    def is_file(self) -> bool:
        """Whether it is a file of Milvus Lite."""
        return "://" not in self.uri

    def __str__(self) -> str:
        """Return the URL."""
        return self.url


def read_address(url: str, environment: Mapping[str, str] | None = None) -> MilvusAddress:
    """Return the address that a URL and the environment describe.

    Args:
        url: As above.
        environment: The variables; None for those of the process.

    Returns:
        The address.

    Raises:
        InputError: If the URL is of another form or tells a token, or a certificate is not there.
    """
    variables = os.environ if environment is None else environment
    parts, port = _split(url)
    if not parts.hostname:
        return _file_address(url, parts.path)
    *databases, collection = parts.path.strip("/").split("/")
    if len(databases) > 1 or not all(map(_NAME.fullmatch, (*databases, collection))):
        raise InputError(
            f"{url!r} must end with the name of a collection (letters, digits and _, no digit "
            f"first), perhaps after that of a database: {_FORMS}"
        )
    has_tls = bool(variables.get(CA_VARIABLE)) or variables.get(TLS_VARIABLE, "") not in ("", "0")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return MilvusAddress(
        url,
        f"{'https' if has_tls else 'http'}://{host}:{port or _DEFAULT_PORT}",
        collection,
        "".join(databases),
        _secrets(variables),
    )


def _split(url: str) -> tuple[SplitResult, int | None]:
    """Return the parts of a URL and its port; no message repeats what may be a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError(f"the store's address is no URL ({error}): give {_FORMS}") from error
    if parts.username is not None or parts.password is not None or parts.query:
        raise InputError(
            "a store's URL must not hold a user, password or token, which processes and logs "
            f"would show: set {TOKEN_VARIABLE} in the environment, and give {_FORMS}"
        )
    if parts.scheme != "milvus" or parts.fragment:
        raise InputError(f"a store must be {_FORMS}, got {url!r}")
    return parts, port


def _file_address(url: str, path: str) -> MilvusAddress:
    """Return the address of a collection in a file."""
    found = re.fullmatch(r"(/.*[^/]\.db)(?:/([^/]*))?", path)
    collection = (found and found[2]) or _DEFAULT_COLLECTION
    if not found or not _NAME.fullmatch(collection):
        raise InputError(f"a store must be {_FORMS} (its name ends with .db), got {url!r}")
    return MilvusAddress(url, found[1], collection)


def _secrets(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what `pymilvus.MilvusClient` takes of the environment."""
    secrets = {"token": variables.get(TOKEN_VARIABLE, "")}
    has_certificate = bool(variables.get(_CERTIFICATE))
    if has_certificate != bool(variables.get(_KEY)):
        raise InputError(f"{_CERTIFICATE} and {_KEY} belong together: set both, or neither")
    # A server's own certificate, trusted alone, or the authority's beside that of the client.
    names = {CA_VARIABLE: "ca_pem_path" if has_certificate else "server_pem_path"}
    names |= {_CERTIFICATE: "client_pem_path", _KEY: "client_key_path"}
    for variable, name in names.items():
        if path := variables.get(variable):
            if not Path(path).is_file():
                raise InputError(f"{variable} is {path!r}, and there is no such file")
            secrets[name] = path
    return {name: value for name, value in secrets.items() if value}
