"""Dates written by hand into names and XMP data, with the right value beside each."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from clipkit.inputs.date_taken import date_in_name, date_in_xmp
from clipkit.inputs.metadata import read_metadata


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IMG-20190514-WA0001.jpg", "2019-05-14"),  # WhatsApp
        ("WhatsApp Image 2019-05-14 at 12.34.56.jpeg", "2019-05-14T12:34:56"),
        ("IMG_20190514_123456.jpg", "2019-05-14T12:34:56"),  # Android
        ("MVIMG_20190514_123456.jpg", "2019-05-14T12:34:56"),
        ("PXL_20210101_123456789.jpg", "2021-01-01T12:34:56"),  # Pixel, with thousandths
        ("20190514_123456.jpg", "2019-05-14T12:34:56"),  # Samsung
        ("20190514_123456(1).jpg", "2019-05-14T12:34:56"),
        ("20190514.jpg", "2019-05-14"),
        ("20190514123456.jpg", "2019-05-14T12:34:56"),
        ("2019-05-14 12.34.56.jpg", "2019-05-14T12:34:56"),  # Dropbox
        ("photo_2019-05-14_12-34-56.jpg", "2019-05-14T12:34:56"),  # Telegram
        ("signal-2019-05-14-123456.jpg", "2019-05-14T12:34:56"),
        ("Screenshot_20190514-123456.png", "2019-05-14T12:34:56"),
        ("Screenshot 2019-05-14 at 12.34.56.png", "2019-05-14T12:34:56"),
        ("Rome 2019.05.14.jpg", "2019-05-14"),
        ("grandma 1931-07-02.tif", "1931-07-02"),
        ("2019-05-14 25.00.00.jpg", "2019-05-14"),  # no such time
        ("99999999 2019-05-14.jpg", "2019-05-14"),
        ("IMG_1234.jpg", None),
        ("IMG-20190230-WA0001.jpg", None),  # no such day
        ("shutterstock_20190514.jpg", None),  # a number like any other
        ("DSC00214.jpg", None),
        ("12345678.jpg", None),
        ("19450508.jpg", None),
        ("1920x1080.jpg", None),
        ("+491701234567.jpg", None),
        ("x201905141.jpg", None),  # nine digits
        ("2019-05_14.jpg", None),
        ("0001-01-01.jpg", None),
        ("2345-01-01.jpg", None),
        (
            "\u0662\u0660\u0661\u0669-\u0660\u0665-\u0661\u0664.jpg",
            None,
        ),  # digits of another script
        ("", None),
    ],
)
def test_dates_in_names(name: str, expected: str | None) -> None:
    assert date_in_name(name) == expected


@given(st.text("0123456789-_. IMGa", max_size=40))
def test_a_date_in_a_name_is_a_date_or_none(name: str) -> None:
    found = date_in_name(name)
    assert found is None or len(found) in (10, 19)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        ('<rdf:Description exif:DateTimeOriginal="2019-05-14T12:34:56"/>', "2019-05-14T12:34:56"),
        ("<exif:DateTimeOriginal>2019-05-14T12:34</exif:DateTimeOriginal>", "2019-05-14T12:34:00"),
        ("photoshop:DateCreated='2019-05-14T12:34:56.78+02:00'", "2019-05-14T12:34:56"),
        ('photoshop:DateCreated="2019-05-14"', "2019-05-14"),
        ('xmp:CreateDate = "2020-01-01" exif:DateTimeOriginal="2019-05-14"', "2019-05-14"),
        ('exif:DateTimeOriginal="0000-00-00" xmp:CreateDate="2020-01-01"', "2020-01-01"),
        ('xmp:ModifyDate="2020-01-01"', None),
        ('xmp:CreateDate="2019"', None),
        ("", None),
    ],
)
def test_dates_in_xmp(packet: str, expected: str | None) -> None:
    assert date_in_xmp(packet) == expected
    assert date_in_xmp(packet.encode()) == expected


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description
  photoshop:DateCreated="2018-03-04T05:06:07+01:00"/></rdf:RDF></x:xmpmeta>"""


def save(path: Path, **options: object) -> Path:
    Image.new("RGB", (8, 6)).save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "avif"])
def test_the_date_is_read_from_the_xmp_data_of_a_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"20190514.{ending}"
    if ending == "png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        save(path, pnginfo=text)
    elif ending == "tif":
        save(path, tiffinfo={700: XMP})
    else:
        save(path, xmp=XMP)
    assert read_metadata(path).taken_at == "2018-03-04T05:06:07"


def test_exif_comes_before_xmp_and_xmp_before_the_name(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[306] = "2017:01:02 03:04:05"
    path = tmp_path / "IMG-20190514-WA0001.jpg"
    assert read_metadata(save(path)).taken_at == "2019-05-14"
    assert read_metadata(save(path, xmp=XMP)).taken_at == "2018-03-04T05:06:07"
    assert read_metadata(save(path, xmp=XMP, exif=exif)).taken_at == "2017-01-02T03:04:05"
    assert read_metadata(save(path, xmp=b"\xff" * 100)).taken_at == "2019-05-14"
