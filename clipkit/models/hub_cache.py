"""The Hugging Face cache on this machine, without asking the hub.

Every tool that uses it looks in one place: HF_HOME and HF_HUB_CACHE are honoured, and a cache
directory given by hand wins. A repository is a directory in it: ``blobs`` holds the files under
names that their bytes decide, ``snapshots/COMMIT`` has links to them under their own names, and
``refs`` says which commit a branch was at.
"""

from pathlib import Path

from clipkit.files import write_text

PARTIAL_SUFFIX = ".incomplete"  # of a file in blobs that has not arrived whole


def hub_cache(cache_dir: Path | None = None) -> Path:
    """Return the directory of the cache: the given one, or the usual one."""
    from huggingface_hub import constants

    return cache_dir or Path(constants.HF_HUB_CACHE)


def repo_directory(repo: str, cache_dir: Path | None = None) -> Path:
    """Return where the files of a repository lie in the cache, whether there are any or not."""
    return hub_cache(cache_dir) / f"models--{repo.replace('/', '--')}"


def cached_file(
    repo: str, filename: str, *, revision: str | None = None, cache_dir: Path | None = None
) -> Path | None:
    """Return a hub file's path in the cache, or None when it is not there."""
    from huggingface_hub import try_to_load_from_cache

    try:
        path = try_to_load_from_cache(repo, filename, cache_dir=cache_dir, revision=revision)
    except ValueError:  # no repository can have such a name
        return None
    return Path(path) if isinstance(path, str) and Path(path).is_file() else None


def cached_commit(repo: str, revision: str | None, cache_dir: Path | None = None) -> str | None:
    """Return the commit that a branch or tag was at when it was fetched; None: it never was."""
    try:
        return _ref(repo, revision, cache_dir).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def set_cached_commit(
    repo: str, revision: str | None, commit: str, cache_dir: Path | None = None
) -> None:
    """Note which commit a branch or tag is at, so that its files are found from then on.

    Args:
        repo: "org/repo".
        revision: A branch or tag; None: the main branch. A commit needs no note.
        commit: Its 40 digits.
        cache_dir: The hub cache; the usual one if None.

    Raises:
        OSError: If it cannot be written.
    """
    if revision == commit or cached_commit(repo, revision, cache_dir) == commit:
        return
    ref = _ref(repo, revision, cache_dir)
    ref.parent.mkdir(parents=True, exist_ok=True)
    write_text(ref, commit)


def _ref(repo: str, revision: str | None, cache_dir: Path | None) -> Path:
    return repo_directory(repo, cache_dir) / "refs" / (revision or "main")
