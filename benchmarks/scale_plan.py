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

_MEASURED_ROWS = 200_000  # that assign_per_core was measured at
_CELLS_BY_ROOT = 4  # cells for a square root of the images


@dataclass(frozen=True)
class Units:
    """What one image takes, and what one core, disk or machine does; options by these names."""

    dimensions: int = 512  # in half precision
    image_bytes: float = 60e3  # a JPEG of 500 pixels, as shards for CLIP have them
    record_bytes: float = 165.0  # beside the vector in the local index: path, size, time, digest
    code_bytes: float = 72.0  # 64 of a code of products, 8 of its number
    embed_per_core: float = 45.0  # images a second: reading, decoding, ViT-B/32 in 8 bits
    embed_per_gpu: float = 2500.0  # ViT-B/32 on an A100, as clip-retrieval's README has it
    send_per_second: float = 4500.0  # into one Milvus, from one process
    assign_per_core: float = 5000.0  # vectors a second to their cells
    scan_bytes: float = 29e9  # a second and core, from memory
    disk_bytes: float = 1.5e9  # a second
    share: float = 0.05  # of the vectors that a query compares
    cores: int = 32  # of a machine
    memory_bytes: float = 256e9
    disk_size: float = 8e12

    @property
    def vector_bytes(self) -> int:
        """Of a vector in half precision."""
        return 2 * self.dimensions


@dataclass(frozen=True)
class Step:
    """A row of the plan; machine hours are those of machines that have nothing else to do."""

    what: str
    amount: str
    hours: float | None = None  # of one machine


def make_plan(number: float, units: Units) -> list[Step]:
    """Return what so many images take.

    Args:
        number: Of images.
        units: Measured.

    Returns:
        Bytes that are kept, hours that are computed, and seconds of a query, in the order of work.
    """
    vectors, codes = number * units.vector_bytes, number * units.code_bytes
    core_hours = number / units.embed_per_core / 3600
    gpu_hours = number / units.embed_per_gpu / 3600
    cells = _CELLS_BY_ROOT * math.sqrt(number)
    measured_cells = _CELLS_BY_ROOT * math.sqrt(_MEASURED_ROWS)
    assign_hours = number / (units.assign_per_core * measured_cells / cells) / 3600
    compared = units.share * codes
    in_memory = math.ceil(codes / units.memory_bytes)
    return [
        Step("the images", _bytes(number * units.image_bytes)),
        Step(
            "embedding",
            f"{core_hours:,.0f} core hours, or {gpu_hours:,.0f} GPU hours",
            core_hours / units.cores,
        ),
        Step("vectors, half precision", _bytes(vectors)),
        Step("records beside them", _bytes(number * units.record_bytes)),
        Step("sending to one Milvus", "", number / units.send_per_second / 3600),
        Step("vectors to their cells", f"{cells:,.0f} cells; {assign_hours:,.0f} core hours",
             assign_hours / units.cores),
        Step("codes in memory", f"{_bytes(codes)}: {in_memory:,} machine{'s' * (in_memory > 1)}"),
        Step("vectors on disks", f"{math.ceil(vectors / units.disk_size):,} disks"),
        Step("exact scan of all vectors, from memory, core seconds",
             f"{vectors / units.scan_bytes:,.1f}"),
        Step("the same from one disk, seconds", f"{vectors / units.disk_bytes:,.0f}"),
        Step(f"{units.share:.1%} of the codes, core seconds", f"{compared / units.scan_bytes:.2f}"),
    ]  # fmt: skip


def table(numbers: Sequence[float], units: Units) -> str:
    """Return the plan for several numbers of images, as Markdown."""
    plans = [make_plan(number, units) for number in numbers]
    lines = [
        "| | " + " | ".join(f"{number:,.0f} images" for number in numbers) + " |",
        "|---" * (len(numbers) + 1) + "|",
    ]
    for steps in zip(*plans, strict=True):
        lines.append(f"| {steps[0].what} | " + " | ".join(map(_told, steps)) + " |")
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


def _told(step: Step) -> str:
    hours = "" if step.hours is None else f"{_hours(step.hours)} of one machine"
    return "; ".join(filter(None, (step.amount, hours)))


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
