"""What a caller can ask of a sync: which images to index, and in which order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypedDict

from clipkit.arguments import check_kind, items_of, near_name
from clipkit.errors import InputError
from clipkit.inputs.crop_boxes import check_crops
from clipkit.search.filters import FilterOptions, IndexFilter, read_filter
from clipkit.search.indexing_order import IndexingOrder, check_indexing_order

if TYPE_CHECKING:
    from clipkit.bulk_embedding.embedding_files import EmbeddingFiles


class SyncOptions(TypedDict, total=False):
    """What `PhotoLibrary.sync` takes beside callbacks: what to index, and in which order."""

    exclude: Sequence[str] | None
    include_hidden: bool | None
    prune: bool
    order: IndexingOrder
    first: FilterOptions
    embeddings: "EmbeddingFiles | None"
    crops: int | None


@dataclass(frozen=True)
class SyncRules:
    """What of a folder to index, and in which order; None means the same as last time."""

    exclude: Sequence[str] | None = None  # as for `find_images`
    include_hidden: bool | None = None
    prune: bool = False  # whether to remove images that would be kept as missing
    order: IndexingOrder = "spread"
    # What can pass it, as far as paths tell, comes before the rest.
    first: IndexFilter = field(default_factory=IndexFilter)
    # Images whose content is in them take their embeddings from there.
    embeddings: "EmbeddingFiles | None" = None
    crops: int | None = None  # rows an image: 1 or 5

    def __post_init__(self) -> None:
        """Refuse a single string as patterns, each of whose letters would be one; and an order."""
        check_indexing_order(self.order)
        if self.crops is not None:
            object.__setattr__(self, "crops", check_crops(self.crops))
        if self.embeddings is not None:
            rule = "embeddings must be what clipkit.open_embedding_files(FOLDER) returns"
            check_kind(self.embeddings, "space_id", rule)
        if self.exclude is None:
            return
        patterns = tuple(items_of(self.exclude, "exclude must be a list of patterns"))
        for pattern in patterns:
            if not isinstance(pattern, str):
                raise InputError(f"a pattern to exclude must be a string, got {pattern!r}")
        object.__setattr__(self, "exclude", patterns)


def read_sync_options(options: Mapping[str, Any]) -> SyncRules:
    """Return the rules that keyword arguments describe.

    Args:
        options: By name, as SyncOptions has them.

    Returns:
        The rules.

    Raises:
        InputError: If there is no option of such a name, or a value is invalid.
    """
    names = [each.name for each in fields(SyncRules)]
    for name in options:
        if name not in names:
            near = near_name(name, names)
            hint = f"did you mean {near}? " if near else ""
            raise InputError(
                f"sync has no option {name!r}; {hint}Beside callbacks it takes {', '.join(names)}"
            )
    given = dict(options)
    if "first" in given:
        given["first"] = _read_first(given["first"])
    return SyncRules(**given)


def _read_first(filters: object) -> IndexFilter:
    if not isinstance(filters, Mapping):
        raise InputError(
            f"first must be filters of a search, such as {{'path': '2024/*'}}, got {filters!r}"
        )
    return read_filter(filters)
