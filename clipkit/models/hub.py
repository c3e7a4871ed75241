"""Files of published models: found in this machine's caches, or downloaded from the hub.

What is in the cache is used as it is, without asking the network whether there is something newer;
HF_HUB_OFFLINE is honoured.

A download starts with one short request, which has a timeout and no retry: without a network it
fails within seconds. The download itself resumes and retries as huggingface_hub does it.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from clipkit.errors import CheckpointError, OfflineError
from clipkit.models.hub_cache import cached_file, hub_cache
from clipkit.models.known_models import Tag, known_architectures
from clipkit.models.sources import CONFIG_NAME, starter_directory
from clipkit.models.transformers_layout import (
    INDEX_SUFFIX,
    MODEL_CONFIG,
    PROCESSOR_CONFIGS,
    is_dual_encoder,
    shards,
)
from clipkit.models.transformers_layout import WEIGHTS as TRANSFORMERS_WEIGHTS
from clipkit.models.transformers_tokenizer import SETTINGS, TOKENIZER

SAFE_WEIGHTS = "open_clip_model.safetensors"
WEIGHT_NAMES = (
    SAFE_WEIGHTS,
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)  # in the order in which open_clip prefers them in a directory
HUB_WEIGHT_NAMES = (SAFE_WEIGHTS, "open_clip_pytorch_model.bin")
_TOKENIZERS = (TOKENIZER, "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
_REPLY_SECONDS = 4.0  # timeout of the hub's first answer; a download takes as long as it takes
_WAIT_SECONDS = 5.0  # for that answer or its timeout: looking up a host name has none of its own


def weight_names(entry: Tag) -> tuple[str, ...]:
    """Return the names that a tag's weights may have in its repo, safest first."""
    if not entry.filename:
        return HUB_WEIGHT_NAMES
    stem, _, suffix = entry.filename.rpartition(".")
    if suffix in {"bin", "pth"}:
        return (f"{stem}.safetensors", entry.filename)
    return (entry.filename,)


def cached_weights(entry: Tag, cache_dir: Path | None = None) -> Path | None:
    """Return where a tag's weights lie on this machine, or None.

    Args:
        entry: The tag.
        cache_dir: Where to look; the hub's cache and ``~/.cache/clip`` if None.

    Returns:
        A file of the hub's cache, else one that open_clip downloaded by its URL.
    """
    for name in weight_names(entry):
        path = cached_file(entry.repo, name, cache_dir=cache_dir)
        if path is not None:
            return path
    if entry.url and "openaipublic" not in entry.url:  # those are programs, not tensors
        by_url = (cache_dir or Path.home() / ".cache" / "clip") / entry.url.rpartition("/")[2]
        if by_url.is_file():
            return by_url
    return None


def models_here(cache_dir: Path | None = None) -> dict[str, Path]:
    """Return the models that load without a network, by name.

    Args:
        cache_dir: The cache to look in; the usual ones if None.

    Returns:
        A weights file by name; for the starter and for other hub checkpoints, the directory.
    """
    here: dict[str, Path] = {}
    if (starter_directory() / CONFIG_NAME).is_file():
        here["starter"] = starter_directory()
    repos = set()
    for name, architecture in known_architectures().items():
        for tag, entry in architecture.tags.items():
            repos.add(entry.repo)
            path = cached_weights(entry, cache_dir)
            if path is not None and not name.endswith("-quickgelu"):
                here[f"{name}/{tag}"] = path
    for config in sorted(hub_cache(cache_dir).glob(f"models--*/snapshots/*/{CONFIG_NAME}")):
        repo = config.parts[-4].removeprefix("models--").replace("--", "/")
        weights = [cached_file(repo, name, cache_dir=cache_dir) for name in HUB_WEIGHT_NAMES]
        if repo not in repos and any(weights):
            here[f"hf-hub:{repo}"] = config.parent
    for config in sorted(hub_cache(cache_dir).glob(f"models--*/snapshots/*/{MODEL_CONFIG}")):
        name = f"hf-hub:{config.parts[-4].removeprefix('models--').replace('--', '/')}"
        has_weights = any(config.with_name(file).is_file() for file in TRANSFORMERS_WEIGHTS)
        if name not in here and has_weights and is_dual_encoder(config):
            here[name] = config.parent
    return here


