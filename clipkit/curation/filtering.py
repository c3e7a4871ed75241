"""Filtering of image-text pairs: which are kept, and which rule each dropped pair broke.

Shapes: D dimensions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from clipkit.arguments import check_progress
from clipkit.curation.rules import RULES, Fault, FilterRules, image_size
from clipkit.data.mixing import PairSubset
from clipkit.data.pair import PairDataset, image_digest
from clipkit.embeddings import Embeddings
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.pairs import image_name, stream_pairs
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.image_input import ImageInput
from clipkit.near_duplicates import mark_near_duplicates
from clipkit.progress import Progress, map_ahead, usable_cores


class KeptPair(NamedTuple):
    """A pair that breaks no rule any more."""

    row: int  # in its source
    name: str  # path of the image, or the pair's own name
    captions: tuple[str, ...]  # those that break no rule, at least one
    similarities: tuple[float, ...]  # cosine of each to the image; empty if not computed


class DroppedPair(NamedTuple):
    """A pair that breaks a rule."""

    row: int  # in its source
    name: str  # path of the image, or the pair's own name
    rule: str  # one of RULES, the first that it was dropped for
    why: str  # the figures


@dataclass(frozen=True)
class FilterReport:
    """The outcome of filtering: every pair, kept or dropped, with counts and similarities."""

    rules: FilterRules
    num_pairs: int
    kept: list[KeptPair]  # in the order of their rows
    dropped: list[DroppedPair]  # in the order of their rows
    captions_removed: dict[str, int]  # how many by rule, those of dropped pairs too
    # Cosines of captions to their images at 0, 10, 25, 50, 75, 90 and 100 % of the captions
    # that were embedded; empty if none were.
    similarity_quantiles: dict[float, float] = field(default_factory=dict)
    skipped: list[ImageReadError] = field(
        default_factory=list
    )  # of the source; not counted as pairs
    model: str | None = None  # None if no model was needed
    space_id: str | None = None  # of the model

    @property
    def num_dropped(self) -> dict[str, int]:
        """How many pairs were dropped, by rule."""
        return dict(Counter(pair.rule for pair in self.dropped))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it; of the pairs that are kept, how many."""
        num_dropped = self.num_dropped
        return {
            "pairs": self.num_pairs,
            "kept": len(self.kept),
            "dropped": {rule: num_dropped.get(rule, 0) for rule in RULES},
            "captions_removed": self.captions_removed,
            "similarity_quantiles": {
                str(share): value for share, value in self.similarity_quantiles.items()
            },
            "rules": self.rules.active,
            "model": self.model and {"name": self.model, "space_id": self.space_id},
            "skipped": [error.to_dict() for error in self.skipped],
            "dropped_pairs": [pair._asdict() for pair in self.dropped],
        }


def filter_pairs(
    source: PairDataset,
    rules: FilterRules,
    encoder: Encoder | None = None,
    *,
    progress: Callable[[str], Progress] | None = None,
) -> FilterReport:
    """Return which pairs satisfy a set of rules.

    Rules are applied in the order of `RULES`, each to what those before left over. Of exact and
    near-duplicates the pair with the most similar caption is kept; the first, where no rule needs
    similarities or where they are equal.

    In memory are one embedding a pair (for near-duplicates only), names and captions.

    Args:
        source: The pairs.
        rules: The rules.
        encoder: The model; needed for similarities and near-duplicates only.
        progress: Called at the start of each stage with what is done in it, "reading", "embedding"
            or "comparing"; what it returns is called with how many pairs are done.

    Returns:
        The pairs to keep, and the others with the rule they broke.

    Raises:
        InputError: If the rules need an encoder and there is none.
    """
    check_progress(progress, "the name of a stage, that returns one of (done, total)")
    if rules.need_embeddings and encoder is None:
        raise InputError("similarities and near duplicates need a model: give an encoder")
    stage = progress or (lambda _: lambda done, total: None)
    pair_filter = _PairFilter(source, rules)
    pair_filter.check_pairs(stage("reading"))
    if encoder is not None and rules.need_embeddings:
        pair_filter.embed(encoder, stage("embedding"))
    pair_filter.drop_exact_copies()
    pair_filter.drop_dissimilar()
    if rules.near_epsilon is not None:
        pair_filter.drop_near_duplicates(rules.near_epsilon, stage("comparing"))
    return pair_filter.report()


