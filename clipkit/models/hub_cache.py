"""The Hugging Face cache on this machine, without asking the hub.

Every tool that uses it looks in one place: HF_HOME and HF_HUB_CACHE are honoured, and a cache
directory given by hand wins.
"""

from pathlib import Path


def hub_cache(cache_dir: Path | None = None) -> Path:
    """Return the directory of the cache: the given one, or the usual one."""
    from huggingface_hub import constants

    return cache_dir or Path(constants.HF_HUB_CACHE)


def cached_file(
    repo: str, filename: str, *, revision: str | None = None, cache_dir: Path | None = None
) -> Path | None:
    """Return a hub file's path in the cache, or None when it is not there."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo, filename, cache_dir=cache_dir, revision=revision)
    return Path(path) if isinstance(path, str) and Path(path).is_file() else None
