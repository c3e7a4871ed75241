"""The validation split by its definition: every image read whole, every pair sorted by its hash."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from clipkit.data.pair import PairDataset
from clipkit.errors import ImageReadError


def validation_rows(
    datasets: Sequence[PairDataset],
    fraction: float,
    seed: int,
    *,
    is_image: Callable[[bytes], bool],
) -> list[list[int]]:
    """Return the rows of each dataset that are for validation, in their order."""
    groups: dict[object, list[tuple[int, int]]] = defaultdict(list)
    for number, dataset in enumerate(datasets):
        for row in range(len(dataset)):
            content = _content(dataset, row)
            if content is None or not is_image(content):
                groups[number, row].append((number, row))
            else:
                groups[hashlib.sha256(content).digest()].append((number, row))
    classes: dict[tuple[int, int | None], list[list[tuple[int, int]]]] = defaultdict(list)
    for group in groups.values():  # in the order of their first pairs
        number, row = group[0]
        classes[number, datasets[number].label(row)].append(group)
    kept: list[list[int]] = [[] for _ in datasets]
    for members in classes.values():
        members.sort(key=lambda group: _order(datasets[group[0][0]].local_name(group[0][1]), seed))
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        for group in members[:count]:
            for number, row in group:
                kept[number].append(row)
    return [sorted(rows) for rows in kept]


def _order(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).hexdigest()


def _content(dataset: PairDataset, row: int) -> bytes | None:
    try:
        image = dataset[row].image
        return image if isinstance(image, bytes) else Path(str(image)).read_bytes()
    except (ImageReadError, OSError):
        return None
