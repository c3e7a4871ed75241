"""Shards that lie elsewhere, fetched whole into the cache."""

import hashlib
import os
import re
import secrets
import shutil
from pathlib import Path

from clipkit.errors import InputError
from clipkit.places import cache_directory, readable_name

# More than one letter, or it were a drive on Windows.
_SCHEME = re.compile(r"(?!file:)[a-z][a-z0-9]+:(?!:)")


def is_remote(url: str) -> bool:
    """Return whether a shard is not a file: an address, or the output of a command ("pipe:…").

    What lies here under that name is none, such as a folder "trip:rome".
    """
    is_here = os.path.exists(url)  # noqa: PTH110 - Path.exists raises for a name too long
    return _SCHEME.match(url) is not None and not is_here


def fetch_shard(url: str) -> Path:
    """Return a shard's copy in the cache, fetched if it is not there.

    What is there is not asked for again, also if it has changed since: delete it for that.

    Args:
        url: What webdataset's gopen opens: http, https, gs, hf, pipe and others.

    Returns:
        The file.

    Raises:
        InputError: If it cannot be fetched.
    """
    from webdataset.gopen import gopen

    digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    name = readable_name(url.rpartition("/")[2].removesuffix(".tar"), fallback="shard")
    place = cache_directory() / "shards" / f"{name}-{digest}.tar"
    if place.is_file():
        return place
    draft = place.with_name(f"{place.name}.{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with gopen(url) as stream, draft.open("wb") as file:
            shutil.copyfileobj(stream, file)
        if not draft.stat().st_size:
            raise ValueError("there is nothing in it")
        draft.replace(place)
    except Exception as error:  # each kind of address fails in its own way
        raise InputError(f"the shard {url} cannot be fetched: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return place
