"""Tables of each format, encoding and separator, their columns, and what is damaged in them."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.errors import ImageReadError, InputError
from tests.data.conftest import TABLE_IMAGES, Write, contents, image, open_titles, reasons


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "filepath,title\nphotos/a.png,a cat\nphotos/b.png,a dog\n"),
        ("t.csv", "filepath\ttitle\nphotos/a.png\ta cat\nphotos/b.png\ta dog\n"),  # open_clip's
        ("t.tsv", "n\ttitle\tfilepath\r\n1\ta cat\tphotos/a.png\r\n\r\n2\ta dog\tphotos/b.png"),
        ("t.csv", "title;filepath;x\na cat;photos/a.png;\na dog;photos/b.png\n;;\n"),
        ("t.csv", '\ufeff"filepath", title\nphotos/a.png, a cat\n photos/b.png ,a dog\n'),
        ("t.txt", "filepath|title\nphotos/a.png|a cat\nphotos/b.png|a dog"),
        (
            "t.jsonl",
            '{"filepath": "photos/a.png", "title": "a cat"}\n\n'
            '{"title": ["a dog"], "filepath": "photos/b.png"}',
        ),
    ],
)
def test_each_kind_of_table_is_read(write: Write, name: str, content: str) -> None:
    source = open_titles(write({**TABLE_IMAGES, name: content}) / name)
    assert contents(source) == [(image(1), ("a cat",)), (image(2), ("a dog",))]
    assert source.skipped == []


def test_bad_rows_are_skipped_with_their_lines(write: Write) -> None:
    lines = [
        b"filepath,title",
        b"photos/a.png,a cat",
        b"photos/a.png",
        b"photos/a.png,a cat, asleep",
        b"photos/gone.png,a cat",
        b",a cat",
        b"photos/a.png,",
        b"photos/a.png,caf\xe9",
        b"https://a.org/b.png,a cat",
        b'photos/a.png,"first line',
        b'second line"',
        b'photos/b.png,"no end',
        b"photos/b.png,a dog",
        b'photos/b.png,"Hi" she said',
    ]
    source = open_titles(write({**TABLE_IMAGES, "t.csv": b"\n".join(lines)}) / "t.csv")
    assert contents(source) == [
        (image(1), ("a cat", "first line\nsecond line")),
        (image(2), ("a dog", "Hi she said")),
    ]
    counts = "the first line 2: put captions in quotation marks"
    assert reasons(source) == [
        f"t.csv line 3: has 1 columns, {counts}",
        f"t.csv line 4: has 3 columns, {counts}",
        "t.csv line 5: no such file: photos/gone.png",
        "t.csv line 6: has nothing in the column filepath",
        "t.csv line 7: has nothing in the column title",
        "t.csv line 8: holds a caption that is not Unicode text, in the column title",
        "t.csv line 9: names an address, https://a.org/b.png: download the images first",
        "t.csv line 12: has a quotation mark without its end",
    ]


def test_a_quotation_mark_without_its_end_costs_one_line_at_the_end_of_the_file_too(
    write: Write,
) -> None:
    lines = ["filepath,title", 'photos/a.png,"open', *(["photos/b.png,a dog"] * 3)]
    source = open_titles(write({**TABLE_IMAGES, "t.csv": "\n".join(lines)}) / "t.csv")
    assert contents(source) == [(image(2), ("a dog",))]
    assert reasons(source) == ["t.csv line 2: has a quotation mark without its end"]


def test_bad_lines_of_json_are_skipped_with_their_lines(write: Write) -> None:
    good = '{"filepath": "photos/a.png", "title": "a cat"}'
    lines = [
        good.encode(),
        b"{",
        b"[1]",
        b'{"filepath": 7, "title": "a cat"}',
        b'{"filepath": "photos/a.png", "title": 7}',
        b'{"filepath": "photos/a.png"}',
        b'{"filepath": "photos/a.png", "title": "caf\xe9"}',
        b'{"a": ' * 100_000,
        b'{"filepath": "photos/a\\u0000.png", "title": "zero"}',
        json.dumps({"filepath": "x" * 5000, "title": "long"}).encode(),
        b'{"filepath": "photos/b.png", "title": ["a dog", "an animal"]}',
    ]
    source = open_titles(write({**TABLE_IMAGES, "t.jsonl": b"\n".join(lines)}) / "t.jsonl")
    assert contents(source) == [
        (image(1), ("a cat",)),
        (image(2), ("a dog", "an animal")),
    ]
    starts = [
        "line 2: is not JSON: Expecting",
        "line 3: is no JSON object",
        "line 4: has no path in the column filepath: 7",
        "line 5: holds no text or list of texts: 7, in the column title",
        "line 6: has nothing in the column title",
        "line 7: is not UTF-8",
        "line 8: is not JSON: maximum recursion",
        "line 9: no such file: photos/a\0.png",
        "line 10: no such file: xxx",
    ]
    for found, start in zip(reasons(source), starts, strict=True):
        assert found.startswith(f"t.jsonl {start}")


def test_json_may_start_with_the_mark_of_its_encoding(write: Write) -> None:
    line = b'\xef\xbb\xbf{"filepath": "photos/a.png", "title": "a cat"}\n'
    assert contents(open_titles(write({**TABLE_IMAGES, "t.jsonl": line}) / "t.jsonl")) == [
        (image(1), ("a cat",))
    ]


def test_parquet_holds_texts_or_lists(write: Write) -> None:
    import pyarrow
    from pyarrow import parquet

    folder = write(TABLE_IMAGES)
    rows = [("photos/a.png", ["a cat", "an animal"]), ("photos/b.png", ["a dog"]), (None, ["x"])]
    table = pyarrow.table({"filepath": [name for name, _ in rows], "title": [t for _, t in rows]})
    parquet.write_table(table, folder / "lists.parquet")
    source = open_titles(folder / "lists.parquet")
    assert contents(source) == [
        (image(1), ("a cat", "an animal")),
        (image(2), ("a dog",)),
    ]
    assert reasons(source) == ["lists.parquet row 3: has nothing in the column filepath"]
    raw = pyarrow.array([b"a cat", b"caf\xe9"], pyarrow.binary()).view(pyarrow.string())
    names = pyarrow.array([*TABLE_IMAGES])
    parquet.write_table(
        pyarrow.table({"filepath": names.dictionary_encode(), "title": raw}), folder / "t.parquet"
    )
    source = open_titles(folder / "t.parquet")
    assert contents(source) == [(image(1), ("a cat",))]
    assert reasons(source) == ["t.parquet row 2: is not UTF-8"]


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("file_name,text", ("photos/a.png", "photos/b.png")),  # Hugging Face's imagefolder
        ("Image,Caption", ("photos/a.png", "photos/b.png")),
        ("path,description", ("photos/a.png", "photos/b.png")),
        ("impath,caption", ("photos/a.png", "photos/b.png")),  # Dassl's, of few-shot splits
        # What clipkit writes comes before what others call alike.
        ("title,filepath", ("photos/b.png", "photos/a.png")),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_columns_of_usual_names_are_found(
    write: Write, suffix: str, header: str, taken: tuple[str, str]
) -> None:
    import pyarrow
    from pyarrow import parquet

    folder = write(TABLE_IMAGES)
    row = dict(zip(header.split(","), TABLE_IMAGES, strict=True))
    (folder / "t.csv").write_text(f"{header}\n{','.join(TABLE_IMAGES)}\n")
    (folder / "t.jsonl").write_text(json.dumps(row))
    columns = pyarrow.table({name: [cell] for name, cell in row.items()})
    parquet.write_table(columns, folder / "t.parquet")
    source = open_titles(folder / f"t.{suffix}", image="", caption="")
    assert (source.local_name(0), source[0].captions) == (taken[0], (taken[1],))


def test_the_first_usual_name_is_the_column(write: Write) -> None:
    lines = "text,title,image,file_name\nno,yes,no.png,photos/a.png\n"
    source = open_titles(write({**TABLE_IMAGES, "t.csv": lines}) / "t.csv", image="", caption="")
    assert contents(source) == [(image(1), ("yes",))]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_table_without_a_usual_name_is_told(write: Write, suffix: str) -> None:
    folder = write({"t.csv": "url,titel\na,b\n", "t.jsonl": '{"url": "a", "titel": "b"}'})
    with pytest.raises(
        InputError,
        match=r"has no column for images, such as filepath, file_name, filename, image_path; it "
        r"has url, titel.*: say which by data\.image_column in RUN\.toml or --image-column",
    ):
        open_titles(folder / f"t.{suffix}", image="", caption="")
    with pytest.raises(InputError, match=r"captions, such as title, .* \(nearest: titel\): say"):
        open_titles(folder / f"t.{suffix}", image="url", caption="")


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\r\n', "SEP=;\n", "\ufeffsep=;\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_spreadsheets_may_say_their_separator(write: Write, first: str, encoding: str) -> None:
    text = f"{first}filepath;title\nphotos/a.png;an apple, red\nphotos/b.png\n"
    if encoding == "utf-16":
        text = text.removeprefix("\ufeff")  # which it writes by itself
    source = open_titles(write({**TABLE_IMAGES, "t.csv": text.encode(encoding)}) / "t.csv")
    assert contents(source) == [(image(1), ("an apple, red",))]
    assert reasons(source)[0].startswith("t.csv line 4: has 1 columns, the first line 2")


def test_a_table_in_utf16_that_is_damaged_loses_no_other_row(write: Write) -> None:
    text = "filepath\ttitle\r\nphotos/a.png\tété\r\nphotos/b.png\tbee\r\n"
    source = open_titles(write({**TABLE_IMAGES, "t.txt": text.encode("utf-16") + b"x"}) / "t.txt")
    assert contents(source) == [(image(1), ("été",)), (image(2), ("bee",))]
    assert reasons(source)[0].startswith("t.txt line 4: has 1 columns, the first line 2")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_missing_column_is_told_with_those_there_are(write: Write, suffix: str) -> None:
    folder = write({"t.csv": "file_path,caption\na.png,a cat\n"})
    if suffix == "jsonl":
        write({"t.jsonl": '{"file_path": "a.png", "caption": "a cat"}\n'})
    if suffix == "parquet":
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.table({"file_path": ["a.png"], "caption": ["a cat"]})
        parquet.write_table(table, folder / "t.parquet")
    with pytest.raises(
        InputError,
        match=r"has no column filepath; it has file_path, caption \(nearest: file_path\): say "
        r"which by data\.image_column in RUN\.toml or --image-column",
    ):
        open_titles(folder / f"t.{suffix}")
    with pytest.raises(InputError, match=r"has no column title; it has .* data\.caption_column"):
        open_titles(folder / f"t.{suffix}", image="file_path")


def test_the_other_column_is_not_taken_for_a_missing_one(write: Write) -> None:
    folder = write({"t.csv": "filepath,text\na.png,a cat\n"})
    with pytest.raises(InputError, match=r"has no column title; .* \(nearest: text\): say"):
        open_titles(folder / "t.csv")


def test_json_needs_each_column_in_some_line_only(write: Write) -> None:
    lines = '{"filepath": "photos/a.png"}\n{"title": "a cat"}\n'
    source = open_titles(write({**TABLE_IMAGES, "t.jsonl": lines}) / "t.jsonl")
    assert len(source) == 0
    assert len(source.skipped) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no table: its first line is empty"),
        ("filepath\ttitle\n".encode("utf-16-le"), "is in UTF-16 without its mark, or no text"),
    ],
)
def test_what_is_no_table_is_told(write: Write, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_titles(write({"t.csv": content}) / "t.csv")


def test_parquet_that_is_damaged_is_told(write: Write) -> None:
    with pytest.raises(InputError, match="is damaged, or not Parquet"):
        open_titles(write({"t.parquet": b"PAR1 no"}) / "t.parquet")


@given(data=st.data(), suffix=st.sampled_from([".csv", ".jsonl"]))
def test_damage_is_skipped_or_told(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str
) -> None:
    folder = tmp_path_factory.mktemp("table")
    (folder / "a.png").touch()
    rows = [("a.png", "a cat, asleep"), ("a.png", 'the "cat"'), ("a.png", "two\nlines")]
    table = folder / f"t{suffix}"
    with table.open("w", newline="") as file:
        if suffix == ".csv":
            csv.writer(file).writerows([("filepath", "title"), *rows])
        else:
            file.writelines(
                json.dumps({"filepath": name, "title": [text]}) + "\n" for name, text in rows
            )
    content = bytearray(table.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(
            st.binary(max_size=4)
            | st.sampled_from([b'"', b"\n", b"\r", b"\0", b"\xff", b"\\ud800"])
        )
        if not content:
            break
    table.write_bytes(content)
    try:
        source = open_titles(table)
    except InputError as error:
        assert not isinstance(error, ImageReadError)
        return
    for row in range(len(source)):
        assert all(caption.encode("utf-8").strip() for caption in source[row].captions)
    assert all(error.reason for error in source.skipped)
