"""What so many images take: bytes, processor and machine hours of each step, from measured units.

Run as  python benchmarks/scale_plan.py 1e8 1e10  to print the table of docs/scale.md, with units as
measured there; options such as --embed-per-core replace them by those of another machine or model.
It is arithmetic: ten times as many images take ten times as long, and no machine stands idle.
"""

import argparse
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

_MEASURED_ROWS = 1 << 16  # that assign_per_core was measured at, by sharded_search.py
_CELLS_BY_ROOT = 4  # cells for a square root of the images


@dataclass(frozen=True)
class Units:
    """What one image takes, and what one core, disk or machine does; options by these names."""

    dimensions: int = 512  # in half precision
    image_bytes: float = 60e3  # a JPEG of 500 pixels, as shards for CLIP have them
    record_bytes: float = 165.0  # beside the vector in the local index: path, size, time, digest
    code_bytes: float = 520.0  # 512 of a code in 8 bits, 8 of its number
    embed_per_core: float = 45.0  # images a second: reading, decoding, ViT-B/32 in 8 bits
    embed_per_gpu: float = 2500.0  # ViT-B/32 on an A100, as clip-retrieval's README has it
    send_per_second: float = 8700.0  # into one Milvus, from one process
    assign_per_core: float = 34e3  # vectors a second to their cells
    scan_bytes: float = 29e9  # a second and core, from memory
    disk_bytes: float = 1.5e9  # a second
    share: float = 0.03  # of the vectors that a query compares
    cores: int = 32  # of a machine
    memory_bytes: float = 256e9
    disk_size: float = 8e12

    @property
    def vector_bytes(self) -> int:
        """Of a vector in half precision."""
        return 2 * self.dimensions


Plan = dict[str, str]
"""What each step takes, in words, in the order of work."""


def make_plan(number: float, units: Units) -> Plan:
    """Return what so many images take.

    Args:
        number: Of images.
        units: Measured.

    Returns:
        Bytes that are kept, hours that are computed, and seconds of a query.
    """
    vectors, codes = number * units.vector_bytes, number * units.code_bytes
    embedding = number / units.embed_per_core / 3600
    on_gpus = number / units.embed_per_gpu / 3600
    cells = _CELLS_BY_ROOT * math.sqrt(number)
    measured_cells = _CELLS_BY_ROOT * math.sqrt(_MEASURED_ROWS)
    assigning = number / (units.assign_per_core * measured_cells / cells) / 3600
    machines = math.ceil(codes / units.memory_bytes)
    disks = math.ceil(vectors / units.disk_size)
    return {
        "the images": _bytes(number * units.image_bytes),
        "embedding them": f"{_work(embedding, units)}; or {on_gpus:,.0f} GPU hours",
        "vectors in half precision": f"{_bytes(vectors)}: {_count(disks, 'disk')}",
        "records beside them": _bytes(number * units.record_bytes),
        "sending all to one Milvus": _hours(number / units.send_per_second / 3600),
        "vectors to their cells": f"{cells:,.0f} cells; {_work(assigning, units)}",
        "codes in memory": f"{_bytes(codes)}: {_count(machines, 'machine')}",
        "a query: all vectors, from memory": f"{vectors / units.scan_bytes:,.1f} core seconds",
        "the same from a disk": f"{vectors / units.disk_bytes:,.0f} seconds, over all disks",
        f"a query: {units.share:.0%} of the codes": (
            f"{units.share * codes / units.scan_bytes:.2f} core seconds"
        ),
    }


def table(numbers: Sequence[float], units: Units) -> str:
    """Return the plan for several numbers of images, as Markdown."""
    plans = [make_plan(number, units) for number in numbers]
    lines = [
        "| | " + " | ".join(f"{number:,.0f} images" for number in numbers) + " |",
        "|---" * (len(numbers) + 1) + "|",
    ]
    for what in plans[0]:
        lines.append(f"| {what} | " + " | ".join(plan[what] for plan in plans) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("numbers", nargs="+", type=float, metavar="IMAGES")
    for field in dataclasses.fields(Units):
        kind = type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    given = vars(parser.parse_args())
    print(table(given.pop("numbers"), Units(**given)))


def _work(core_hours: float, units: Units) -> str:
    machine = _hours(core_hours / units.cores)
    return f"{core_hours:,.0f} core hours, which are {machine} of one machine"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number > 1)}"


def _bytes(number: float) -> str:
    for unit in ("kB", "MB", "GB", "TB"):
        number /= 1000
        if number < 1000:
            return f"{number:.3g} {unit}"
    return f"{number / 1000:.3g} PB"


def _hours(number: float) -> str:
    return f"{number:,.1f} hours" if number < 48 else f"{number / 24:,.1f} days"


if __name__ == "__main__":
    main()
