"""Near names: what a message suggests for a model's name that is not known. Imports no torch."""

import re
from collections.abc import Iterable

from clipkit.models.known_models import known_architectures

_QUICK_GELU_SUFFIX = "-quickgelu"
_MAX_NAMES = 3


def normalize_name(text: str) -> str:
    """Return a name without the case and separators that people vary.

    Args:
        text: The name.

    Returns:
        Lower-case letters and digits, with one "-" between words.

    Example:
        >>> normalize_name(" ViT-B/32:LAION2B_s34b_b79k")
        'vit-b-32-laion2b-s34b-b79k'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def suggest_architectures(name: str) -> str:
    """Return the architectures spelt most like a name, as the end of a sentence.

    Args:
        name: What was given.

    Returns:
        "; near it: ..." with three at the most; empty if none is near.

    Example:
        >>> suggest_architectures("RN51x44")
        '; near it: RN50x4, RN50x64'
    """
    return _clause(_nearest(name, known_architectures()))


def suggest_models(name: str) -> str:
    """Return the models that load by name and are spelt most like one that does not.

    Args:
        name: What was given.

    Returns:
        As for :func:`suggest_architectures`.
    """
    return _clause(_nearest(name, ["starter", *_published_names()]))


def suggest_for_repository(repo: str) -> str:
    """Return the models spelt like a repository's name, or that share the most words with it.

    Args:
        repo: The name of a repository on the hub: "org/repo".

    Returns:
        As for :func:`suggest_architectures`.
    """
    near = _nearest(repo, _published_names(), cutoff=0.8)
    return _clause(near or _sharing_words(repo.rpartition("/")[2]))


def _clause(names: list[str]) -> str:
    return f"; near it: {', '.join(names)}" if names else ""


def _published_names() -> list[str]:
    """Return the names of published weights: "architecture/tag"."""
    return [f"{name}/{tag}" for name, entry in known_architectures().items() for tag in entry.tags]


def _nearest(text: str, names: Iterable[str], *, cutoff: float = 0.6) -> list[str]:
    """Return the names whose letters differ the least, or else that contain the text."""
    import difflib  # only here: a name that is right needs none

    by_plain = {normalize_name(name): name for name in names}
    wanted = normalize_name(text)
    close = difflib.get_close_matches(wanted, by_plain, n=_MAX_NAMES, cutoff=cutoff)
    if not close and len(text) > 2:  # a part of a name is far from the whole
        close = [name for name in by_plain if wanted in name][:_MAX_NAMES]
    return [by_plain[name] for name in close]


def _sharing_words(text: str) -> list[str]:
    """Return the models that share at least half of their words with a name, the most first.

    Elsewhere a ViT-B-16 is called "base-patch16".
    """
    wanted = _words(text)
    shares: dict[str, float] = {}
    for name, architecture in known_architectures().items():
        for tag in architecture.tags if not name.endswith(_QUICK_GELU_SUFFIX) else ():
            words = _words(f"{name}-{tag}")
            size = str(architecture.image_size)
            shares[f"{name}/{tag}"] = len(wanted & (words | {size})) / len(wanted | words)
    best = sorted(shares, key=lambda name: -shares[name])[:_MAX_NAMES]
    return [name for name in best if shares[name] >= 0.5]


def _words(name: str) -> set[str]:
    """Return the words of a model's name, those of sizes as open_clip spells them."""
    plain = re.sub(r"patch(\d+)", r"\1", normalize_name(name))
    sizes = {"small": "s", "base": "b", "large": "l", "huge": "h", "giant": "g"}
    words = {sizes.get(word, word) for word in plain.split("-")}
    return words - {"clip", "vit", "google", "webli"}
