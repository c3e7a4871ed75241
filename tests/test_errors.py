"""The tree of exceptions, and what each of them carries."""

import inspect
import pickle

import clipkit.errors
from clipkit.errors import (
    ClipkitError,
    ClipkitWarning,
    ImageReadError,
    InputError,
    MissingExtraError,
)

EXCEPTIONS = [
    value
    for value in vars(clipkit.errors).values()
    if inspect.isclass(value) and issubclass(value, Exception)
]


def test_every_exception_is_in_the_tree_of_the_docstring() -> None:
    tree = clipkit.errors.__doc__ or ""
    assert len(EXCEPTIONS) > 5
    for exception in EXCEPTIONS:
        assert issubclass(exception, ClipkitError | ClipkitWarning)
        assert exception.__name__ in tree


def test_input_errors_are_value_errors() -> None:
    assert issubclass(InputError, ValueError)


def test_image_read_error_carries_path_and_reason() -> None:
    error = ImageReadError("a/b.jpg", "is empty (0 bytes)")
    assert (error.path, error.reason) == ("a/b.jpg", "is empty (0 bytes)")
    assert str(error) == "a/b.jpg: is empty (0 bytes)"


def test_image_read_error_crosses_process_borders() -> None:
    error = pickle.loads(pickle.dumps(ImageReadError("a.jpg", "is cut off")))
    assert (error.path, error.reason) == ("a.jpg", "is cut off")


def test_missing_extra_error_names_the_one_command() -> None:
    error = MissingExtraError("heif", "Reading HEIC images")
    # On PyPI the name is another program's: only pip where clipkit is installed knows this one.
    expected = 'in the environment of clipkit run  python -m pip install "clipkit[heif]"'
    assert str(error) == f"Reading HEIC images needs an optional part: {expected}"
    assert isinstance(error, ImportError)


def test_missing_extra_error_crosses_process_borders() -> None:
    error = pickle.loads(pickle.dumps(MissingExtraError("heif", "Reading HEIC images")))
    assert (error.extra, error.purpose) == ("heif", "Reading HEIC images")
