"""Indexes of vectors in Milvus: which one suits how many, and how hard a search looks.

- flat compares with every vector: exact, and as fast as anything up to some ten thousand.
- ivf (IVF_FLAT) parts them into clusters and looks into the nearest ones.
- hnsw follows a graph of neighbours: the fastest above a million, for a third more memory.
- diskann keeps graph and vectors on a fast disk, for what does not fit into memory.

Source:
    https://milvus.io/docs/index.md
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from clipkit.errors import InputError, LibraryError

IndexKind = Literal["flat", "ivf", "hnsw", "diskann"]
"""How a store in Milvus finds vectors: "flat" compares with all, the others with a part."""
INDEX_KINDS: tuple[IndexKind, ...] = get_args(IndexKind)

MOST_FLAT = 20_000  # a scan of so many takes some milliseconds
MOST_IVF = 1_000_000
LITE_CLUSTERS = (
    128  # of Milvus Lite 3, whatever is asked for; so files have a flat index up to hnsw
)
_NAMES = {"flat": "FLAT", "ivf": "IVF_FLAT", "hnsw": "HNSW", "diskann": "DISKANN"}
_KINDS: dict[str, IndexKind] = {_NAMES[kind]: kind for kind in INDEX_KINDS}
_MOST_EFFORT = 16384
_NEIGHBOURS, _BUILD_EFFORT = 16, 200  # of a vector in the graph of hnsw; looked at for each


def check_kind_of_index(kind: str) -> IndexKind:
    """Return the kind of an index; raise InputError if there is none of that name."""
    for known in INDEX_KINDS:
        if kind == known:
            return known
    raise InputError(f"the index must be {', '.join(INDEX_KINDS[:-1])} or diskann, got {kind!r}")


@dataclass(frozen=True)
class AnnIndex:
    """An index of vectors, and how it is searched.

    Attributes:
        kind: Which one.
        num_clusters: Of ivf; 0 for others.
        effort: How many clusters of ivf, or neighbours of hnsw and diskann, a search looks at.
    """

    kind: IndexKind = "flat"
    num_clusters: int = 0
    effort: int = 0

    @classmethod
    def suited(
        cls, number: int, kind: IndexKind | None = None, *, is_file: bool = False
    ) -> "AnnIndex":
        """Return the index for so many vectors.

        Args:
            number: N.
            kind: Overrules the choice.
            is_file: Whether they are in a file of Milvus Lite.

        Returns:
            The index.
        """
        if kind is None:
            kind = "flat" if number <= MOST_FLAT else "ivf" if number <= MOST_IVF else "hnsw"
            if is_file and kind == "ivf":
                kind = "flat"
        if kind == "ivf":
            clusters = LITE_CLUSTERS if is_file else max(1, min(4 * math.isqrt(number), 65536))
            return cls(kind, clusters, max(1, clusters // 64))
        return cls(kind, 0, 0 if kind == "flat" else 64)

    @classmethod
    def described(cls, description: Mapping[str, Any], effort: int) -> "AnnIndex":
        """Return the index that Milvus describes.

        Args:
            description: Of `MilvusClient.describe_index`.
            effort: What was stored beside it.

        Returns:
            The index.

        Raises:
            LibraryError: If clipkit has not made it.
        """
        name = str(description.get("index_type"))
        if name not in _KINDS:
            raise LibraryError(
                f"the vectors have an index of type {name}, and clipkit makes {', '.join(_KINDS)}: "
                "run  clipkit index FOLDER --store URL --store-index flat"
            )
        kind = _KINDS[name]
        clusters = int(description.get("nlist", LITE_CLUSTERS)) if kind == "ivf" else 0
        return cls(kind, clusters, effort)

    @property
    def can_miss(self) -> bool:
        """Whether a search may not find the nearest vectors."""
        return self.kind != "flat"

    @property
    def can_try_harder(self) -> bool:
        """Whether a greater effort can find more."""
        most = self.num_clusters if self.kind == "ivf" else _MOST_EFFORT
        return self.can_miss and self.effort < most

    def harder(self) -> "AnnIndex":
        """Return the same index, searched with twice the effort."""
        return replace(self, effort=2 * self.effort)

    def build_parameters(self) -> dict[str, Any]:
        """Return what `IndexParams.add_index` takes."""
        parameters: dict[str, Any] = {}
        if self.kind == "ivf":
            parameters = {"nlist": self.num_clusters}
        elif self.kind == "hnsw":
            parameters = {"M": _NEIGHBOURS, "efConstruction": _BUILD_EFFORT}
        return {"index_type": _NAMES[self.kind], "metric_type": "IP", "params": parameters}

    def search_parameters(self, limit: int, share: float = 1.0) -> dict[str, Any]:
        """Return what `MilvusClient.search` takes.

        Args:
            limit: How many vectors are wanted.
            share: Of all, those that pass the filter: the fewer, the more must be looked at until
                enough pass; 0 looks at everything.

        Returns:
            The parameters.
        """
        effort = int(min(self.effort / share, _MOST_EFFORT)) if share > 0 else _MOST_EFFORT
        parameters: dict[str, int] = {}
        if self.kind == "ivf":
            parameters = {"nprobe": max(1, min(effort, self.num_clusters))}
        elif self.kind == "hnsw":
            parameters = {"ef": max(effort, limit)}
        elif self.kind == "diskann":
            parameters = {"search_list": max(effort, limit)}
        return {"metric_type": "IP", "params": parameters}
