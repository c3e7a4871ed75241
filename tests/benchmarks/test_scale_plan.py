"""The arithmetic of the plan for more images than one machine serves."""

from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.conftest import Load

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scale_plan(load_benchmark: Load) -> Any:
    return load_benchmark("scale_plan")


def test_a_plan_multiplies_what_one_image_takes(scale_plan: Any) -> None:
    units = scale_plan.Units(
        dimensions=500, image_bytes=2000, record_bytes=100, code_bytes=500, embed_per_core=10,
        embed_per_gpu=1000, send_per_second=100, assign_per_core=2048, scan_bytes=1e9,
        disk_bytes=1e8, share=0.1, cores=10, memory_bytes=1e9, disk_size=4e8,
    )  # fmt: skip

    plan = scale_plan.make_plan(3.6e6, units)

    assert plan == {
        "the images": "7.2 GB",
        "embedding them": "100 core hours, which are 10.0 hours of one machine; or 1 GPU hours",
        "vectors in half precision": "3.6 GB: 9 disks",
        "records beside them": "360 MB",
        "sending all to one Milvus": "10.0 hours",
        # 4 sqrt(3.6e6) = 7589 cells, 7.41 times as many as the 1024 that 2048 a second is for
        "vectors to their cells": "7,589 cells; 4 core hours, which are 0.4 hours of one machine",
        "codes in memory": "1.8 GB: 2 machines",
        "a query: all vectors, from memory": "3.6 core seconds",
        "the same from a disk": "36 seconds, over all disks",
        "a query: 10% of the codes": "0.18 core seconds",
    }


def test_the_table_of_the_docs_is_the_plan(scale_plan: Any) -> None:
    text = (BENCHMARKS.parent / "docs" / "scale.md").read_text(encoding="utf-8")

    assert scale_plan.table([1e8, 1e10], scale_plan.Units()) in text