_NO_CAPTION = Fault("empty caption", "there is none")


@dataclass(slots=True)
class _Candidate:
    """A pair that has broken no rule so far."""

    row: int
    name: str
    captions: list[str]
    digest: bytes | None = None
    similarities: list[float] = field(default_factory=list)  # empty if not known
    embedding: Embeddings | None = None  # (D,)

    @property
    def preference(self) -> tuple[float, int]:
        """Sort key: the pair to keep of several comes first."""
        return -max(self.similarities, default=0.0), self.row


class _PairFilter:
    """The pairs that are left, and what became of the others, rule by rule."""

    def __init__(self, source: PairDataset, rules: FilterRules) -> None:
        self._source = source
        self._rules = rules
        self._left: dict[int, _Candidate] = {}  # by row, ascending
        self._dropped: list[DroppedPair] = []
        self._removed: Counter[str] = Counter()
        self._similarities: list[float] = []
        self._encoder: Encoder | None = None  # once it was used

    def check_pairs(self, progress: Progress) -> None:
        """Drop what breaks the rules on captions and sizes, and take digests: without a model."""
        checked = map_ahead(self._check_image, self._candidates(), ahead=4 * usable_cores())
        with closing(checked):
            for candidate, fault in checked:
                if fault is not None:
                    self._drop(candidate, fault)
                progress(candidate.row + 1, len(self._source))

    def _candidates(self) -> Iterator[tuple[_Candidate, ImageInput]]:
        """Yield pairs with a caption that is good as a text, and their images."""
        for row in range(len(self._source)):
            try:
                pair = self._source[row]
            except ImageReadError as error:
                self._dropped.append(DroppedPair(row, error.path, "unreadable image", error.reason))
                continue
            name = image_name(pair)
            left = self._left[row] = _Candidate(row, name, list(pair.captions))
            self._remove(left, [self._rules.caption_fault(text, name) for text in left.captions])
            if row in self._left:
                yield left, pair.image

    def _check_image(self, item: tuple[_Candidate, ImageInput]) -> tuple[_Candidate, Fault | None]:
        """Check an image in another thread; only the candidate's digest is written."""
        candidate, image = item
        fault = None
        try:
            if self._rules.need_sizes:
                fault = self._rules.size_fault(image_size(image))
            if self._rules.drop_exact_copies and fault is None:
                candidate.digest = image_digest(image)
        except ImageReadError as error:
            fault = Fault("unreadable image", error.reason)
        return candidate, fault

    def embed(self, encoder: Encoder, progress: Progress) -> None:
        """Compute the similarities of captions and images, and drop unreadable images."""
        self._encoder = encoder
        left = list(self._left.values())
        subset = PairSubset(self._source, np.array([some.row for some in left], dtype=np.intp))
        with closing(stream_pairs(encoder, subset, progress=progress)) as batches:
            for batch in batches:
                read = [left[pair.row] for pair in batch.pairs]
                texts = encoder.encode_texts([text for some in read for text in some.captions])
                for candidate, embedding in zip(read, batch.embeddings, strict=True):
                    count = len(candidate.captions)
                    cosines = np.clip(texts[:count] @ embedding, -1, 1)
                    texts = texts[count:]
                    candidate.similarities = cosines.tolist()
                    self._similarities += candidate.similarities
                    if self._rules.near_epsilon is not None:
                        candidate.embedding = embedding
                for position, error in batch.skipped:
                    self._drop(left[position], Fault("unreadable image", error.reason))

    def drop_exact_copies(self) -> None:
        """Keep the preferred one of the pairs whose images have the same bytes."""
        best: dict[bytes, _Candidate] = {}
        for candidate in sorted(self._left.values(), key=lambda left: left.preference):
            if candidate.digest is not None:
                original = best.setdefault(candidate.digest, candidate)
                if original is not candidate:
                    self._drop(candidate, Fault("exact duplicate", f"of {original.name}"))

    def drop_dissimilar(self) -> None:
        """Drop captions that are too dissimilar to their images, first by cosine, then by rank."""
        least = self._rules.min_similarity
        if least is not None:
            for candidate in list(self._left.values()):
                self._remove(
                    candidate,
                    [
                        Fault("similarity too low", f"{value:.4f}, at least {least:g} is required")
                        if value < least
                        else None
                        for value in candidate.similarities
                    ],
                )
        if self._rules.min_quantile is not None:
            self._drop_lowest(self._rules.min_quantile)

    def _drop_lowest(self, share: float) -> None:
        """Drop a share of all captions, those of the lowest similarities."""
        # Of equal ones the later is dropped first, so that exactly the share is dropped.
        ranked = sorted(
            (value, -left.row, -position)
            for left in self._left.values()
            for position, value in enumerate(left.similarities)
        )
        why = f"among the lowest {share:.4g} of {len(ranked)} captions"
        lowest = {
            (-row, -position) for _, row, position in ranked[: int(share * len(ranked) + 1e-9)]
        }
        for left in list(self._left.values()):
            self._remove(
                left,
                [
                    Fault("lowest similarities", f"{value:.4f}, {why}")
                    if (left.row, position) in lowest
                    else None
                    for position, value in enumerate(left.similarities)
                ],
            )

    def drop_near_duplicates(self, epsilon: float, progress: Progress) -> None:
        """Keep the preferred one of the pairs whose images are near each other."""
        ordered = sorted(self._left.values(), key=lambda left: left.preference)
        if not ordered:
            return
        embeddings = np.stack([left.embedding for left in ordered if left.embedding is not None])
        found = mark_near_duplicates(embeddings, epsilon=epsilon, progress=progress)
        for candidate, original, cosine in zip(ordered, *found, strict=True):
            if original >= 0:
                why = f"of {ordered[original].name}: cosine {cosine:.4f}, above {1 - epsilon:.6g}"
                self._drop(candidate, Fault("near duplicate", why))

    def _remove(self, candidate: _Candidate, faults: Sequence[Fault | None]) -> None:
        """Take out captions that break a rule, and with the last one the pair."""
        found = [fault for fault in faults if fault is not None]
        self._removed.update(fault.rule for fault in found)
        if len(found) == len(faults):
            last = max(found, key=lambda fault: RULES.index(fault.rule), default=_NO_CAPTION)
            self._drop(candidate, last)
        elif found:
            good = [position for position, fault in enumerate(faults) if fault is None]
            candidate.captions = [candidate.captions[position] for position in good]
            if candidate.similarities:
                candidate.similarities = [candidate.similarities[position] for position in good]

    def _drop(self, candidate: _Candidate, fault: Fault) -> None:
        del self._left[candidate.row]
        self._dropped.append(DroppedPair(candidate.row, candidate.name, *fault))

    def report(self) -> FilterReport:
        """Return the report on all pairs."""
        kept = [
            KeptPair(left.row, left.name, tuple(left.captions), tuple(left.similarities))
            for left in self._left.values()
        ]
        shares = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
        quantiles = {}
        if self._similarities:
            values = np.quantile(self._similarities, shares)
            quantiles = dict(zip(shares, map(float, values), strict=True))
        return FilterReport(
            self._rules,
            len(self._source),
            kept,
            sorted(self._dropped),
            dict(self._removed),
            quantiles,
            skipped=list(self._source.skipped),
            model=self._encoder.name if self._encoder else None,
            space_id=self._encoder.space_id if self._encoder else None,
        )
