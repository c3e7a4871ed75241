"""Kinds of values in RUN.toml, checked by pydantic: texts, flags, numbers of ordinary size."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict

_BITS = 64
# Limits of numbers of any kind. A number beyond them is a typing mistake, and products of a few
# such numbers would leave the range of float32; TOML also has inf and nan.
_LEAST, MOST = 1e-30, 1e30


def check_bits(value: Any) -> Any:
    """Return a value, or raise ValueError if it is a whole number of more than 64 bits."""
    if isinstance(value, int) and value.bit_length() > _BITS:  # it may be too long to be printed
        bits = value.bit_length()
        raise ValueError(f"must be a whole number of at most {_BITS} bits, got one of {bits} bits")
    return value


def _check_size(value: Any) -> Any:
    if isinstance(value, float) and value and not _LEAST <= abs(value) <= MOST:  # or it is nan
        raise ValueError(
            f"must be a finite number of ordinary size ({_LEAST:g} to {MOST:g}), got {value:g}"
        )
    return check_bits(value)


# Strict: "1e-5" is no number, True is no whole number, 1 is no flag; but 1 is a number.
Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict(), BeforeValidator(check_bits)]
Number = Annotated[float, Strict(), BeforeValidator(_check_size)]

Count = Annotated[Whole, Field(ge=0)]
PositiveCount = Annotated[Whole, Field(ge=1)]
NonNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
PositiveShare = Annotated[Number, Field(gt=0, le=1)]
PartialShare = Annotated[Number, Field(ge=0, lt=1)]
