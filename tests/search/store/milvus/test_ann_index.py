"""Which index suits how many vectors, and what a server is told to build and to search."""

import pytest

from clipkit.errors import InputError, LibraryError
from clipkit.search.store.milvus.ann_index import AnnIndex, check_kind_of_index


@pytest.mark.parametrize(
    ("number", "kind"),
    [(0, "flat"), (20_000, "flat"), (20_001, "ivf"), (1_000_000, "ivf"), (1_000_001, "hnsw")],
)
def test_the_number_of_vectors_decides(number: int, kind: str) -> None:
    assert AnnIndex.suited(number).kind == kind
    assert AnnIndex.suited(number, "diskann").kind == "diskann"


def test_four_clusters_for_each_root_of_the_number() -> None:
    index = AnnIndex.suited(250_000, "ivf")
    assert index == AnnIndex("ivf", num_clusters=2000, effort=31)
    assert index.build_parameters() == {
        "index_type": "IVF_FLAT",
        "metric_type": "IP",
        "params": {"nlist": 2000},
    }
    assert AnnIndex.described({"index_type": "IVF_FLAT", "nlist": "2000"}, 31) == index


def test_a_file_has_a_flat_index_or_one_with_the_clusters_that_milvus_lite_makes() -> None:
    assert AnnIndex.suited(900_000, is_file=True).kind == "flat"
    assert AnnIndex.suited(1_000_001, is_file=True).kind == "hnsw"
    asked = AnnIndex.suited(900_000, "ivf", is_file=True)
    assert asked == AnnIndex("ivf", num_clusters=128, effort=2)
    assert AnnIndex.described({"index_type": "IVF_FLAT"}, 2) == asked


def test_the_fewer_pass_a_filter_the_more_is_looked_at() -> None:
    index = AnnIndex("ivf", num_clusters=1000, effort=20)
    probes = [index.search_parameters(10, share)["params"]["nprobe"] for share in (1, 0.1, 0.01, 0)]
    assert probes == [20, 200, 1000, 1000]


def test_a_graph_looks_at_as_many_as_are_wanted() -> None:
    for kind, name in (("hnsw", "ef"), ("diskann", "search_list")):
        index = AnnIndex(check_kind_of_index(kind), effort=64)
        assert index.search_parameters(10)["params"] == {name: 64}
        assert index.search_parameters(450)["params"] == {name: 450}
    assert AnnIndex("flat").search_parameters(450) == {"metric_type": "IP", "params": {}}


def test_effort_ends_where_everything_is_looked_at() -> None:
    index, efforts = AnnIndex("ivf", num_clusters=100, effort=30), []
    while index.can_try_harder:
        index = index.harder()
        efforts.append(index.search_parameters(1)["params"]["nprobe"])
    assert efforts == [60, 100]
    assert not AnnIndex("flat").can_try_harder


def test_others_are_refused() -> None:
    with pytest.raises(InputError, match="flat, ivf, hnsw or diskann, got 'lsh'"):
        check_kind_of_index("lsh")
    with pytest.raises(LibraryError, match="GPU_CAGRA"):
        AnnIndex.described({"index_type": "GPU_CAGRA"}, 0)