@dataclass
class FileFinder:
    """Finds the files of one model: in the cache first, and on the hub where that is allowed."""

    model: str  # the name that messages give
    cache_dir: Path | None = None
    allow_network: bool = True
    found: list[Path] = field(default_factory=list)

    def file(self, repo: str, *names: str, revision: str | None = None) -> Path:
        """Return the first of several files of a repo that exists.

        Args:
            repo: "org/repo".
            *names: File names, best first.
            revision: A branch, tag or commit; None: the main branch.

        Returns:
            Its path in the cache.

        Raises:
            OfflineError: If none is on this machine and the network cannot or may not be used.
            CheckpointError: If the repo has no such file, or does not let this user in.
        """
        path = self._find(repo, names, revision)
        if path is None:
            raise CheckpointError(f"{repo} on the hub has no {' or '.join(names)}")
        return path

    def optional_file(self, repo: str, name: str, *, revision: str | None = None) -> None:
        """Fetch a file that a repo may lack, where the network may be used."""
        try:
            self.file(repo, name, revision=revision)
        except CheckpointError:
            return

    def config(self, repo: str, revision: str | None) -> Path:
        """Return the config of a checkpoint, in open_clip's layout or else in transformers'.

        Args:
            repo: "org/repo".
            revision: A branch, tag or commit; None: the main branch.

        Returns:
            Its path in the cache: ``open_clip_config.json`` or ``config.json``.

        Raises:
            OfflineError: As `file` raises it.
            CheckpointError: Likewise, or if the repo holds another kind of model.
        """
        theirs = cached_file(repo, MODEL_CONFIG, revision=revision, cache_dir=self.cache_dir)
        ours = cached_file(repo, CONFIG_NAME, revision=revision, cache_dir=self.cache_dir)
        if ours is None and theirs is not None and is_dual_encoder(theirs):
            self.found.append(theirs)
            return theirs
        path = self._find(repo, (CONFIG_NAME,), revision)
        if path is None:
            path = self._find(repo, (MODEL_CONFIG,), revision)
            if path is None or not is_dual_encoder(path):
                raise CheckpointError(
                    f"{repo} on the hub has no {CONFIG_NAME}, and no {MODEL_CONFIG} of a model of "
                    "transformers' with an image and a text encoder"
                )
        return path

    def fetch_transformers(self, repo: str, revision: str | None) -> None:
        """Find the other files of a checkpoint in transformers' layout, all in one directory.

        Args:
            repo: "org/repo".
            revision: A branch, tag or commit; None: the main branch.

        Raises:
            OfflineError: As `file` raises it.
            CheckpointError: Likewise.
        """
        for names in (PROCESSOR_CONFIGS, _TOKENIZERS):
            path = cached_file(repo, names[0], revision=revision, cache_dir=self.cache_dir)
            chosen = path or self.file(repo, *names, revision=revision)
            if chosen.name == "vocab.json":
                self.file(repo, "merges.txt", revision=revision)
        weights = [
            cached_file(repo, name, revision=revision, cache_dir=self.cache_dir)
            for name in TRANSFORMERS_WEIGHTS
        ]
        if not any(weights):  # once whole, the hub is not asked for what a repo may lack
            for name in SETTINGS:
                self.optional_file(repo, name, revision=revision)
        path = self.file(repo, *TRANSFORMERS_WEIGHTS, revision=revision)
        if path.name.endswith(INDEX_SUFFIX):
            for shard in shards(path):
                self.file(repo, shard.name, revision=revision)

    def _find(self, repo: str, names: Sequence[str], revision: str | None) -> Path | None:
        """Return the first of several files, from the cache or the hub; None if it has none."""
        for name in names:
            path = cached_file(repo, name, revision=revision, cache_dir=self.cache_dir)
            if path is not None:
                self.found.append(path)
                return path
        if not self.allow_network:
            raise OfflineError(self._message(repo, names[0], "and loading it uses no network"))
        for name in names:
            path = self._download(repo, name, revision)
            if path is not None:
                self.found.append(path)
                return path
        return None

    def _download(self, repo: str, name: str, revision: str | None) -> Path | None:
        from huggingface_hub import errors as hub_errors
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        try:
            # One short request first: hf_hub_download retries for minutes without a network.
            url = hf_hub_url(repo, name, revision=revision)
            _call_within(_WAIT_SECONDS, lambda: get_hf_file_metadata(url, timeout=_REPLY_SECONDS))
            return Path(hf_hub_download(repo, name, revision=revision, cache_dir=self.cache_dir))
        except (hub_errors.GatedRepoError, hub_errors.RepositoryNotFoundError) as error:
            raise CheckpointError(
                f"the hub has no {repo} for this user: check the name, or run "
                '"hf auth login" if it is gated'
            ) from error
        except hub_errors.RevisionNotFoundError as error:
            raise CheckpointError(f"{repo} on the hub has no revision {revision}") from error
        except Exception as error:
            if isinstance(error, hub_errors.EntryNotFoundError) and not isinstance(
                error, hub_errors.LocalEntryNotFoundError
            ):
                return None
            # The hub's client has had three HTTP libraries, each with errors of its own.
            status = getattr(getattr(error, "response", None), "status_code", None)
            why = f"and the hub answers {status}" if status else "and the hub does not answer"
            raise OfflineError(self._message(repo, name, why)) from error

    def _message(self, repo: str, name: str, why: str) -> str:
        here = ", ".join(models_here(self.cache_dir)) or "no model at all"
        parts = ", ".join(path.name for path in self.found)
        return (
            f"{self.model} is not all on this machine, {why}: {name} of {repo} is missing "
            f"({f'{parts} of it is here; ' if parts else ''}what loads here: {here}); "
            f'run  clipkit fetch "{self.model}"  on a machine with network '
            f"and copy its cache to {hub_cache(self.cache_dir)}"
        )


def _call_within(seconds: float, request: Callable[[], object]) -> None:
    """Call a function in a thread, with a time limit; raise what it raises."""
    answers: SimpleQueue[Exception | None] = SimpleQueue()

    def answer() -> None:
        try:
            request()
        except Exception as error:  # noqa: BLE001 - it is raised where the request was made
            answers.put(error)
        else:
            answers.put(None)

    threading.Thread(target=answer, daemon=True).start()
    try:
        error = answers.get(timeout=seconds)
    except Empty as empty:
        raise TimeoutError("the hub did not answer") from empty
    if error is not None:
        raise error
