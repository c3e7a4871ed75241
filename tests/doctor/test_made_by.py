"""The check of the model that a file is of."""

from clipkit.doctor.made_by import check_dimensions, check_maker
from tests.fakes import FakeEncoder


def test_the_model_is_given_only_if_the_file_is_of_it() -> None:
    encoder = FakeEncoder()
    for space_id, found in (("fake-space", encoder), ("other-space", None)):
        check, made_by = check_maker(
            "thing", "fake", space_id, lambda _: encoder, where="a file", remedy="make it again"
        )
        assert made_by is found
        assert (check.verdict == "ok") == (found is not None)
        assert ("make it again" in check.advice) == (found is None)


def test_dimensions_are_those_of_the_embeddings() -> None:
    assert check_dimensions("thing", 4, FakeEncoder(), "a file").verdict == "ok"
    assert check_dimensions("thing", 5, FakeEncoder(), "a file").verdict == "problem"
