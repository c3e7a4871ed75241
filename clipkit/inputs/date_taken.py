"""The date an image was taken, by its XMP data or its file's name, where EXIF data state none."""

import re
from datetime import date, datetime

FIRST_PHOTOGRAPH = 1826
"""The first year of photography; earlier ones are of clocks that were never set: 0001, 1601."""

_FIRST_DIGITAL = 1990  # numbers in a name that start with an earlier year are rarely dates
_LAST_YEAR = 2099

_DATE_TIME = r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?)?"
# As an attribute or as an element, under the prefixes that all programs use.
_XMP = [
    re.compile(rf"\b{name}\s*(?:=\s*[\"']|>)\s*{_DATE_TIME}")
    for name in ("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate")
]
_MAX_XMP = 1 << 20  # bytes

_NAME = re.compile(
    r"""(?<![0-9])(?=  # ahead, so that a number before a date does not take its digits
    ([0-9]{4})([-_.]?)([0-9]{2})\2([0-9]{2})
    (?:(?:[-_.T ]|[ ]at[ ])?([0-9]{2})[-_.:]?([0-9]{2})[-_.:]?([0-9]{2})
        (?:[0-9]{3})?)?  # thousandths of a second
    (?![0-9]))""",
    re.VERBOSE,
)
# What cameras, telephones and messengers write before a date of eight digits.
_BEFORE_DIGITS = re.compile(
    r"(?:^|.*[^a-z])(?:img|image|mvimg|pxl|pano|burst|dsc|p|photo|screenshot|scan|signal|snapchat)"
    r"[-_. ]?",
    re.IGNORECASE,
)


def date_in_xmp(packet: bytes | str) -> str | None:
    """Return when an image was taken by its XMP data.

    Args:
        packet: The XML text.

    Returns:
        "2019-05-14T12:34:56", or "2019-05-14" where no time is stated; None if it states no date.
        The offset from UTC is left out, as for EXIF data.

    Source:
        XMP specification part 2: exif:DateTimeOriginal, photoshop:DateCreated, xmp:CreateDate.
    """
    text = packet if isinstance(packet, str) else packet[:_MAX_XMP].decode("utf-8", "replace")
    for pattern in _XMP:
        match = pattern.search(text[:_MAX_XMP])
        found = _iso_date(*match.groups()) if match else None
        if found:
            return found
    return None


def date_in_name(name: str) -> str | None:
    """Return when an image was taken by the name of its file.

    A date is taken for one if it has separators (2019-05-14), a time behind it, or stands where
    cameras, telephones and messengers write it: eight other digits mean anything.

    Args:
        name: The file's name, without its folder.

    Returns:
        "2019-05-14T12:34:56", or "2019-05-14" where no time is stated; None if it has no date.

    Example:
        >>> date_in_name("IMG-20190514-WA0001.jpg")
        '2019-05-14'
        >>> date_in_name("Screenshot 2019-05-14 at 12.34.56.png")
        '2019-05-14T12:34:56'
        >>> date_in_name("shutterstock_20190514.jpg")
    """
    for match in _NAME.finditer(name):
        year, separator, *rest = match.groups()
        is_stated = separator or rest[2] or match.start() == 0
        if not (is_stated or _BEFORE_DIGITS.fullmatch(name[: match.start()])):
            continue
        if not separator and int(year) < _FIRST_DIGITAL:
            continue
        found = _iso_date(year, *rest) or _iso_date(year, *rest[:2])
        if found:
            return found
    return None


def _iso_date(
    year: str,
    month: str,
    day: str,
    hour: str | None = None,
    minute: str | None = None,
    second: str | None = None,
) -> str | None:
    """Return a date, with its time if that is known, in ISO form; None if there is no such day."""
    if not FIRST_PHOTOGRAPH <= int(year) <= _LAST_YEAR:
        return None
    try:
        if hour is None or minute is None:
            return date(int(year), int(month), int(day)).isoformat()
        parts = (year, month, day, hour, minute, second or "0")
        return datetime(*map(int, parts)).isoformat()  # type: ignore[arg-type]
    except ValueError:
        return None
