"""Files of published models: found in this machine's caches, or downloaded from the hub.

Loading uses what is in the cache as it is, without asking the network whether there is something
newer. ``clipkit fetch`` asks: it makes the cache what the hub has. HF_HUB_OFFLINE is honoured.

Each file starts with one short question, which has a timeout and is not repeated: without a network
it fails within seconds. All files of a repository are of one commit, and a branch that has moved on
counts as moved only once all of them are here: an interrupted fetch leaves the old model whole.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from clipkit.errors import CheckpointError, OfflineError
from clipkit.models.hub_cache import cached_commit, cached_file, hub_cache, set_cached_commit
from clipkit.models.hub_download import ask_hub, download, remove_partial_files, show_bar
from clipkit.models.hub_errors import Failure, describe_failure, disk_failure
from clipkit.models.known_models import Tag, known_architectures
from clipkit.models.sources import CONFIG_NAME, starter_directory
from clipkit.models.transformers_layout import (
    INDEX_SUFFIX,
    INNER_CONFIG,
    INNER_DIRECTORY,
    MODEL_CONFIG,
    is_dual_encoder,
    model_directory,
    model_type,
    shards,
)
from clipkit.models.transformers_layout import WEIGHTS as TRANSFORMERS_WEIGHTS
from clipkit.models.transformers_preprocess import PROCESSOR_CONFIGS
from clipkit.models.transformers_tokenizer import SENTENCEPIECE, SETTINGS, TOKENIZER
from clipkit.progress import Progress

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
_TOKENIZERS = (TOKENIZER, "vocab.json", "vocab.txt", SENTENCEPIECE, "sentencepiece.bpe.model")


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
    snapshots = sorted(hub_cache(cache_dir).glob("models--*/snapshots/*"))
    for directory in filter(None, map(model_directory, snapshots)):
        folder = directory.relative_to(hub_cache(cache_dir)).parts[0]
        name = f"hf-hub:{folder.removeprefix('models--').replace('--', '/')}"
        has_weights = any((directory / file).is_file() for file in TRANSFORMERS_WEIGHTS)
        if name not in here and has_weights:
            here[name] = directory
    return here


@dataclass
class FileFinder:
    """Finds the files of one model: in the cache first, and on the hub where that is allowed."""

    model: str  # the name that messages give
    cache_dir: Path | None = None
    allow_network: bool = True
    is_fetch: bool = False  # whether the hub is asked also for what is in the cache
    again: bool = False  # whether what is in the cache is downloaded again
    say: Callable[[str], None] = lambda line: None  # called with what a person should know
    progress_for: Callable[[str], AbstractContextManager[Progress]] = show_bar
    found: list[Path] = field(default_factory=list)
    failure: Failure | None = None  # of the last file that could not be fetched
    _commits: dict[tuple[str, str | None], str] = field(default_factory=dict)  # by repo, revision

    @property
    def is_answered(self) -> bool:
        """Whether the hub has answered any question."""
        return bool(self._commits)

    def cached(self, repo: str, name: str, revision: str | None = None) -> Path | None:
        """Return a file of the cache that is used without asking the hub, or None."""
        if self.is_fetch:
            return None
        return cached_file(repo, name, revision=revision, cache_dir=self.cache_dir)

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
            CheckpointError: If the repo has no such file, does not let this user in, or a download
                fails.
        """
        path = self._find(repo, names, revision)
        if path is None:
            raise CheckpointError(f"{repo} on the hub has no {' or '.join(names)}")
        return path

    def optional_file(self, repo: str, name: str, *, revision: str | None = None) -> None:
        """Fetch a file that a repo may lack, where the network may be used."""
        if self.allow_network:
            self._find(repo, (name,), revision)

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
        ours = self.cached(repo, CONFIG_NAME, revision)
        for name in (MODEL_CONFIG, INNER_CONFIG) if ours is None else ():
            theirs = self.cached(repo, name, revision)
            if theirs is not None and is_dual_encoder(theirs):
                self.found.append(theirs)
                return theirs
        path = self._find(repo, (CONFIG_NAME,), revision)
        if path is not None:
            return path
        for name in (MODEL_CONFIG, INNER_CONFIG):
            path = self._find(repo, (name,), revision)
            if path is not None and is_dual_encoder(path):
                return path
        raise CheckpointError(
            f"{repo} on the hub has no {CONFIG_NAME}, and no {MODEL_CONFIG} of a model of "
            f"transformers' with an image and a text encoder, nor one in {INNER_DIRECTORY}"
        )

    def fetch_transformers(self, config: Path, repo: str, revision: str | None) -> None:
        """Find the other files of a checkpoint in transformers' layout, all in one directory.

        Args:
            config: As `config` returned it: the others are in the same directory of the repo.
            repo: "org/repo".
            revision: A branch, tag or commit; None: the main branch.

        Raises:
            OfflineError: As `file` raises it.
            CheckpointError: Likewise.
        """
        inside = f"{INNER_DIRECTORY}/" if config.parent.name == INNER_DIRECTORY else ""

        def find(*names: str) -> Path:
            return self.file(repo, *(f"{inside}{name}" for name in names), revision=revision)

        def cached(name: str) -> Path | None:
            return self.cached(repo, f"{inside}{name}", revision)

        for names in (PROCESSOR_CONFIGS, _TOKENIZERS):
            chosen = cached(names[0]) or find(*names)
            if chosen.name == "vocab.json":
                find("merges.txt")
        if not any(map(cached, TRANSFORMERS_WEIGHTS)):
            # Once whole, the hub is not asked for what a repo may lack. transformers' own tokenizer
            # of SigLIP reads SentencePiece's file even where there is a tokenizer.json.
            is_siglip = model_type(config) == "siglip"
            for name in (*SETTINGS, *([SENTENCEPIECE] if is_siglip else [])):
                self.optional_file(repo, f"{inside}{name}", revision=revision)
        path = find(*TRANSFORMERS_WEIGHTS)
        if path.name.endswith(INDEX_SUFFIX):
            for shard in shards(path):
                find(shard.name)

    def finish(self) -> None:
        """Note at which commits the branches are and remove what is left of other downloads.

        To be called once all files of the model are here.

        Raises:
            CheckpointError: If the cache cannot be written.
        """
        for (repo, revision), commit in self._commits.items():
            self._set_commit(repo, revision, commit)
            remove_partial_files(repo, self.cache_dir)

    def _find(self, repo: str, names: Sequence[str], revision: str | None) -> Path | None:
        """Return the first of several files, from the cache or the hub; None if it has none."""
        for name in names:
            path = self.cached(repo, name, revision)
            if path is not None:
                self.found.append(path)
                return path
        if not self.allow_network:
            raise OfflineError(self._missing(repo, names[0], "loading it uses no network"))
        for name in names:
            path = self._download(repo, name, revision)
            if path is not None:
                self.found.append(path)
                return path
        return None

    def _download(self, repo: str, name: str, revision: str | None) -> Path | None:
        from huggingface_hub import errors as hub_errors

        here = cached_commit(repo, revision, self.cache_dir)
        pinned = self._commits.get((repo, revision)) or (None if self.is_fetch else here)
        try:
            remote = ask_hub(repo, name, pinned or revision)
            if (repo, revision) not in self._commits:
                self._commits[repo, revision] = remote.commit
                if here is not None and here != remote.commit:
                    self.say(
                        f"{repo} has changed on the hub: {revision or 'main'} was {here[:7]} "
                        f"and is {remote.commit[:7]}"
                    )
            path = download(remote, self.cache_dir, self.progress_for, again=self.again)
        except hub_errors.RevisionNotFoundError as error:
            if pinned is None or revision == pinned:
                raise self._error(error, repo, name, revision) from error
            raise CheckpointError(
                f"the files of {repo} on this machine are of commit {pinned[:7]}, which the hub "
                f'does not have any more, and {name} is missing: run  clipkit fetch "{self.model}"'
            ) from error
        except Exception as error:
            if isinstance(error, hub_errors.EntryNotFoundError) and not isinstance(
                error, hub_errors.LocalEntryNotFoundError
            ):
                return None
            raise self._error(error, repo, name, revision) from error
        if here is None:  # nothing that is whole is lost
            self._set_commit(repo, revision, remote.commit)
        return path

    def _set_commit(self, repo: str, revision: str | None, commit: str) -> None:
        try:
            set_cached_commit(repo, revision, commit, self.cache_dir)
        except OSError as error:
            failure = disk_failure(error, Path(error.filename or hub_cache(self.cache_dir)))
            raise CheckpointError(f"{failure.reason}: {failure.remedy}") from error

    def _error(self, error: Exception, repo: str, name: str, revision: str | None) -> Exception:
        """Return what to raise when a file could not be fetched: the error itself if unknown."""
        self.failure = describe_failure(error, repo, revision)
        if self.failure is None:
            return error
        kind = OfflineError if self.failure.is_network else CheckpointError
        if self.failure.is_unasked:
            return kind(self._missing(repo, name, self.failure.reason, self.failure.remedy))
        return kind(
            f"{name} of {repo} cannot be fetched: {self.failure.reason}; {self.failure.remedy}"
        )

    def _missing(self, repo: str, name: str, why: str, remedy: str | None = None) -> str:
        here = ", ".join(models_here(self.cache_dir)) or "no model at all"
        parts = ", ".join(path.name for path in self.found)
        if remedy is None:
            place = f'run  clipkit fetch "{self.model}"  on a machine with network'
            if self.is_fetch:  # it was just run
                place = "connect this machine to the network, or do this on one that is connected"
            remedy = f"{place} and copy its cache to {hub_cache(self.cache_dir)}"
        return (
            f"{self.model} is not all on this machine, and {why}: {name} of {repo} is missing "
            f"({f'{parts} of it is here; ' if parts else ''}what loads here: {here}); {remedy}"
        )
