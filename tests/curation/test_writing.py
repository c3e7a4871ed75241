"""What is written is what comes back: through the reader of tables, for any names and captions."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.cli.outputs import OutputFile
from clipkit.curation.filtering import KeptPair
from clipkit.curation.writing import table_text
from clipkit.data.caption_files import captions_of
from clipkit.data.pair import Pair
from clipkit.data.sources import open_pairs
from tests.fake_pairs import ListSource

SUFFIXES = (".csv", ".tsv", ".jsonl")
# Whatever may have a meaning to a reader of tables, and what may lie in texts beside it.
LETTERS = st.sampled_from("\r\n\t,;|'\"\\ \0\x1c\x85\u2028\ufeff#=aé\U0001f6a2") | st.characters(
    exclude_categories=["Cs"]
)
CAPTIONS = st.lists(st.text(LETTERS, max_size=8), min_size=1, max_size=3).map(captions_of)
NAMES = st.text(LETTERS.filter(lambda letter: letter not in "/\0"), min_size=1, max_size=8)


def _round_trip(table: Path, captions: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Write pairs, images beside the table by their names, and return those that are read."""
    pairs = [Pair(table.parent / name, texts, name) for name, texts in captions.items()]
    for pair in pairs:
        assert isinstance(pair.image, Path)
        pair.image.touch()
    kept = [KeptPair(row, pair.name, pair.captions, ()) for row, pair in enumerate(pairs)]
    OutputFile(table).write_text([table_text(table, ListSource(pairs), kept)])
    found = open_pairs(table)
    assert found.skipped == []
    return {found.local_name(row): found[row].captions for row in range(len(found))}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
@given(pairs=st.dictionaries(NAMES, CAPTIONS.filter(bool), min_size=1, max_size=3))
def test_a_table_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, pairs: dict[str, tuple[str, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    captions = {f"{name}.png": texts for name, texts in pairs.items()}
    assert _round_trip(folder / f"kept{suffix}", captions) == captions


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ends_of_lines_of_any_system_stay_in_their_cells(tmp_path: Path, suffix: str) -> None:
    captions = {"a\rb.png": ("one\rtwo", "one\ntwo", "one\r\ntwo"), "c.png": ("last",)}
    assert _round_trip(tmp_path / f"kept{suffix}", captions) == captions


def test_only_cells_that_need_them_have_quotation_marks(tmp_path: Path) -> None:
    pair = Pair(tmp_path / "a.png", ("a boat", "one, two", "one\rtwo"), "a")
    text = table_text(
        tmp_path / "kept.csv", ListSource([pair]), [KeptPair(0, "a", pair.captions, ())]
    )
    assert text == 'filepath,title\na.png,a boat\na.png,"one, two"\n"a.png","one\rtwo"\n'
